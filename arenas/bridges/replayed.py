"""Arenas around games that cannot be copied: a copy replays the moves from the seed.

An `Arena` can be copied at any point of an episode. Games of other libraries change in place, but a game that draws
only from its seed reaches the same state when its moves are replayed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Self

import numpy as np

from arenas.core import Arena, Outcome
from arenas.spec import ReplySpec, Words


class Game(ABC):
    """One running episode. Views and specs may be asked for repeatedly."""

    @abstractmethod
    def acting(self) -> tuple[str, ...]:
        """Return who replies now, in seat order."""

    @abstractmethod
    def view(self, agent: str) -> str:
        """Return what an agent is shown."""

    @abstractmethod
    def spec(self, agent: str) -> ReplySpec:
        """Return what an acting agent may reply."""

    @abstractmethod
    def play(self, replies: Mapping[str, Words]) -> Outcome:
        """Apply the replies of all acting agents."""

    @abstractmethod
    def hidden(self) -> str:
        """Return what the critic is shown."""


class Replayed(Arena):
    """An arena whose rules are implemented by another library.

    Args:
        open: returns the library's environment, which the episodes of an arena use one after another.
        others: arguments of `Arena`.
    """

    def __init__(self, open: Callable[[], Any], **others: Any) -> None:  # noqa: A002
        super().__init__(**others)
        self._open = open
        self._environment: Any = None
        self._game: Game | None = None

    @abstractmethod
    def start(self, environment: Any, seed: int) -> Game:
        """Begin the episode of a seed."""

    @property
    def game(self) -> Game:
        """The episode at this point."""
        if self._game is None:
            if self._environment is None:
                self._environment = self._open()
            self._game = self.start(self._environment, self._seed)
            for replies in self._past:
                self._game.play(replies)
        return self._game

    def deal(self, rng: np.random.Generator, split: str) -> None:
        """Begin an episode with a seed of its own."""
        self._seed = int(rng.integers(1 << 31))
        self._past: tuple[Mapping[str, Words], ...] = ()
        self._game = None

    def copy(self) -> Self:
        """Return the arena at this point; the copy replays the moves when it is first used."""
        other = copy(self)
        other._environment = other._game = None
        return other

    def acting(self) -> tuple[str, ...]:
        """Whom the library asks."""
        return self.game.acting()

    def view(self, agent: str) -> str:
        """What the library shows."""
        return self.game.view(agent)

    def spec(self, agent: str) -> ReplySpec:
        """What the library takes now; any reply of the seat where it is not asked."""
        game = self.game
        return game.spec(agent) if agent in game.acting() else self.replies[agent][0]

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Let the library apply the moves."""
        outcome = self.game.play(replies)
        self._past = (*self._past, dict(replies))
        return outcome

    def hidden(self) -> str:
        """What the library knows of the state."""
        return self.game.hidden()
