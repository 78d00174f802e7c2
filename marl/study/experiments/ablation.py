"""Ablation by shuffling: evaluate with messages from other episodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil

from marl.episode import Episode
from marl.intervention.base import Intervention
from marl.intervention.message import Drop, Shuffle, Spoken
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from protocols.channel import PUBLIC
from protocols.draws import key
from protocols.envelope import EVERYONE, NOBODY, REFEREE, Kind
from protocols.log import Log


def spoken(logs: Iterable[Log]) -> tuple[Spoken, ...]:
    """Return every message of some episodes as heard: the pool of `Shuffle`."""
    messages = []
    for log in logs:
        for envelope, heard in log.entries:
            if envelope.kind is Kind.SAY and envelope.to != NOBODY and envelope.sender != REFEREE:
                channel = PUBLIC if envelope.to == EVERYONE else envelope.to
                first = {h.to: h.body for h in reversed(heard)}  # of several copies the first
                messages.append(Spoken(log.episode, envelope.sender, channel, first))
    return tuple(messages)


def permuted(logs: Sequence[Log], seed: int) -> list[Intervention]:
    """Return an intervention for each log that replaces its messages by those of another log of the same split.

    Who hears whom is a random permutation, so every message is heard exactly once and the marginal stays what it was.
    As in any permutation, some may be left where they were.
    """
    splits: dict[str, list[int]] = {}
    for i, log in enumerate(logs):
        splits.setdefault(log.deal.get("split", "train"), []).append(i)
    heard: list[Intervention] = [Drop()] * len(logs)
    for split, own in splits.items():
        order = sorted(own, key=lambda i: key(seed, "permuted", split, i))
        for i, other in zip(own, order, strict=True):
            if pool := spoken([logs[other]]):  # else nothing was said there, so nothing is heard here
                heard[i] = Shuffle(pool=pool)
    return heard


def shuffled(world: World, plans: Sequence[Plan], seed: int, *, least: int = 1024) -> list[Episode]:
    """Play plans as they are, then with their messages shuffled between them, and return the shuffled episodes.

    They are shuffled anew until at least `least` episodes are played, because with few deals a single permutation tells
    little.
    """
    logs = [episode.log for episode in collect(world, plans)]
    again = [
        replace(plan, do=(*plan.do, intervention))
        for turn in range(ceil(least / max(len(plans), 1)))
        for plan, intervention in zip(plans, permuted(logs, key(seed, "shuffled", turn)), strict=True)
    ]
    return collect(world, again)
