"""Causal effects of messages: fork an episode at a message and let listeners hear another one.

What speaker and listener do can hang together without anyone listening (both may depend on what both see), so no
statistic of a log shows that a message had an effect. An intervention does. Forks keep the past, the hidden state and
every random draw, and change one message for its listeners: do(m).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.intervention.base import Intervention
from marl.intervention.message import Drop, Replace, Swap
from marl.metrics.information import codes, entropy
from marl.metrics.measure import Measure, measured, undefined
from marl.metrics.statistics import mean_interval
from marl.policy.base import Seats
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import fork
from marl.scenario.world import World
from marl.study.data import lexicon
from marl.study.data.lexicon import Utterance, Words
from marl.study.data.result import ListenerEffect, MessageCredit
from protocols.log import Log

Array = NDArray[np.float64]


class Trial:
    """One message and its forks: listeners hear each message of a pool, nothing, another sender, or the original."""

    def __init__(
        self, world: World, seats: Seats, utterance: Utterance, pool: Sequence[Words], counts: Mapping[Words, int]
    ) -> None:
        self.utterance, self.pool = utterance, pool
        sent = np.array([counts[m] for m in pool], np.float64)
        self.p: Array = sent / sent.sum()
        """How often the speaker sends each message of the pool, among those of it."""
        own = 0 if utterance.message in pool else counts[utterance.message]
        self.rare = own / (own + sent.sum())
        """How often it sends this one, where it is not in the pool."""
        at = utterance.seq
        changes: dict[str, Intervention] = {f"m {k}": Replace(seq=at, body=" ".join(m)) for k, m in enumerate(pool)}
        changes |= {"lost": Drop(seq=at), "own": Replace(seq=at, body=" ".join(utterance.message))}
        listeners = {h.to for h in utterance.log.entries[at].heard}
        others = [seat for seat in world.agents if seat != utterance.speaker]
        if len(others) > 1 and listeners:
            changes["swapped"] = Swap(seq=at, seat=others[-1] if listeners == {others[0]} else others[0])
        self.changes = changes
        self.plans: list[Plan] = [
            replace(fork(utterance.log, at, seats, do=do), greedy=True) for do in changes.values()
        ]
        self.episodes: Mapping[str, Episode] = {}

    @property
    def scores(self) -> Array:
        """Score of the fork for each message of the pool."""
        return np.array([self.episodes[f"m {k}"].score for k in range(len(self.pool))])

    @property
    def shuffled(self) -> float:
        """Mean score over the pool, weighted by how often the speaker sends each message."""
        return float(self.scores @ self.p)

    def answers(self, listener: str) -> dict[str, str | None]:
        """Return the listener's reply in each fork; empty if it never replied after the message."""
        number = lexicon.answering(self.episodes["own"].log, self.utterance.seq).get(listener)
        if number is None:
            return {}
        return {name: lexicon.reply(episode.log, listener, number) for name, episode in self.episodes.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """Influence of one speaker's messages on one listener and on the score.

    Over contexts c = (episode, message), with greedy replies a(c, m) of the listener after do(m), and m from the
    messages this speaker sent in any of the episodes, with p(m) as often as it sent them.
    """

    speaker: str
    listener: str
    alternatives: int
    """How many different messages were tried."""
    per_context: Mapping[str, Array]
    """Each measure in each context; nan where it has none there."""

    @property
    def contexts(self) -> int:
        """Number of messages that were replaced."""
        return len(self.per_context["score"])

    def mean(self, name: str) -> float:
        """Return the mean over the contexts that have the measure, 0 where none has."""
        values = self.per_context[name]
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if len(defined) else 0.0

    @property
    def flip_rate(self) -> float:
        """Mean over c and over m other than the message of c: [a(c, m) is not a(c, own)]."""
        return self.mean("flip_rate")

    @property
    def information(self) -> float:
        """E_c I(M; A | c) in bits: the one-step causal influence of communication (CIC, Lowe et al. 2019).

        Here p(m) is as often as the speaker sends m. (Their published code took a mean for the sum over m, and is off
        by ln |M|.)
        """
        return self.mean("cic")

    @property
    def information_uniform(self) -> float:
        """The same with every m equally likely."""
        return self.mean("cic_uniform")

    @property
    def social_influence(self) -> float:
        """E_c KL[p(a | own, c) to sum_m p(m) p(a | m, c)] in bits (Jaques et al. 2019)."""
        return self.mean("social_influence")

    @property
    def score(self) -> float:
        """R(on): mean score with the message heard as it was said."""
        return self.mean("score")

    @property
    def score_shuffled(self) -> float:
        """Mean score with a message from another episode in its place: E_c sum_m p(m) R(c, do(m))."""
        return self.mean("score_shuffled")

    @property
    def score_lost(self) -> float:
        """Mean score with nothing heard, a state the listener may never have been in."""
        return self.mean("score_lost")

    @property
    def gap(self) -> float:
        """The ablation gap of a message, R(on) - R(shuffled): the marginal of what is heard stays what it was."""
        return self.score - self.score_shuffled

    def effect(self, seed: int = 0) -> ListenerEffect:
        """Return it as data, each measure with its interval: a bootstrap over contexts."""
        whys = {"flip_rate": "the speaker sends one message only", "listening_swapped": "there is no third seat"}
        units = {"cic": "bits", "cic_uniform": "bits", "social_influence": "bits"}
        measures: list[Measure] = []
        for name, values in {**self.per_context, "message_gap": self._gap()}.items():
            defined = values[~np.isnan(values)]
            unit = units.get(name, "score" if name.startswith(("score", "message_gap")) else "share")
            if not len(defined):
                measures.append(undefined(name, whys.get(name, "it has no value in any context"), unit=unit))
                continue
            interval = mean_interval(defined, seed, of=f"bootstrap over {len(defined)} messages")
            measures.append(measured(name, defined.mean(), unit=unit, n=len(defined), interval=interval))
        return ListenerEffect(
            speaker=self.speaker,
            listener=self.listener,
            alternatives=self.alternatives,
            measures={measure.name: measure for measure in measures},
        )

    def _gap(self) -> Array:
        return np.asarray(self.per_context["score"] - self.per_context["score_shuffled"])


def trials(
    world: World, seats: Seats, logs: Sequence[Log], *, alternatives: int = 16, contexts: int = 128, seed: int = 0
) -> list[Trial]:
    """Fork episodes at their messages, and let listeners hear other messages of the same speaker.

    Args:
        world: the world of the logs.
        seats: the live policies; they answer greedily, so p(a | do(m), c) is 0 or 1 and I(M; A | c) = H(A | c) exactly.
        logs: the episodes whose messages are replaced.
        alternatives: how many of a speaker's most frequent messages are tried in place of each.
        contexts: how many of a speaker's messages are replaced at most, a random sample of them.
        seed: of the sample.
    """
    utterances = lexicon.utterances(logs)
    result: list[Trial] = []
    for speaker in dict.fromkeys(u.speaker for u in utterances):
        own = [u for u in utterances if u.speaker == speaker]
        counts = Counter(u.message for u in own)
        pool = [m for m, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))][:alternatives]
        if len(own) > contexts:
            chosen = np.random.default_rng(seed).choice(len(own), contexts, replace=False)
            own = [own[i] for i in sorted(chosen)]
        result += [Trial(world, seats, u, pool, counts) for u in own]
    episodes = collect(world, [plan for trial in result for plan in trial.plans])
    if failed := [e for e in episodes if e.stop is Stop.ERROR]:
        raise UserError(f"a fork of episode {failed[0].log.episode} failed: {failed[0].error}")
    for trial in result:
        own_episodes, episodes = episodes[: len(trial.plans)], episodes[len(trial.plans) :]
        trial.episodes = dict(zip(trial.changes, own_episodes, strict=True))
    return result


def influence(
    world: World, seats: Seats, logs: Sequence[Log], *, alternatives: int = 16, contexts: int = 128, seed: int = 0
) -> list[Influence]:
    """Measure the influence of messages for each speaker and listener; arguments as in `trials`."""
    return influences(trials(world, seats, logs, alternatives=alternatives, contexts=contexts, seed=seed))


def influences(trials: Sequence[Trial]) -> list[Influence]:
    """Return the influence of each speaker's messages on each of its listeners."""
    result: list[Influence] = []
    for speaker in dict.fromkeys(trial.utterance.speaker for trial in trials):
        own = [trial for trial in trials if trial.utterance.speaker == speaker]
        heard = dict.fromkeys(h.to for t in own for h in t.utterance.log.entries[t.utterance.seq].heard)
        for listener in heard:
            rows = [_context(trial, answers) for trial in own if (answers := trial.answers(listener))]
            if rows:
                columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
                result.append(Influence(speaker, listener, len(own[0].pool), columns))
    return result


def _context(trial: Trial, answers: Mapping[str, str | None]) -> dict[str, float]:
    """Return every measure in one context.

    Social influence (Jaques et al. 2019) is KL[p(a | own, c) to sum_m p(m) p(a | m, c)], own among the m.
    """
    own = answers["own"]
    tried = [answers[f"m {k}"] for k in range(len(trial.pool))]
    flips = [a != own for a, m in zip(tried, trial.pool, strict=True) if m != trial.utterance.message]
    among = float(trial.p @ np.array([a == own for a in tried]))
    mixed = trial.rare + (1 - trial.rare) * among  # the chance of this answer, whatever the speaker sends
    return {
        "flip_rate": float(np.mean(flips)) if flips else np.nan,
        "cic": _entropy(tried, trial.p),
        "cic_uniform": entropy(codes(tried)),
        "social_influence": float(max(-np.log2(mixed), 0.0)) if mixed > 0 else np.nan,
        "listening_lost": float(answers["lost"] != own),
        "listening_shuffled": 1 - among,
        "listening_swapped": float(answers["swapped"] != own) if "swapped" in answers else np.nan,
        "score": trial.episodes["own"].score,
        "score_shuffled": trial.shuffled,
        "score_lost": trial.episodes["lost"].score,
    }


def _entropy(answers: Sequence[str | None], p: Array) -> float:
    """H(A) in bits, where message k has probability p_k and its answer is certain."""
    mass = np.bincount(codes(answers), weights=p)
    mass = mass[mass > 0]
    return max(float(-(mass * np.log2(mass)).sum()), 0.0)


def message_credit(trials: Sequence[Trial]) -> list[MessageCredit]:
    """Return the credit of each message, R(own) - sum_m p(m) R(do(m)), with its text."""
    return [
        MessageCredit(
            episode=trial.utterance.log.episode,
            seq=trial.utterance.seq,
            speaker=trial.utterance.speaker,
            meaning=trial.utterance.meaning,
            message=" ".join(trial.utterance.message),
            score=score,
            without=trial.shuffled,
            credit=score - trial.shuffled,
        )
        for trial in trials
        if np.isfinite(score := trial.episodes["own"].score) and np.isfinite(trial.shuffled)
    ]
