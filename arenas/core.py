"""Base class of arenas: the author writes the rules, and gets a PettingZoo environment.

An episode is a sequence of *stages*. In each stage one or several agents reply; when all of them have, the stage is
resolved. The author writes `deal` or `lay`, `acting`, `view`, `resolve` (and `hidden`, `anchors`). The base class keeps
PettingZoo's bookkeeping, so every arena is an AEC environment; the referee plays the same arena over the bus.
"""

from __future__ import annotations

import string
import sys
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from hashlib import blake2b
from inspect import cleandoc
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from arenas.errors import ArenaError
from arenas.pettingzoo_base import TurnTaking
from arenas.scripted import Script
from arenas.spec import PUBLIC, UNKNOWN, ReplySpec, Words

_CHARACTERS: Final = string.ascii_letters + string.digits + string.punctuation + " \n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a stage: rewards by agent (0 for agents left out), and whether and how the episode ended."""

    rewards: Mapping[str, float] = field(default_factory=dict)
    done: bool = False
    truncated: bool = False  # with done: a time limit cut the episode off, the rules would have gone on


@dataclass(frozen=True, slots=True)
class Anchors:
    """Known scores. The score of an episode is its return (sum over the episode), averaged over the agents.

    `random`: uniformly random replies. `silent`: the best known without communication. `full`: the optimum, with full
    information or perfect communication. `equilibrium`: where rational play ends, if that is one score. `values`: what
    each seat, in seat order, gets there; the value of the game to each if it is of constant sum. None: unknown, as in
    games of other libraries.
    """

    random: float | None = None
    silent: float | None = None
    full: float | None = None
    equilibrium: float | None = None
    values: tuple[float, ...] | None = None

    def communication_gain(self, score: float) -> float | None:
        """(R - silent) / (full - silent): 0 is silence, 1 the optimum; None: talk gains nothing, or one is unknown."""
        if self.silent is None or self.full is None:
            return None
        span = self.full - self.silent
        return None if abs(span) < 1e-12 else (score - self.silent) / span


def _pcg64(seed: int) -> dict[str, Any]:
    """Return the PCG64 state of a seed; setting it is ten times faster than making a generator."""
    digest = blake2b(str(seed).encode(), digest_size=32).digest()
    state, increment = int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little")
    return {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": increment | 1},
        "has_uint32": 0,
        "uinteger": 0,
    }


class Arena(TurnTaking):
    """Base of all arenas. `arenas/games/signalling/lewis.py` is a whole one in 60 lines.

    Args:
        replies: for each seat, in seat order, the reply spec or specs it may be asked for.
        words: all words that views and `hidden` use beside those of the reply specs.
        view_words: the most words an observation holds (heard messages and view); PettingZoo's spaces need a bound.
        channels: the channels that the rules have beside the public one, and who speaks and hears on each.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "name": "arena_v0", "is_parallelizable": False}
    rules: str = ""
    """The rules in words, for prompts and help pages; in the source it may be indented like a docstring.

    A class without it has the docstrings of its module and class instead. Set it: prompts then stay the same when
    docstrings change.
    """
    _charset = _CHARACTERS
    tags: tuple[str, ...] = ()  # cooperative | competitive | mixed, communication, ...
    open_text: bool = False  # views hold undeclared words: models from scratch cannot read them
    view_chars: int = 4096  # the most characters of an observation, for PettingZoo
    cases: int = 0  # the number of equally likely deals, where they can be counted
    heard_as: str = ""  # the sender that listeners see on every message, where speakers are anonymous; one of `words`
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {}
    """Parameters of generated arenas: name -> (lowest, highest). Every combination within the limits works."""

    def __init__(
        self,
        replies: Mapping[str, ReplySpec | Sequence[ReplySpec]],
        words: Sequence[str] = (),
        view_words: int = 32,
        channels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.possible_agents = list(replies)
        self.replies = {a: (s,) if isinstance(s, ReplySpec) else tuple(s) for a, s in replies.items()}
        spoken = [word for specs in self.replies.values() for spec in specs for word in spec.alphabet]
        self.channels = {name: tuple(members) for name, members in (channels or {}).items()}
        free = (UNKNOWN,) if any(spec.free for specs in self.replies.values() for spec in specs) else ()
        self.vocabulary = tuple(dict.fromkeys([*self.possible_agents, ":", *words, *spoken, *self.channels, *free]))
        self.view_words = view_words
        self.render_mode = "ansi"
        self.agents: list[str] = []
        self._rng = np.random.Generator(np.random.PCG64())

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "rules" in vars(cls):
            cls.rules = cleandoc(cls.rules)
        elif cls.__doc__:
            texts = (getattr(sys.modules.get(cls.__module__), "__doc__", None), cls.__doc__)
            cls.rules = "\n\n".join(cleandoc(text) for text in texts if text)

    # --- what an author writes -------------------------------------------------------------------------------

    def deal(self, rng: np.random.Generator, split: str) -> None:
        """Set up an episode. Arenas with countable deals give `cases` and `lay` instead."""
        cases = self.splits().get(split)
        if not cases:
            raise ArenaError(f"{self.name} has no deals called {split!r}; it has {', '.join(self.splits())}")
        self.lay(cases[int(rng.integers(len(cases)))])

    def lay(self, case: int) -> None:
        """Set up deal number `case` of `cases`."""
        raise ArenaError(f"{self.name} cannot number its deals: leave `case` out")

    @abstractmethod
    def acting(self) -> tuple[str, ...]:
        """Return the agents that reply in this stage, in seat order."""

    @abstractmethod
    def view(self, agent: str) -> str:
        """Return what an agent is shown when it is asked: words of `vocabulary`, without the messages it heard."""

    @abstractmethod
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Apply one legal reply of every acting agent and go on to the next stage."""

    @override
    def spec(self, agent: str) -> ReplySpec:
        """Return what an acting agent may reply now; override it where that changes."""
        return self.replies[agent][0]

    def audience(self, speaker: str) -> Collection[str] | None:
        """Return who may hear an agent now, among the members of its channel; None: all of them."""
        return None

    def hidden(self) -> str:
        """Return the full state for the centralized critic, in words of `vocabulary`."""
        return ""

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return the deals of each split; held-out ones are never dealt in training."""
        return {"train": range(self.cases)} if self.cases else {}

    @abstractmethod
    def anchors(self) -> Anchors:
        """Return the known scores of this arena with these parameters."""

    def scripts(self) -> Mapping[str, Script]:
        """Return scripted ways to play all seats, by name: one named like an anchor attains it, `best` comes near full.

        `silent`: uses no message. `full`: the optimum. `equilibrium`: none of the seats gains by leaving it.
        """
        return {}

    # --- what the referee uses -------------------------------------------------------------------------------

    def begin(self, seed: int | None = None, *, case: int | None = None, split: str = "train") -> None:
        """Start an episode; the same seed, case and split give the same one."""
        if seed is not None:
            self._rng.bit_generator.state = _pcg64(seed)
        if case is None:
            self.deal(self._rng, split)
        elif 0 <= case < self.cases:
            self.lay(case)
        else:
            raise ArenaError(f"{self.name} has deals 0 to {self.cases - 1}, so not {case}")

    def copy(self) -> Self:
        """Return the arena at this point of the episode; cheap, as rules bind new values and never change old ones."""
        return copy(self)

    def advance(self, replies: Mapping[str, Words | None]) -> Outcome:
        """Resolve the stage; None stands for a reply that was missing or illegal and becomes the spec's default."""
        return self.resolve({a: self.spec(a).default if r is None else r for a, r in replies.items()})

    # --- PettingZoo ------------------------------------------------------------------------------------------

    @override
    def _most_replies(self, agent: str) -> int:
        return max(spec.size for spec in self.replies[agent])

    @override
    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of a text's words, padded with 0 to `view_words`; raises ArenaError if they do not fit.

        Where talk is free, a word outside the vocabulary is `<unk>`.
        """
        words = text.split()
        if len(words) > self.view_words:
            raise ArenaError(f"{self.name}: {len(words)} words do not fit; give view_words={len(words)} or more")
        try:
            return self._padded_ids(words, self._ids.get(UNKNOWN))
        except KeyError as error:
            raise ArenaError(f"{self.name}: add {error} to the arena's words") from None

    def observe(self, agent: str) -> dict[str, Any]:
        """Return an agent's observation: what it heard in this episode, then its view."""
        acting = agent in self.acting()
        selected = self.agent_selection == agent and not self.terminations[agent] and not self.truncations[agent]
        text = " ".join([*self._heard[agent], self.view(agent) if acting else ""]).strip()
        return self._observation(agent, text, slice(self.spec(agent).size if selected or acting else 1))

    def state(self) -> NDArray[np.int64]:
        """Return the hidden state as word ids, padded with 0 to `view_words`."""
        return self.encode(self.hidden())

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode; `options` may name a `case` (a numbered deal) or a `split`, and other keys are ignored."""
        self.begin(seed, **{key: value for key, value in (options or {}).items() if key in ("case", "split")})
        self._heard: dict[str, list[str]] = {agent: [] for agent in self.possible_agents}
        self._begin_turns()

    @override
    def _asked(self) -> tuple[str, ...]:
        acting = self.acting()
        if not acting:
            raise ArenaError(f"{self.name}: acting() names no agent; name one, or let resolve() end the episode")
        return acting

    @override
    def _resolve_stage(self, replies: Mapping[str, Words | None]) -> None:
        specs = {agent: self.spec(agent) for agent in replies}
        messages = {agent: specs[agent].route(r or ()) for agent, r in replies.items() if specs[agent].kind == "say"}
        audiences = {speaker: self.audience(speaker) for speaker in messages}
        outcome = self.advance(replies)
        for speaker, (channel, words) in messages.items():
            where = [channel] if channel != PUBLIC else []
            audience = audiences[speaker]
            for listener in self.channels.get(channel) or self.agents:
                if listener != speaker and (audience is None or listener in audience):
                    self._heard[listener] += [self.heard_as or speaker, *where, ":", *words]
        self._end_stage(
            outcome.rewards,
            terminated=outcome.done and not outcome.truncated,
            truncated=outcome.done and outcome.truncated,
        )

    def render(self) -> str:
        """Return the hidden state and everyone's view as text."""
        views = [f"{a}: {' '.join(self._heard[a])} | {self.view(a)}" for a in self.acting()]
        return "\n".join([self.hidden(), *views])

    def close(self) -> None:
        """Release nothing; an arena holds no resources."""
