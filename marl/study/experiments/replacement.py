"""Replacement experiments: replay episodes with messages, word order or a seat's policy replaced.

All episodes keep their deals and random draws, so that each is compared with itself (common random numbers). Policies
answer greedily. A gap is what the score loses: R(as it is) - R(replaced), with an interval by bootstrap over episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.intervention.base import Intervention
from marl.intervention.message import Drop, Replace, Rewrite
from marl.metrics.measure import Measure, measured, undefined
from marl.metrics.statistics import mean_interval
from marl.policy.base import Seats
from marl.policy.scripted import Random
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.config import Scenario
from marl.scenario.world import World
from marl.study.data import lexicon
from marl.study.data.lexicon import Utterance
from marl.study.experiments import ablation
from protocols.draws import key
from protocols.effects import Eavesdrop, Effect
from protocols.log import Log

Array = NDArray[np.float64]
SHUFFLES: Final = 4
"""How often all messages are dealt to other episodes."""
MOST_PAIRS: Final = 16
NOTHING_SAID: Final = "nothing is said"


class Replay:
    """Baseline episodes, for replays in which messages, the world or policies are replaced."""

    def __init__(self, world: World, seats: Seats, logs: Sequence[Log], seed: int = 0) -> None:
        self.world, self.seats, self.seed = world, seats, seed
        self.plans = [Plan(log.episode, seats, log.seed, log.deal, greedy=True) for log in logs]
        self.base = self.play(self.plans)
        self.found = lexicon.utterances(episode.log for episode in self.base)

    def play(self, plans: Sequence[Plan], world: World | None = None) -> list[Episode]:
        """Play; raises UserError where a policy fails."""
        episodes = collect(world or self.world, plans)
        if failed := [e for e in episodes if e.stop is Stop.ERROR]:
            raise UserError(f"the replay of episode {failed[0].log.episode} failed: {failed[0].error}")
        return episodes

    def under(self, *do: Intervention, seats: Seats | None = None) -> Array:
        """Return the score of each episode under interventions, or with others on the seats."""
        plans = [replace(plan, do=do, seats=seats or self.seats) for plan in self.plans]
        return _scores(self.play(plans))

    def gap(self, name: str, scores: Array, **more: object) -> Measure:
        """Return the mean score loss against the baseline, over episodes with finite rewards."""
        lost = _scores(self.base) - scores
        defined = lost[np.isfinite(lost)]
        if not len(defined):
            return undefined(name, "no episode has a score", unit="score", n=len(lost))
        interval = mean_interval(defined, self.seed, of=f"bootstrap over {len(defined)} episodes")
        return measured(name, defined.mean(), unit="score", n=len(defined), interval=interval, **more)


def _scores(episodes: Sequence[Episode]) -> Array:
    return np.array([episode.score for episode in episodes], np.float64)


def measures(it: Replay) -> Iterator[Measure]:
    """Yield every measure, defined or not."""
    yield from _ablations(it)
    yield _order(it)
    yield paraphrase(it)
    yield role_swap(it)
    yield from _worth(it)
    yield from _eavesdroppers(it)


def _ablations(it: Replay) -> Iterator[Measure]:
    """Score loss when messages are lost, shuffled between episodes, or constant."""
    names = ("gap_lost", "gap_shuffled", "gap_constant")
    if not it.found:
        yield from (undefined(name, NOTHING_SAID, unit="score") for name in names)
        return
    yield it.gap(names[0], it.under(Drop()))
    logs = [episode.log for episode in it.base]
    shuffled = []
    for turn in range(SHUFFLES):
        do = ablation.permuted(logs, key(it.seed, "study", turn))
        plans = [replace(plan, do=(intervention,)) for plan, intervention in zip(it.plans, do, strict=True)]
        shuffled.append(_scores(it.play(plans)))
    yield it.gap(names[1], np.mean(shuffled, 0), note=f"mean of {SHUFFLES} shuffles")
    usual = {
        speaker: Counter(u.message for u in it.found if u.speaker == speaker).most_common(1)[0][0]
        for speaker in dict.fromkeys(u.speaker for u in it.found)
    }
    yield it.gap(names[2], it.under(*(Replace(sender=s, body=" ".join(m)) for s, m in usual.items())))


def _order(it: Replay) -> Measure:
    """Score loss when the words of each message are reordered."""
    if not any(len(set(u.message)) > 1 for u in it.found):
        return undefined("gap_reordered", "no message has two different words", unit="score")
    return it.gap("gap_reordered", it.under(Rewrite(by="shuffle")))


def paraphrase(it: Replay, by: str = "") -> Measure:
    """Score loss when messages are replaced by synonyms.

    Args:
        it: the episodes.
        by: a paraphraser, as a name in `protocols.effects.REWRITERS`. Without it a paraphrase is another message that
            this speaker itself sends for the same meaning; messages that have none stay as they are.
    """
    name = "gap_paraphrased"
    if by:
        return it.gap(name, it.under(Rewrite(by=by)), note=f"by {by}")
    other = {u: m for u in range(len(it.found)) if (m := _synonym(it.found[u], it.found)) is not None}
    if not other:
        why = "no speaker has two messages for one meaning; a paraphraser of your own can be named"
        return undefined(name, why if it.found else NOTHING_SAID, unit="score")
    do: dict[str, list[Intervention]] = {}
    for u, body in other.items():
        do.setdefault(it.found[u].log.episode, []).append(Replace(seq=it.found[u].seq, body=body))
    changed = [replace(plan, do=tuple(do.get(plan.episode, ()))) for plan in it.plans]
    played = _scores(it.play(changed))
    touched = np.array([plan.episode in do for plan in it.plans])
    return it.gap(name, np.where(touched, played, np.nan), note=f"{len(other)} messages have another one")


def _synonym(it: Utterance, utterances: Sequence[Utterance]) -> str | None:
    """Return the most frequent other message of this speaker, at this place, for this meaning."""
    same = Counter(
        u.message
        for u in utterances
        if (u.speaker, u.place, u.meaning) == (it.speaker, it.place, it.meaning) and u.message != it.message
    )
    return " ".join(same.most_common(1)[0][0]) if same else None


def role_swap(it: Replay) -> Measure:
    """Score loss when two seats with the same words swap policies: mean over at most 16 pairs."""
    replies = it.world.arena.replies
    pairs = [
        (a, b)
        for k, a in enumerate(it.world.agents)
        for b in it.world.agents[:k]
        if set(replies[a]) == set(replies[b]) and it.seats[a] is not it.seats[b]
    ][:MOST_PAIRS]
    if not pairs:
        return undefined("gap_roles_swapped", "no two seats have the same replies and different policies", unit="score")
    scores = {f"{b}, {a}": it.under(seats={**it.seats, a: it.seats[b], b: it.seats[a]}) for a, b in pairs}
    parts = {name: it.gap(name, values).value for name, values in scores.items()}
    return it.gap("gap_roles_swapped", np.mean(list(scores.values()), 0), parts=parts)


def _worth(it: Replay) -> Iterator[Measure]:
    """Score loss when a seat plays at random (near 0 for a lazy agent), and when its messages are lost."""
    speakers = {u.speaker for u in it.found}
    for seat in it.world.agents:
        at_random = it.under(seats={**it.seats, seat: Random()})
        parts: dict[str, float | None] = {"random": it.gap(seat, at_random).value}
        if seat in speakers:
            parts["silent"] = it.gap(seat, it.under(Drop(sender=seat))).value
        yield it.gap(f"worth {seat}", at_random, parts=parts)


def _eavesdroppers(it: Replay) -> Iterator[Measure]:
    """Gain of a seat from eavesdropping: its return minus that without overhearing."""
    listening = _eavesdropping(it.world)
    for seat in listening:
        deaf = World(_without(it.world, seat))
        before, after = _returns(it.base, seat), _returns(it.play(it.plans, deaf), seat)
        gained = (before - after)[np.isfinite(before - after)]
        name = f"eavesdropping {seat}"
        if len(gained):
            interval = mean_interval(gained, it.seed, of=f"bootstrap over {len(gained)} episodes")
            yield measured(name, gained.mean(), unit="return", n=len(gained), interval=interval)
        else:
            yield undefined(name, "no episode has a score", unit="return")
    if not listening:
        yield undefined("eavesdropping", "no channel has an eavesdropper", unit="return")


def _eavesdropping(world: World) -> list[str]:
    effects = [effect for channel in world.channels.values() for effect in channel.effects]
    return list(dict.fromkeys(effect.seat for effect in effects if isinstance(effect, Eavesdrop)))


def _without(world: World, seat: str) -> Scenario:
    """Return the scenario in which a seat overhears nothing; every other effect keeps its place, and its draws."""
    scenario = world.scenario

    def deaf(effects: Sequence[Effect]) -> tuple[Effect, ...]:
        return tuple(
            effect.model_copy(update={"p": 0.0}) if isinstance(effect, Eavesdrop) and effect.seat == seat else effect
            for effect in effects
        )

    channels = {
        name: config.model_copy(update={"effects": deaf(config.effects)}) for name, config in scenario.channels.items()
    }
    return scenario.model_copy(update={"channel": deaf(scenario.channel), "channels": channels})


def _returns(episodes: Sequence[Episode], seat: str) -> Array:
    return np.array([dict(zip(e.agents, e.returns, strict=True))[seat] for e in episodes], np.float64)
