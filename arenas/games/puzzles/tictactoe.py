"""Tic-tac-toe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose, symbols

PLAYERS: Final = ("player_0", "player_1")
MARKS: Final = ("x", "o")
CELLS: Final = symbols("", 10)[1:]  # 1 2 3 is the first row
LINES: Final = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


def free(board: Words) -> Words:
    """Return the cells without a mark; a board is nine words: marks, and the names of free cells."""
    return tuple(cell for cell in board if cell not in MARKS)


def turn(board: Words) -> int:
    """Return the index of the player to move."""
    return (9 - len(free(board))) % 2


def place(board: Words, cell: str) -> Words:
    """Return the board after the player to move marks a cell."""
    return tuple(MARKS[turn(board)] if word == cell else word for word in board)


def won(board: Words) -> bool:
    """Say whether a line is complete; the player who moved last has then won."""
    return any(board[a] == board[b] == board[c] for a, b, c in LINES)


@cache
def value(board: Words) -> int:
    """Return the minimax value for the player to move: 1, 0 or -1."""
    if won(board):
        return -1
    return max((-value(place(board, cell)) for cell in free(board)), default=0)


def perfect(memory: Memory) -> Words:
    """Return the first of the optimal moves."""
    board = memory.view[-9:]
    return (max(free(board), key=lambda cell: -value(place(board, cell))),)


class TicTacToe(Arena):
    """Tic-tac-toe; there is one deal, and player_0 is x and begins."""

    rules = """
    Tic-tac-toe: x and o take turns to mark one of nine cells; three in a row, column or diagonal win.

    A full board without such a line is a draw, and perfect play ends in one. (OpenSpiel's `tic_tac_toe`; PettingZoo's
    `tictactoe`.)

    Nothing is drawn, so there is one deal. player_0 is x and begins.
    """
    metadata = Arena.metadata | {"name": "tictactoe_v0"}
    tags = ("competitive", "planning")
    cases = 1

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(PLAYERS, choose(CELLS)), words=("you", *MARKS, "board"))

    @override
    def lay(self, case: int) -> None:
        self.board: Words = CELLS

    @override
    def acting(self) -> tuple[str, ...]:
        return (PLAYERS[turn(self.board)],)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return _cells(free(self.board) or CELLS)

    @override
    def view(self, agent: str) -> str:
        # One's own mark, and the board with the names of free cells.
        return " ".join(("you", MARKS[PLAYERS.index(agent)], "board", *self.board))

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        (player,) = map(PLAYERS.index, replies)
        self.board = place(self.board, replies[PLAYERS[player]][0])
        if not won(self.board):
            return Outcome(done=not free(self.board))
        return Outcome({PLAYERS[player]: 1.0, PLAYERS[1 - player]: -1.0}, done=True)

    @override
    def hidden(self) -> str:
        return " ".join(("board", *self.board))

    @override
    def anchors(self) -> Anchors:
        # Zero-sum, so every mean score is 0; the minimax value of the empty board is 0 too.
        drawn = float(value(CELLS))
        return Anchors(random=0.0, silent=0.0, full=0.0, equilibrium=0.0, values=(drawn, 0.0 - drawn))

    @override
    def scripts(self) -> Mapping[str, Script]:
        return {"equilibrium": perfect}


@cache
def _cells(names: Words) -> ReplySpec:
    return choose(names)
