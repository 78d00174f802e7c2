"""Does a critic use what an agent itself cannot see? A permutation test on the joint view.

For each agent, everything in the logs that it did not perceive (others' views, the hidden state, messages that did not
reach it) changes places between episodes of the same shape. If the critic's values for the agent explain as much of its
returns as before, the joint view taught it nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import numpy as np

from marl.credit.arrays import Array, EpisodeArrays
from marl.credit.baselines import to_go
from marl.episode import Episode
from protocols.draws import key
from protocols.envelope import EVERYONE
from protocols.log import Entry

Predict = Callable[[Sequence[Episode]], Array]
"""Values [E, K + 1, N] of episodes."""


class Test(NamedTuple):
    """What the values explain of the agents' returns, mean over agents."""

    explained: float
    """With the logs as they are."""
    permuted: float
    """Mean over permutations; nan where no two episodes have the same shape."""
    p: float
    """Chance of as much under permutation: (1 + as good) / (1 + permutations)."""


def permutation_test(
    episodes: Sequence[Episode], predict: Predict, arrays: EpisodeArrays, seed: int, times: int = 9
) -> Test:
    """Permutation test of the critic: explained variance with and without shuffling unperceived entries."""
    returns = to_go(arrays)
    plain = _explained(predict(episodes), returns, arrays.valid, range(returns.shape[-1]))
    shuffled = []
    for turn in range(times):
        by_agent = []
        for i, agent in enumerate(episodes[0].agents):
            other = shuffle(episodes, agent, np.random.default_rng(key(seed, "permutation", turn, agent)))
            by_agent.append(_explained(predict(other), returns, arrays.valid, [i]))
        shuffled.append(fmean(by_agent))
    as_good = sum(value >= plain for value in shuffled)
    return Test(plain, fmean(shuffled), (1 + as_good) / (1 + times))


def shuffle(episodes: Sequence[Episode], agent: str, rng: np.random.Generator) -> list[Episode]:
    """Shuffle the entries that an agent did not perceive between episodes whose logs have the same shape."""
    groups: dict[tuple[tuple[str, str, str], ...], list[int]] = {}
    for e, episode in enumerate(episodes):
        shape = tuple((x.envelope.kind.value, x.envelope.sender, x.envelope.to) for x in episode.log.entries)
        groups.setdefault(shape, []).append(e)
    shuffled = list(episodes)
    for group in groups.values():
        donors = rng.permutation(group)
        for e, donor in zip(group, donors.tolist(), strict=True):
            pairs = zip(episodes[e].log.entries, episodes[donor].log.entries, strict=True)
            entries = [own if perceived(own, agent) else _given(own, other) for own, other in pairs]
            shuffled[e] = replace(episodes[e], log=replace(episodes[e].log, entries=entries))
    return shuffled


def perceived(entry: Entry, agent: str) -> bool:
    """Whether an agent saw an entry, as shown, said or heard."""
    envelope, heard = entry
    return agent in (envelope.sender, envelope.to) or any(
        reception.to == agent and reception.body is not None for reception in heard
    )


def _given(own: Entry, other: Entry) -> Entry:
    """Return an entry with the words of another one in its place."""
    return Entry(
        own.envelope._replace(body=other.envelope.body), other.heard if own.envelope.to == EVERYONE else own.heard
    )


def _explained(
    values: Array, returns: Array, valid: np.ndarray[tuple[int, int], np.dtype[np.bool_]], agents: Sequence[int]
) -> float:
    """Return the explained variance of the agents' returns at all decisions, the mean over agents."""
    explained = []
    for i in agents:
        target, value = returns[..., i][valid], values[:, :-1, i][valid]
        spread = float(target.var())
        explained.append(1 - float((target - value).var()) / spread if spread > 1e-12 else 0.0)
    return fmean(explained)
