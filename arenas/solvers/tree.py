"""Extensive form of an arena in sequence form: every deal and every reply, so that play is solved exactly.

A seat's information set is all it has perceived and replied when it acts (`Memory.seen`), so recall is perfect and the
sequence form holds (Koller, Megiddo & von Stengel 1996): a seat's reply is a column, the probability of all its replies
up to there a product down its own columns, and the value of an end its payoff, times the probability of the deal, times
those of all seats. Seats that act at once act one by one, in seat order, without seeing each other's replies.

A policy is an array [A]: the probability of each column, summing to 1 in each information set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from arenas.errors import ArenaError
from arenas.scripted import Memory, Script, Seen, chances
from arenas.solvers.exact import deals
from arenas.solvers.play import ask, perceive
from arenas.spec import Words

if TYPE_CHECKING:
    from arenas.core import Arena

MAX_ENDS: Final = 2_000_000
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Node:
    """Stage of an episode, or its end: `asked` is empty there.

    `last` holds each seat's last reply, if any, as (its memory then, the index of its reply).
    """

    arena: Arena
    case: int
    asked: Mapping[str, Memory]
    replies: tuple[tuple[str, Words], ...]
    returns: Mapping[str, float]
    last: Mapping[str, tuple[Memory, int]]


def walk(arena: Arena, split: str = "train") -> Iterator[Node]:
    """Yield every stage and end that legal replies reach from every deal, parents first.

    Raises ArenaError if the deals cannot be counted or do not determine the deal.
    """
    for case in deals(arena, split):
        arena.begin(0, case=case)
        seen: dict[str, Seen] = dict.fromkeys(arena.possible_agents, ())
        root = arena.copy()
        stack = [(Node(root, case, ask(root, seen), (), dict.fromkeys(seen, 0.0), {}), seen)]
        while stack:
            node, seen = stack.pop()
            yield node
            stack += [] if not node.asked else list(_after(node, seen))[::-1]


def _after(node: Node, seen: Mapping[str, Seen]) -> Iterator[tuple[Node, dict[str, Seen]]]:
    specs = {agent: memory.spec for agent, memory in node.asked.items()}
    memories = dict(seen) | {agent: memory.seen for agent, memory in node.asked.items()}
    for numbers in product(*(range(spec.size) for spec in specs.values())):
        replies = {agent: spec.words(i) for (agent, spec), i in zip(specs.items(), numbers, strict=True)}
        arena = node.arena.copy()
        outcome = arena.advance(replies)
        perceived = perceive(arena, memories, replies, specs)
        yield (
            Node(
                arena,
                node.case,
                {} if outcome.done else ask(arena, perceived),
                (*node.replies, *replies.items()),
                {agent: paid + outcome.rewards.get(agent, 0.0) for agent, paid in node.returns.items()},
                {**node.last, **{a: (node.asked[a], i) for a, i in zip(specs, numbers, strict=True)}},
            ),
            perceived,
        )


@dataclass(frozen=True)
class Tree:
    """Sequence form of an arena: I information sets with A columns (replies), N seats, Z ends.

    Information sets are ordered by the number of their seat's earlier replies, so a seat's earlier sets come first.
    """

    seats: tuple[str, ...]
    memories: tuple[Memory, ...]  # [I] what the seat knows there
    owner: Ints  # [I] the number of the seat
    offset: Ints  # [I + 1] the columns of set i are offset[i] to offset[i + 1]
    before: Ints  # [I] the seat's column that led there; -1: none, it is the seat's first reply
    level: Ints  # [L + 1] sets level[k] to level[k + 1] are those of seats that have replied k times
    decisions: int  # how often any seat is asked, over all deals and replies
    chance: Floats  # [Z] of the deal
    last: Ints  # [Z, N] each seat's last column; -1: it never replied
    returns: Floats  # [Z, N]

    @cached_property
    def set_of(self) -> Ints:
        """Information set of each column: [A]."""
        return np.repeat(np.arange(len(self.memories)), np.diff(self.offset))

    @cached_property
    def seat_of(self) -> Ints:
        """Seat of each column: [A]."""
        return self.owner[self.set_of]

    def uniform(self) -> Floats:
        """Return the uniform policy over legal replies: [A]."""
        return 1 / np.diff(self.offset)[self.set_of].astype(np.float64)

    def policy(self, scripts: Script | Mapping[str, Script]) -> Floats:
        """Convert a script, or one for each seat, to a policy: [A]; raises ArenaError for an illegal reply."""
        policy = np.zeros(int(self.offset[-1]))
        for start, memory in zip(self.offset, self.memories, strict=False):
            script = scripts[memory.agent] if isinstance(scripts, Mapping) else scripts
            for words, p in chances(script, memory).items():
                policy[start + memory.spec.index(words)] += p
        return policy

    def script(self, policy: Floats) -> Script:
        """Convert a policy to a script; probabilities below 1e-12 become 0."""
        table = {}
        for i, memory in enumerate(self.memories):
            p = policy[self.offset[i] : self.offset[i + 1]]
            p = np.where(p < 1e-12, 0, p)
            table[memory.agent, memory.seen] = {
                memory.spec.words(j): float(x) for j, x in enumerate(p / p.sum()) if x > 0
            }
        return lambda memory: table[memory.agent, memory.seen]

    def plan(self, policy: Floats) -> Floats:
        """Compute realization weights: each seat's probability of a column and all its columns before: [A].

        x(set, reply) = x(before(set)) * policy(set, reply)
        """
        x = np.append(policy, 1.0)  # the last one stands for no reply yet: before = -1
        for low, high in zip(self.level, self.level[1:], strict=False):
            columns = slice(self.offset[low], self.offset[high])
            x[columns] *= x[self.before[self.set_of[columns]]]
        return x

    def expected(self, policy: Floats) -> Floats:
        """Return each seat's expected return: [N]."""
        weight = self.chance * self.plan(policy)[self.last].prod(1)
        expected: Floats = weight @ self.returns
        return expected


def extensive(arena: Arena, split: str = "train", limit: int = MAX_ENDS) -> Tree:
    """Build the extensive form of a split; raises ArenaError if deals are not counted, or beyond `limit` ends."""
    numbers: dict[tuple[str, Seen], int] = {}
    memories: list[Memory] = []
    before: list[tuple[int, int]] = []
    ends: list[tuple[list[tuple[int, int]], list[float]]] = []
    decisions = 0
    seats = tuple(arena.possible_agents)

    def column(node: Node, seat: str) -> tuple[int, int]:
        if seat not in node.last:
            return -1, 0
        memory, reply = node.last[seat]
        return numbers[seat, memory.seen], reply

    for node in walk(arena, split):
        sizes = [memory.spec.size for memory in node.asked.values()]
        decisions += sum(prod(sizes[:n]) for n in range(len(sizes)))
        for seat, memory in node.asked.items():
            if (seat, memory.seen) not in numbers:
                numbers[seat, memory.seen] = len(memories)
                memories.append(memory)
                before.append(column(node, seat))
        if not node.asked:
            ends.append(([column(node, seat) for seat in seats], [node.returns[seat] for seat in seats]))
            if len(ends) > limit:
                raise ArenaError(f"{arena.name} has more than {limit} ends with these parameters: make it smaller")
    return _ordered(seats, memories, before, decisions, ends, len(deals(arena, split)))


def _ordered(
    seats: tuple[str, ...],
    memories: list[Memory],
    before: list[tuple[int, int]],
    decisions: int,
    ends: list[tuple[list[tuple[int, int]], list[float]]],
    cases: int,
) -> Tree:
    """Sort information sets by the number of their seat's earlier replies; number the columns."""
    depth = np.array([len(memory.replied) for memory in memories])
    order = np.argsort(depth, kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    sizes = np.array([memory.spec.size for memory in memories])[order]
    offset = np.concatenate([[0], np.cumsum(sizes)])

    def columns(pairs: Ints) -> Ints:
        """Convert (set or -1, reply) to columns."""
        children: Ints = np.where(pairs[..., 0] < 0, -1, offset[position[pairs[..., 0]]] + pairs[..., 1])
        return children

    return Tree(
        seats=seats,
        memories=tuple(memories[i] for i in order),
        owner=np.array([seats.index(memories[i].agent) for i in order]),
        offset=offset,
        before=columns(np.array(before))[order],
        level=np.searchsorted(depth[order], np.arange(depth.max() + 2)),
        decisions=decisions,
        chance=np.full(len(ends), 1 / cases),
        last=columns(np.array([last for last, _ in ends])),
        returns=np.array([paid for _, paid in ends], np.float64),
    )
