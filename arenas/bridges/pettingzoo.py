"""Environments of PettingZoo as arenas: `pettingzoo:mpe2.simple_spread_v3`, `pettingzoo:classic.tictactoe_v3`.

Observations become words (`arenas.bridges.rendering`), discrete actions become replies: words where actions have names,
else their numbers. Reply specs follow action masks. An environment with a parallel version uses it: all its agents
reply at once. The critic sees the observations of all agents.

Communicative actions, as in mpe2, stay moves: observations already carry them, and a message would travel a second time
over the bus, which could then neither lose nor garble it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from inspect import Parameter, Signature, getdoc, getmodule, signature
from pkgutil import iter_modules
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from typing_extensions import override

from arenas.bridges import install
from arenas.bridges.cycles import AtOnce, InTurn, unmasked
from arenas.bridges.rendering import rendering
from arenas.bridges.replayed import Game, Replayed
from arenas.core import Anchors, Arena
from arenas.errors import ArenaError
from arenas.scripted import uniform
from arenas.solvers.play import sample
from arenas.spec import ReplySpec, Words, choose, fill, symbols

PACKAGES: Final = {
    "mpe2": ("mpe2", "sabir[mpe2]"),
    "classic": ("pettingzoo.classic", "sabir[classic]"),
    "butterfly": ("pettingzoo.butterfly", "pettingzoo[butterfly]"),
    "sisl": ("pettingzoo.sisl", "pettingzoo[sisl]"),
}
"""Name of a package in `pettingzoo:PACKAGE.GAME` -> module to import, and requirement to pip install."""
MOVES: Final = ("stay", "left", "right", "down", "up")
ACTIONS: Final[dict[str, tuple[Words, ...]]] = {
    "classic.rps_v2": (("rock", "paper", "scissors"),),
    "classic.leduc_holdem_v4": (("call", "raise", "fold", "check"),),
    "classic.texas_holdem_v4": (("call", "raise", "fold", "check"),),
}
"""Names of actions, in order; one tuple per choice where an action is several choices."""
EPISODES: Final = 24
"""Episodes of random play that estimate the anchor `random`."""
_OWN: dict[str, Callable[..., Any]] = {}
_ESTIMATES: dict[tuple[str, str], float] = {}


def register(name: str, make: Callable[..., Any]) -> None:
    """Register an environment factory as `pettingzoo:NAME`; `make(**options)` returns an AECEnv or a ParallelEnv."""
    _OWN[name] = make


def games() -> dict[str, str]:
    """Return the environments of the installed packages: name -> "", or the reason it cannot be played."""
    problems = dict.fromkeys(sorted(_OWN), "")
    for short, (package, source) in PACKAGES.items():
        try:
            names = _modules(package, source)
        except ArenaError as error:
            problems[short] = str(error)
            continue
        for name in names:
            try:
                find(f"{short}.{name}")()
            except (ArenaError, ImportError) as error:
                problems[f"{short}.{name}"] = " ".join(str(error).split())
            else:
                problems[f"{short}.{name}"] = ""
    return problems


def _modules(package: str, source: str) -> list[str]:
    modules = iter_modules(install(package, source).__path__)
    return sorted(module.name for module in modules if module.name.rpartition("_v")[2].isdigit())


def find(game: str) -> Callable[..., Arena]:
    """Return the factory of an environment's arena; raises ArenaError."""
    if game in _OWN:
        return _maker(game, _OWN[game])
    short, _, name = game.partition(".")
    if short not in PACKAGES or not name:
        raise ArenaError(
            f"no environment pettingzoo:{game}: it is {', '.join(f'{p}.NAME' for p in PACKAGES)}, or what you "
            "gave to arenas.bridges.pettingzoo.register"
        )
    package, source = PACKAGES[short]
    available = _modules(package, source)
    if name not in available:
        raise ArenaError(f"no environment {name!r} in {package}: there are {', '.join(available)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the package's own imports
        module = _imported(f"{package}.{name}", source)
    return _maker(game, getattr(module, "parallel_env", None) or module.env, getattr(module, "raw_env", None))


def _imported(module: str, source: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        needed = " ".join(str(error).split())
        raise ArenaError(f"{module} cannot be imported ({needed}): pip install '{source}'") from None


def _maker(game: str, make: Callable[..., Any], described: Any = None) -> Callable[..., Arena]:
    """Return the arena's factory, whose signature includes the environment's own parameters."""
    maker = partial(PettingZoo, game, make)
    own = [p for p in signature(PettingZoo).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    theirs = signature(described or make).parameters.values()
    named = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in theirs if p.kind is not Parameter.VAR_KEYWORD]
    maker.__signature__ = Signature([*named, *own])  # type: ignore[attr-defined]
    return maker


class PettingZoo(Replayed):
    """Environment of PettingZoo, with its observations as words.

    Args:
        game: its name after `pettingzoo:`.
        make: factory of the environment.
        bins: number of values that real numbers are rounded to.
        limit: bound of numbers that have none.
        options: parameters of the environment.
    """

    tags = ("pettingzoo",)

    def __init__(
        self, game: str, make: Callable[..., Any], *, bins: int = 41, limit: float = 2.0, **options: Any
    ) -> None:
        if bins < 2 or limit <= 0:
            raise ArenaError(f"pettingzoo:{game} needs bins >= 2 and limit > 0, not bins={bins}, limit={limit}")
        self._key = game, repr(sorted((options | {"bins": bins, "limit": limit}).items()))
        environment = _open(game, make, options)
        self.about = environment
        self.metadata = Arena.metadata | {"name": _versioned(game)}  # type: ignore[misc]
        seats = list(environment.possible_agents)
        self.specs = {seat: _spec(game, environment.action_space(seat)) for seat in seats}
        self.renderings = {
            seat: rendering(_observed(environment.observation_space(seat)), bins, limit) for seat in seats
        }
        super().__init__(
            partial(_open, game, make, options),
            replies=self.specs,
            words=[word for encoding in self.renderings.values() for word in encoding.words],
            view_words=sum(1 + encoding.length for encoding in self.renderings.values()),
        )
        self._environment = environment
        cls = type(environment.unwrapped)
        self.rules = f"{game} of PettingZoo.\n\n{_plain(getdoc(getmodule(cls)) or getdoc(cls) or '')}".strip()

    @override
    def start(self, environment: Any, seed: int) -> Game:
        play = InTurn if hasattr(environment, "agent_iter") else AtOnce
        return play(environment, seed, self.specs, self.renderings)

    @override
    def anchors(self) -> Anchors:
        # Random play is estimated from a few episodes with fixed seeds; nothing else is known.
        if self._key not in _ESTIMATES:
            fresh = self.copy()
            fresh._rng = np.random.Generator(np.random.PCG64())
            _ESTIMATES[self._key] = float(sample(fresh, uniform, EPISODES).mean())
        return Anchors(random=_ESTIMATES[self._key])


def _open(game: str, make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(**options)
        except (ImportError, OSError) as error:
            raise ArenaError(f"pettingzoo:{game} cannot be built here: {' '.join(str(error).split())}") from None


def _versioned(game: str) -> str:
    name = "".join(c if c.isalnum() else "_" for c in game.lower())
    return name if name.rpartition("_v")[2].isdigit() else f"{name}_v0"


def _plain(text: str) -> str:
    """Return the paragraphs of a description without its headings, tables and code."""
    kept = [part for i, part in enumerate(text.split("```")) if i % 2 == 0]
    paragraphs = (" ".join(re.sub(r"<[^>]*>", "", part).split()) for part in "".join(kept).split("\n\n"))
    return "\n\n".join(p for p in paragraphs if p and p[0] not in "#|-:")


def _observed(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the observation space without the action mask."""
    if not isinstance(space, spaces.Dict):
        return space
    rest, _ = unmasked(space.spaces)
    return spaces.Dict(rest) if isinstance(rest, dict) else rest


def _spec(game: str, space: spaces.Space[Any]) -> ReplySpec:
    """Return the reply spec whose i-th reply is action i."""
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) == 1:
        return fill(*(tuple(str(i) for i in range(int(n))) for n in space.nvec))
    if not isinstance(space, spaces.Discrete):
        hint = "; an environment that can act discretely takes continuous_actions=false" if "mpe2" in game else ""
        raise ArenaError(
            f"actions of pettingzoo:{game} are {space}: replies need Discrete or a row of MultiDiscrete{hint}"
        )
    n = int(space.n)
    if game in ACTIONS:
        return fill(*ACTIONS[game])
    if game.startswith("mpe2."):
        if n % len(MOVES):
            return choose(symbols("say", n))
        return choose(MOVES) if n == len(MOVES) else fill(symbols("say", n // len(MOVES)), MOVES)
    return choose(tuple(str(int(space.start) + i) for i in range(n)))
