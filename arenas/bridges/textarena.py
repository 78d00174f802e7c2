"""Games of TextArena as arenas: `textarena:TicTacToe-v0`. Views and replies are free text.

TextArena draws from Python's and numpy's global generators. Here each episode has generators of its own, which replace
the global ones only while the game runs. Nothing is downloaded: a game that would download is rejected.
(Guertler et al. 2025, TextArena.)
"""

from __future__ import annotations

import io
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from inspect import Parameter, Signature, signature
from logging import getLogger
from string import ascii_letters, digits, punctuation
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from arenas.bridges import install
from arenas.bridges.replayed import Game, Replayed
from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.spec import ReplySpec, Words, choose

PLAYERS: Final = (2, 1, 3, 4, 5, 6, 7, 8)
"""Player counts, in the order in which they are tried by default."""
MOVES: Final = tuple(f"[{i}]" for i in range(10))
DRESSED: Final = ("-train", "-raw")
"""Suffixes of names under which TextArena wraps the same game differently; here games are unwrapped."""
_LOCK: Final = threading.RLock()
_LOG: Final = getLogger(__name__)


def games() -> dict[str, str]:
    """Test every game offline: name -> "" if it starts and accepts a move, else the reason."""
    problems = {}
    _LOG.disabled = True  # failures are returned instead
    for name in _names():
        try:
            arena = TextArena(name)
            arena.begin(0)
            arena.advance(dict.fromkeys(arena.acting()))
        except ArenaError as error:
            problems[name] = str(error).partition("here: ")[2]
        else:
            problems[name] = getattr(arena.game, "failed", "")
    _LOG.disabled = False
    return problems


def find(game: str) -> Callable[..., Arena]:
    """Return the factory of a game's arena; raises ArenaError."""
    if game not in _names():
        raise ArenaError(f"TextArena has no game {game!r}: `marl arenas textarena:` lists those that can be played")
    maker = partial(TextArena, game)
    own = [p for p in signature(TextArena).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    maker.__signature__ = Signature(own)  # type: ignore[attr-defined]
    return maker


def _names() -> list[str]:
    with _LOCK, redirect_stdout(io.StringIO()):
        install("textarena", "sabir[textarena]")
        registry = install("textarena.envs.registration", "sabir[textarena]").ENV_REGISTRY
    return [name for name in registry if not name.endswith(DRESSED)]


class Luck:
    """States of both global random generators, private to one episode."""

    def __init__(self, seed: int) -> None:
        self.python = random.Random(seed).getstate()
        self.numpy = np.random.RandomState(seed).get_state()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Install the episode's generator states, restore the global ones afterwards, and discard printed output."""
        with _LOCK, redirect_stdout(io.StringIO()):
            outside = random.getstate(), np.random.get_state()  # noqa: NPY002
            random.setstate(self.python)
            np.random.set_state(self.numpy)  # noqa: NPY002
            try:
                yield
            finally:
                self.python, self.numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
                random.setstate(outside[0])
                np.random.set_state(outside[1])  # noqa: NPY002


@contextmanager
def _offline() -> Iterator[None]:
    """Block network access and downloads in this thread, and discard printed output."""
    nltk = install("nltk", "sabir[textarena]")
    connect, download, here = socket.socket.connect, nltk.download, threading.get_ident()

    def refuse(self: socket.socket, address: Any) -> None:
        if threading.get_ident() == here:
            raise OSError("no network here")
        connect(self, address)

    with _LOCK, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        socket.socket.connect = refuse  # type: ignore[method-assign, assignment]
        nltk.download = lambda *_, **__: False
        try:
            yield
        finally:
            socket.socket.connect = connect  # type: ignore[method-assign]
            nltk.download = download


class TextArena(Replayed):
    """Game of TextArena.

    Args:
        game: its id.
        players: number of players; 0: the first of 2, 1, 3, 4, ... with which the game starts.
        moves: replies of agents with a small vocabulary, random ones among them; others may write any text.
        free: maximum characters of a reply.
        turns: maximum number of turns; the episode is then truncated.
    """

    tags = ("textarena",)
    open_text = True
    view_chars = 1 << 16

    def __init__(
        self, game: str, *, players: int = 0, moves: tuple[str, ...] = MOVES, free: int = 1000, turns: int = 200
    ) -> None:
        if players < 0 or not moves or free < 1 or turns < 1:
            raise ArenaError(f"textarena:{game} needs players >= 0, moves, free >= 1 and turns >= 1")
        self.id, self.turns = game, turns
        _, self.players = _opened(game, players)
        self.metadata = Arena.metadata | {"name": _named(game)}  # type: ignore[misc]
        self.moves = choose(tuple(moves), free)
        super().__init__(
            lambda: None,  # reset does not always clear a game's state
            replies={f"player_{i}": self.moves for i in range(self.players)},
            words=[*ascii_letters, *digits, *punctuation],
            view_words=1 << 12,
        )
        self.rules = f"{game} of TextArena. Its first view tells the rules."

    @override
    def start(self, environment: Any, seed: int) -> Game:
        raw, count = _opened(self.id, self.players)
        try:
            return Turns(raw, count, seed, self.moves, self.turns)
        except Exception as error:
            raise ArenaError(f"textarena:{self.id} cannot be played here: {_reason(error, count)}") from None

    @override
    def encode(self, text: str) -> NDArray[np.int64]:
        # Ids of the last characters of a text; blanks are 0.
        ids = np.zeros(self.view_words, np.int64)
        shown = text[-self.view_words :]
        ids[: len(shown)] = [self._ids.get(character, 0) for character in shown]
        return ids

    @override
    def anchors(self) -> Anchors:
        return Anchors()


class Turns(Game):
    """Episode of a TextArena game: the current player sees new messages only, and its text is the move."""

    def __init__(self, environment: Any, players: int, seed: int, moves: ReplySpec, turns: int) -> None:
        self.environment, self.moves, self.left = environment, moves, turns
        self.luck = Luck(seed)
        self.over = False
        self.failed = ""
        with self.luck.used():
            environment.reset(num_players=players, seed=seed)
        self._look()

    def _look(self) -> None:
        with self.luck.used():
            player, seen = self.environment.get_observation()
        roles = self.environment.state.role_mapping
        lines = [f"[{roles.get(who, f'Player {who}')}] {text}" for who, text, *_ in seen]
        self.asked = f"player_{player}"
        self.shown = "\n".join(lines).encode("ascii", "namereplace").decode().replace("\t", " ").replace("\r", "")

    @override
    def acting(self) -> tuple[str, ...]:
        return () if self.over else (self.asked,)

    @override
    def view(self, agent: str) -> str:
        return self.shown if agent == self.asked else ""

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.moves

    @override
    def hidden(self) -> str:
        # TextArena keeps its state in forms that have no words.
        return ""

    @override
    def play(self, replies: Mapping[str, Words]) -> Outcome:
        # A game that raises at a move ends there, unpaid and truncated.
        ((_, words),) = replies.items()
        self.left -= 1
        try:
            with self.luck.used():
                done, _ = self.environment.step(action=" ".join(words))
            if not done:
                self._look()
        except Exception as error:
            self.failed = f"it fails at the reply {' '.join(words)!r} ({error!r})"
            _LOG.warning("a game of TextArena was cut off: %s", self.failed)
            self.over = True
            return Outcome(done=True, truncated=True)
        self.over = bool(done) or self.left <= 0
        if not done:
            return Outcome(done=self.over, truncated=self.over)
        paid = self.environment.close()[0] or {}
        return Outcome({f"player_{player}": float(reward) for player, reward in paid.items()}, done=True)


def _named(game: str) -> str:
    name = "".join(c if c.isalnum() else "_" for c in game.lower())
    return name if name.rpartition("_v")[2].isdigit() else f"{name}_v0"


def _opened(game: str, players: int) -> tuple[Any, int]:
    """Return the raw game and a number of players with which it starts; raises ArenaError."""
    library = install("textarena", "sabir[textarena]")
    problem: Exception | None = None
    with Luck(0).used(), _offline():
        try:
            raw = _raw(library, game)
            for count in (players,) if players else PLAYERS:
                try:
                    _raw(library, game).reset(num_players=count, seed=0)
                except (AssertionError, ValueError, IndexError, KeyError, TypeError) as error:
                    problem = problem or error
                else:
                    return raw, count
        except Exception as error:  # games fail in many ways where data or packages are missing
            problem = error
    raise ArenaError(f"textarena:{game} cannot be played here: {_reason(problem, players)}")


def _raw(library: Any, game: str) -> Any:
    """Return a game without wrappers, whose observations are the new messages one by one."""
    raw = library.make(game)
    while isinstance(raw, library.Wrapper):
        raw = raw.env
    return raw


def _reason(problem: Exception | None, players: int) -> str:
    """Explain briefly why a game did not start."""
    message = " ".join(str(problem).split())
    if isinstance(problem, LookupError) and "nltk" in message.lower():
        resource = message.partition("Resource ")[2].partition(" not found")[0]
        return f"it needs data of nltk that would be downloaded; `python -m nltk.downloader {resource}` brings it"
    if isinstance(problem, SyntaxError):
        return f"it is written for a newer Python ({message[:120]})"
    what = f" with {players} players" if players else ""
    return f"it does not begin{what}, without network ({type(problem).__name__}: {message[:160]})"
