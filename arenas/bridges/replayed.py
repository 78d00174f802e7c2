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
from typing_extensions import override

from arenas.core import Arena, Outcome
from arenas.spec import ReplySpec, Words


class Game(ABC):
    """Running episode of another library's game. Views and specs may be requested repeatedly."""

    @abstractmethod
    def acting(self) -> tuple[str, ...]:
        """Return the agents that reply now, in seat order."""

    @abstractmethod
    def view(self, agent: str) -> str:
        """Return an agent's view."""

    @abstractmethod
    def spec(self, agent: str) -> ReplySpec:
        """Return the reply spec of an acting agent."""

    @abstractmethod
    def play(self, replies: Mapping[str, Words]) -> Outcome:
        """Apply the replies of all acting agents."""

    @abstractmethod
    def hidden(self) -> str:
        """Return the hidden state for the critic."""


class Replayed(Arena):
    """Arena whose rules are implemented by another library.

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
        """Running episode at this point; replays the moves if it is not there yet."""
        if self._game is None:
            if self._environment is None:
                self._environment = self._open()
            self._game = self.start(self._environment, self._seed)
            for replies in self._past:
                self._game.play(replies)
        return self._game

    @override
    def deal(self, rng: np.random.Generator, split: str) -> None:
        # Each episode has a seed of its own.
        self._seed = int(rng.integers(1 << 31))
        self._past: tuple[Mapping[str, Words], ...] = ()
        self._game = None

    @override
    def copy(self) -> Self:
        # The copy replays the moves on first use.
        other = copy(self)
        other._environment = other._game = None
        return other

    @override
    def acting(self) -> tuple[str, ...]:
        return self.game.acting()

    @override
    def view(self, agent: str) -> str:
        return self.game.view(agent)

    @override
    def spec(self, agent: str) -> ReplySpec:
        # Any reply of the seat while it does not act.
        game = self.game
        return game.spec(agent) if agent in game.acting() else self.replies[agent][0]

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        outcome = self.game.play(replies)
        self._past = (*self._past, dict(replies))
        return outcome

    @override
    def hidden(self) -> str:
        return self.game.hidden()
