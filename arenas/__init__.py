"""Games for agents that talk: PettingZoo environments with text, reply specs and known scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final

from arenas import bridges, files
from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.games.cards.hanabi import Hanabi
from arenas.games.cards.kuhn import Kuhn
from arenas.games.cards.leduc import Leduc
from arenas.games.cards.liars_dice import LiarsDice
from arenas.games.cards.tiny_hanabi import TinyHanabi
from arenas.games.grid.gridworld import Gridworld
from arenas.games.grid.overcooked import Overcooked
from arenas.games.puzzles.guess_who import GuessWho
from arenas.games.puzzles.relay import Relay
from arenas.games.puzzles.switch_riddle import SwitchRiddle
from arenas.games.puzzles.tictactoe import TicTacToe
from arenas.games.signalling.lewis import Lewis
from arenas.games.signalling.naming import Naming
from arenas.games.signalling.pointing import Pointing
from arenas.games.signalling.population import population_by_name
from arenas.games.signalling.reconstruction import Reconstruction
from arenas.games.signalling.reference import Reference
from arenas.games.signalling.speaker_listener import SpeakerListener
from arenas.games.social.commons import Commons
from arenas.games.social.hidden_profile import HiddenProfile
from arenas.games.social.matrix import Matrix
from arenas.games.social.negotiation import Negotiation
from arenas.games.social.public_goods import PublicGoods
from arenas.games.social.trade_comm import TradeComm
from arenas.games.social.undercover import Undercover
from arenas.games.text.arithmetic import Arithmetic
from arenas.games.text.document import Document
from arenas.games.text.writing import Writing
from arenas.moved import still_found
from arenas.spec import ReplySpec

ARENAS: dict[str, Callable[..., Arena]] = {
    "arithmetic": Arithmetic,
    "commons": Commons,
    "document": Document,
    "gridworld": Gridworld,
    "guess_who": GuessWho,
    "hanabi": Hanabi,
    "hidden_profile": HiddenProfile,
    "kuhn": Kuhn,
    "leduc": Leduc,
    "lewis": Lewis,
    "liars_dice": LiarsDice,
    "matrix": Matrix,
    "naming": Naming,
    "negotiation": Negotiation,
    "overcooked": Overcooked,
    "pointing": Pointing,
    "population": population_by_name(lambda game, **settings: make(game, **settings)),
    "public_goods": PublicGoods,
    "reconstruction": Reconstruction,
    "reference": Reference,
    "relay": Relay,
    "speaker_listener": SpeakerListener,
    "switch_riddle": SwitchRiddle,
    "tictactoe": TicTacToe,
    "tiny_hanabi": TinyHanabi,
    "trade_comm": TradeComm,
    "undercover": Undercover,
    "writing": Writing,
}
"""Registry of arenas: name -> factory. Add your own: `arenas.ARENAS["mine"] = Mine`, or `arenas.load("mine.py")`."""


_KINDS: Final = {
    "signalling": "lewis naming pointing reference reconstruction population speaker_listener",
    "cards": "kuhn leduc liars_dice tiny_hanabi hanabi hanabi_play",
    "grid": "gridworld gridplay overcooked kitchen",
    "social": "commons public_goods matrix negotiation trade_comm hidden_profile undercover",
    "text": "arithmetic document writing",
    "puzzles": "guess_who relay switch_riddle tictactoe",
}
"""Folder in `arenas.games` -> its games, which were modules of `arenas` itself up to version 0.1."""

still_found(
    {
        **{f"arenas.{game}": f"arenas.games.{kind}.{game}" for kind, games in _KINDS.items() for game in games.split()},
        **{f"arenas.{name}": f"arenas.solvers.{name}" for name in ("exact", "measure", "solve", "tree")},
    }
)


def names() -> list[str]:
    """Return the names of all arenas."""
    return sorted(ARENAS)


def find(name: str) -> Callable[..., Arena]:
    """Return the factory of an arena; raises ArenaError for an unknown name.

    `LIBRARY:GAME` names a game of another library, such as `openspiel:kuhn_poker`; see `arenas.bridges`.
    """
    if name in ARENAS:
        return ARENAS[name]
    if name.endswith(files.SUFFIX):
        raise ArenaError(
            f"the arena is the file {name}, and a file runs only when you name it yourself: on the command line, "
            "or with arenas.load"
        )
    library, colon, game = name.partition(":")
    if colon:
        return bridges.find(library, game)
    close = get_close_matches(name, ARENAS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names())}"
    raise ArenaError(f"no arena {name!r}: {hint}")


def load(path: Path | str) -> str:
    """Load an arena from a Python file; return its name for `make`: the absolute path.

    Raises ArenaError. Load only files that a person named; `make` runs no file, whatever name it gets.
    """
    name = str(Path(path).absolute())
    ARENAS[name] = files.load(name)
    return name


def make(name: str, **options: Any) -> Arena:
    """Build an arena by name; raises ArenaError for an unknown name or option."""
    maker = find(name)
    _check(name, maker, options)
    try:
        return maker(**options)
    except TypeError as error:
        problem = str(error).partition("__init__() ")[2] or error
        accepted = ", ".join(signature(maker).parameters) or "no parameters"
        raise ArenaError(f"arena {name}: {problem}; it takes {accepted}") from error


_PLAIN: Final[Mapping[str, tuple[str, type]]] = {
    "bool": ("true or false", bool),
    "int": ("a whole number", Integral),
    "float": ("a number", Real),
    "str": ("a text", str),
}
"""Annotation of a parameter -> its kind in words, and the type to check."""


def _check(name: str, maker: Callable[..., Arena], options: Mapping[str, Any]) -> None:
    """Raise ArenaError for an option whose type differs from the plain one that its parameter declares."""
    for key, parameter in signature(maker).parameters.items():
        declared = parameter.annotation
        kind, _, other = (declared.__name__ if isinstance(declared, type) else str(declared)).partition(" | ")
        if key not in options or kind not in _PLAIN or other not in ("", "None"):
            continue
        value, (wanted, plain) = options[key], _PLAIN[kind]
        fits = isinstance(value, plain) and isinstance(value, bool) is (kind == "bool")
        if not fits and not (other and value is None):
            raise ArenaError(f"arena {name}: {key} is {wanted}, not {value!r}")


__all__ = ["ARENAS", "Anchors", "Arena", "ArenaError", "Outcome", "ReplySpec", "find", "load", "make", "names"]
