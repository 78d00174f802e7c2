"""Ease of teaching: fresh learners imitate one seat of a run, and play with the policies of the others.

The score after few lessons measures how learnable a language is (ease of teaching: Li & Bowling 2019). The final score
shows whether a third party can understand it: agents who understand each other where no third party does share a code
that is not in the messages alone (Lazaridou et al. 2020, pragmatic drift).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from marl.episode import Episode
from marl.errors import UserError
from marl.evaluation import evaluate
from marl.inference.server import PolicyServer
from marl.metrics.measure import Frozen, Measure, measured, undefined
from marl.models.language_model import LanguageModel
from marl.policy.config import TinyPolicy
from marl.rollout.collect import collect
from marl.rundir.load import Trained
from marl.settings import check, read_toml
from protocols.draws import key
from trainers.factory import make_policy
from trainers.transmission.imitation import imitate, lessons

NEARLY: Final = 0.95


class Teaching(Frozen):
    """Scores of fresh learners of a seat, lesson by lesson."""

    seat: str
    steps: list[int]
    """Optimizer steps at which the learners played; 0 is before the first lesson."""
    scores: list[list[float]]
    """Mean scores [learners][steps] with the run's own policies on all other seats."""
    own: float
    """Score of the run's own policy on the seat."""
    ease: Measure
    """Mean over the steps of (score - untaught) / (own - untaught), the untaught score being that of step 0."""
    quickness: Measure
    """Steps to 95 % of the way from the untaught score to the run's own; the median learner."""
    third_party: Measure
    """Third-party gap: the run's own score less that of the learners after the last lesson."""


def teach(
    run: Trained,
    seat: str,
    *,
    steps: int = 100,
    every: int = 5,
    share: float = 1.0,
    learners: int = 3,
    seed: int = 0,
    after: Callable[[int], None] = lambda learner: None,
) -> Teaching:
    """Teach a seat to fresh learners, by the run's own greedy play.

    Args:
        run: trained run; it is not changed.
        seat: the learners' seat. On the seat of a listener they learn to understand, on a speaker's to speak.
        steps: optimizer steps, with 64 transcripts each.
        every: steps between two evaluations.
        share: share of the deals taught; learners play all deals, so below 1 they must generalise.
        learners: number of learners, each with initial weights of its own.
        seed: of weights, of lessons, and of the choice of deals.
        after: called with the number of each finished learner.

    Raises UserError for a seat that does not exist.
    """
    if seat not in run.seats:
        raise UserError(f"there is no seat {seat!r}; the seats are {', '.join(run.seats)}")
    if not 0 < share <= 1:
        raise UserError(f"share is a part of the deals, above 0 and at most 1, not {share:g}")
    shown = collect(run.world, _plans(run, run.seats))
    own = float(np.mean([episode.score for episode in shown]))
    taught = chosen(shown, share, seed)
    when = sorted({0, *range(every, steps + 1, every), steps})
    scores = []
    for learner in range(learners):
        lm = fresh(run, key(seed, "learner", learner))
        scores.append(_learn(run, seat, lm, taught, when, key(seed, "lessons", learner)))
        after(learner + 1)
    return _told(seat, when, scores, own)


def fresh(run: Trained, seed: int) -> LanguageModel:
    """Build a model like those of a run, with other initial weights; raises UserError for pretrained models."""
    settings: dict[str, Any] = read_toml(run.dir.config) if run.dir.config.is_file() else {}
    if "hf" in settings.get("policy", {}):
        raise UserError(f"{run.dir.path}: teaching is for policies from scratch, and these are pretrained models")
    size = check(TinyPolicy, settings.get("policy", {}), str(run.dir.config))
    return make_policy(size, run.world.vocabulary, seed >> 1)


def chosen(episodes: Sequence[Episode], share: float, seed: int) -> list[Episode]:
    """Sample a share of the episodes, deal by deal, at least one deal."""
    deals: dict[str, list[Episode]] = {}
    for episode in episodes:
        deals.setdefault(str(sorted(episode.log.deal.items()) or episode.log.episode), []).append(episode)
    order = sorted(deals, key=lambda deal: key(seed, "taught", deal))
    return [episode for deal in order[: max(round(share * len(deals)), 1)] for episode in deals[deal]]


def _plans(run: Trained, seats: Any) -> list[Any]:
    planned = evaluate.plans(run.world, seats, run.seed)
    return [plan for plan in planned if plan.deal.get("split", "train") == "train"]


def _learn(
    run: Trained, seat: str, lm: LanguageModel, taught: Sequence[Episode], when: Sequence[int], seed: int
) -> list[float]:
    """Teach one learner; return its scores at these steps."""
    server = PolicyServer(lm, "learner")
    seats = {**run.seats, seat: server}
    scores: list[float] = []

    def play(step: int) -> bool:
        if step in when:
            server.publish(step)
            scores.append(float(np.mean([episode.score for episode in collect(run.world, _plans(run, seats))])))
        return True

    play(0)
    imitate(lm, lessons(lm, taught, [seat]), steps=when[-1], seed=seed, after=play)
    return scores + scores[-1:] * (len(when) - len(scores))  # where there was nothing to learn, nothing changed


def _told(seat: str, when: Sequence[int], scores: Sequence[Sequence[float]], own: float) -> Teaching:
    table = np.array(scores)
    base, n = table[:, :1].mean(), len(table)
    gap = measured("third-party gap", own - float(table[:, -1].mean()), unit="score", n=n)
    common = {"seat": seat, "steps": [*when], "scores": table.tolist(), "own": own, "third_party": gap}
    if own - base < 1e-9:
        why = "the run's own policy scores no more than a learner without a lesson"
        return Teaching(**common, ease=undefined("ease", why, n=n), quickness=undefined("quickness", why, n=n))
    way = (table - base) / (own - base)
    area = float(np.trapezoid(way.mean(0), when) / when[-1]) if when[-1] else 0.0
    first = [next((when[k] for k in range(len(when)) if row[k] >= NEARLY), None) for row in way]
    reached = sorted(np.inf if step is None else step for step in first)
    median = float(reached[(n - 1) // 2])
    quickness = (
        measured("quickness", median, unit="steps", n=n)
        if np.isfinite(median)
        else undefined("quickness", f"most learners do not get that far in {when[-1]} steps", unit="steps", n=n)
    )
    return Teaching(**common, ease=measured("ease", area, unit="share", n=n), quickness=quickness)
