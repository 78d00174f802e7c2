"""What a message does: the episode is played again from the message on, with another message heard in its place.

What speaker and listener do can hang together without anyone listening (both may depend on what both see), so no
statistic of a log shows that a message had an effect. An intervention does. Forks keep the past, the hidden state and
every random draw, and change one message for its listeners: do(m).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.intervention import Drop, Replace
from marl.policy import Seats
from marl.rollout import Plan, collect, fork
from marl.scenario import World
from marl.study import lexicon
from marl.study.information import codes, entropy
from marl.study.lexicon import Utterance, Words
from protocols.log import Log


@dataclass(frozen=True, slots=True)
class Influence:
    """What the messages of one speaker do to one listener, and to the score.

    Over contexts c = (episode, message), with greedy replies a(c, m) of the listener after do(m), and m from the
    messages this speaker sent in any of the episodes:
    """

    speaker: str
    listener: str
    contexts: int
    alternatives: int
    """How many different messages were tried."""
    flip_rate: float
    """Mean over c and over m other than the message of c: [a(c, m) is not a(c, own)]."""
    information: float
    """E_c I(M; A | c) in bits, with p(m) as often as the speaker sends m: the one-step causal influence of
    communication (CIC, Lowe et al. 2019; their published code took a mean for the sum over m, and is off by ln |M|)."""
    information_uniform: float
    """The same with every m equally likely."""
    score: float
    """R(on): mean score with the message heard as it was said."""
    score_shuffled: float
    """Mean score with a message from another episode in its place: E_c sum_m p(m) R(c, do(m))."""
    score_lost: float
    """Mean score with nothing heard, a state the listener may never have been in."""

    @property
    def gap(self) -> float:
        """The ablation gap of a message, R(on) - R(shuffled): the marginal of what is heard stays what it was."""
        return self.score - self.score_shuffled


def influence(
    world: World, seats: Seats, logs: Sequence[Log], *, alternatives: int = 16, contexts: int = 128, seed: int = 0
) -> list[Influence]:
    """Measure what messages do, for each speaker and listener.

    Args:
        world: the world of the logs.
        seats: the live policies; they answer greedily, so p(a | do(m), c) is 0 or 1 and I(M; A | c) = H(A | c) exactly.
        logs: the episodes whose messages are replaced.
        alternatives: per speaker, its most frequent messages so many are tried.
        contexts: per speaker, a seeded sample of so many of its messages is replaced.
        seed: of the sample.
    """
    found = lexicon.utterances(logs)
    result: list[Influence] = []
    for speaker in dict.fromkeys(u.speaker for u in found):
        own = [u for u in found if u.speaker == speaker]
        counts = Counter(u.message for u in own)
        pool = [m for m, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))][:alternatives]
        if len(own) > contexts:
            chosen = np.random.default_rng(seed).choice(len(own), contexts, replace=False)
            own = [own[i] for i in sorted(chosen)]
        trials = [_Trials(world, seats, u, pool) for u in own]
        episodes = collect(world, [plan for trial in trials for plan in trial.plans])
        if failed := [e for e in episodes if e.stop is Stop.ERROR]:
            raise UserError(f"a fork of episode {failed[0].log.episode} failed: {failed[0].error}")
        for trial in trials:
            trial.episodes, episodes = episodes[: len(trial.plans)], episodes[len(trial.plans) :]
        weights = np.array([counts[m] for m in pool], np.float64)
        result += _per_listener(speaker, trials, weights / weights.sum())
    return result


class _Trials:
    """One message, and the futures in which its listeners hear each of the pool, nothing, and the message itself."""

    def __init__(self, world: World, seats: Seats, utterance: Utterance, pool: Sequence[Words]) -> None:
        self.utterance = utterance
        bodies = [*(" ".join(m) for m in pool), None, " ".join(utterance.message)]
        self.plans: list[Plan] = [
            replace(fork(utterance.log, utterance.seq, seats, do=do), greedy=True)
            for do in (Drop(seq=utterance.seq) if b is None else Replace(seq=utterance.seq, body=b) for b in bodies)
        ]
        self.own = [body == bodies[-1] for body in bodies[:-2]]
        self.episodes: list[Episode] = []

    def answers(self, listener: str) -> list[str | None]:
        """Return the listener's replies: to each message of the pool, to nothing, to the message itself."""
        number = lexicon.answering(self.episodes[-1].log, self.utterance.seq).get(listener)
        if number is None:
            return []
        return [lexicon.reply(episode.log, listener, number) for episode in self.episodes]


def _per_listener(speaker: str, trials: Sequence[_Trials], p: NDArray[np.float64]) -> list[Influence]:
    result = []
    for listener in dict.fromkeys(h.to for t in trials for h in t.utterance.log.entries[t.utterance.seq].heard):
        heard = [(t, answers) for t in trials if (answers := t.answers(listener))]
        if not heard:
            continue
        scores = np.array([[e.score for e in t.episodes] for t, _ in heard])
        flips = [a != answers[-1] for t, answers in heard for a, own in zip(answers, t.own, strict=False) if not own]
        result.append(
            Influence(
                speaker,
                listener,
                contexts=len(heard),
                alternatives=len(p),
                flip_rate=float(np.mean(flips)) if flips else 0.0,
                information=float(np.mean([_entropy(answers[:-2], p) for _, answers in heard])),
                information_uniform=float(np.mean([entropy(codes(answers[:-2])) for _, answers in heard])),
                score=float(scores[:, -1].mean()),
                score_shuffled=float((scores[:, :-2] @ p).mean()),
                score_lost=float(scores[:, -2].mean()),
            )
        )
    return result


def _entropy(answers: Sequence[str | None], p: NDArray[np.float64]) -> float:
    """H(A) in bits, where message k has probability p_k and its answer is certain."""
    mass = np.bincount(codes(answers), weights=p)
    mass = mass[mass > 0]
    return max(float(-(mass * np.log2(mass)).sum()), 0.0)
