"""Iterated learning: each generation learns from what it sees of the one before, then plays on its own.

The pupils see a few episodes of their parents' play, the bottleneck, and imitate them; then they train as the
configuration says, and become parents. What is hard to learn from few examples is lost on the way. (Kirby & Hurford
2002; neural iterated learning: Ren et al. 2020.) A generation is an ordinary run in a folder of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import Field, ValidationError

from marl.episode import Episode
from marl.errors import UserError
from marl.evaluation import evaluate
from marl.metrics.measure import Frozen, Measure, measured, undefined
from marl.rollout.collect import collect
from marl.rollout.replay import replay
from marl.settings import check, read_toml
from marl.study.data import corpus
from marl.study.data.result import Measures
from marl.study.history import Usual, similarity, stability, synchronisation, usual
from protocols.draws import key
from protocols.log import load
from trainers.run import Progress, Run
from trainers.run_config import RunConfig
from trainers.transmission.imitation import imitate, lessons

FILE: Final = "generations.json"
"""What was found, beside the folders of the generations."""


class Generation(Frozen):
    """One generation, as it was when its training ended."""

    number: int
    folder: str
    pupils: Measure
    """Its score after the lessons, before it played."""
    measures: Measures = Field(default_factory=dict)
    """Score, topographic similarity, synchronisation, and stability: does it speak as its parents did?"""


class Iterated(Frozen):
    """What OUT/generations.json holds."""

    bottleneck: int
    steps: int
    generations: list[Generation]


def iterate(
    config: RunConfig,
    *,
    generations: int = 5,
    bottleneck: int = 32,
    steps: int = 100,
    progress: Callable[[int, Progress], None] = lambda generation, progress: None,
    make: Callable[[RunConfig], Run] = Run,
) -> list[Generation]:
    """Train generations, each in a folder OUT/generation-N; those that are finished there are not trained again.

    Args:
        config: of the first one. Generation n has the seed `config.seed + n`, so other initial weights.
        generations: how many.
        bottleneck: episodes of its parents that a generation sees; a deal may come twice where the channel draws.
        steps: optimizer steps of imitation, with 64 transcripts each.
        progress: is told the number of the generation and its progress, update by update.
        make: builds a run.

    What is found is in OUT/generations.json after each generation. Raises UserError where a folder holds another run.
    """
    if generations < 1 or bottleneck < 1 or steps < 0:
        raise UserError(
            f"iterated learning takes generations and bottleneck >= 1 and steps >= 0, not {generations=}, "
            f"{bottleneck=} and {steps=}"
        )
    known = _known(config.out / FILE, bottleneck, steps)
    found: list[Generation] = []
    parents: Run | None = None
    spoke: dict[str, Usual] = {}
    for number in range(generations):
        out = config.out / f"generation-{number}"
        run = _begun(config.model_copy(update={"seed": config.seed + number, "out": out}), make)
        why = "it was not noted when it had its lessons" if number else "the first generation has no parents"
        pupils = known.get(number, undefined("score of the pupils", why, unit="score"))
        if not run.dir.finished:
            if parents is not None and not run.dir.exists:
                pupils = _school(run, parents, bottleneck, steps, config.seed)
            run.train(partial(progress, number))
        generation, spoke = _examined(run, number, pupils, spoke)
        found.append(generation)
        _save(Iterated(bottleneck=bottleneck, steps=steps, generations=found), config.out / FILE)
        parents = run
    return found


def _begun(config: RunConfig, make: Callable[[RunConfig], Run]) -> Run:
    """Return a generation's run, new or as it stands in its folder; raises UserError if another one stands there."""
    run = make(config)
    if run.dir.exists:
        there = check(RunConfig, read_toml(run.dir.config), str(run.dir.config))
        if there.model_copy(update={"out": config.out}) != config:
            raise UserError(f"{run.dir.path} holds another run: choose another folder with out=, or remove it")
        if not run.dir.finished and not any(run.dir.checkpoints.glob("[0-9]*")):
            run.dir.clear()  # it had not come to its first checkpoint
    return run


def _school(run: Run, parents: Run, bottleneck: int, steps: int, seed: int) -> Measure:
    """Let a new run's policies imitate some of their parents' episodes, and return what they score then."""
    shown = _seen(parents, bottleneck, key(seed, "bottleneck", run.config.seed))
    for name, lm in run.trainer.policies.items():
        seats = [seat for seat, policy in run.trainer.seats.items() if policy == name]
        imitate(lm, lessons(lm, shown, seats), steps=steps, seed=key(seed, "school", run.config.seed, name))
        run.servers[name].publish(run.trainer.version)
    played = evaluate.run(run.world, run.seats, run.config.seed)
    scores = [episode.score for episode in played]
    return measured("score of the pupils", float(np.mean(scores)), unit="score", n=len(scores))


def _seen(parents: Run, bottleneck: int, seed: int) -> list[Episode]:
    """Return a draw of the parents' last evaluation, without its held-out deals."""
    logs = [log for log in load(parents.dir.eval_log) if log.deal.get("split", "train") == "train"]
    order = sorted(range(len(logs)), key=lambda i: key(seed, "seen", logs[i].episode))
    return collect(parents.world, [replay(logs[i]) for i in order[:bottleneck]])


def _examined(run: Run, number: int, pupils: Measure, spoke: dict[str, Usual]) -> tuple[Generation, dict[str, Usual]]:
    """Measure a generation's language, also beside that of its parents."""
    logs = list(load(run.dir.eval_log))
    samples = corpus.from_logs(logs)
    languages = usual(samples)
    scores = [each.score for each in samples if each.score is not None]
    measures: list[Measure] = []
    if scores:
        measures.append(measured("score", float(np.mean(scores)), unit="score", n=len(scores)))
    why = "nothing was said" if not languages else "the first generation has no parents"
    measures += [
        similarity(languages),
        synchronisation(languages),
        stability(spoke, languages) if spoke and languages else undefined("stability", why, unit="share"),
    ]
    told = {each.name: each for each in measures}
    return Generation(number=number, folder=str(run.dir.path), pupils=pupils, measures=told), languages


def _save(found: Iterated, path: Path) -> None:
    """Write what was found as JSON, whole or not at all."""
    part = path.with_name(f"part-{path.name}")
    part.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def _known(path: Path, bottleneck: int, steps: int) -> dict[int, Measure]:
    """Return what the pupils of each generation scored, where it was noted; raises UserError for other lessons."""
    if not path.is_file():
        return {}
    try:
        found = Iterated.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} holds no generations: remove it, or choose another folder with out=") from None
    if (found.bottleneck, found.steps) != (bottleneck, steps):
        raise UserError(
            f"{path.parent} holds generations with a bottleneck of {found.bottleneck} and {found.steps} steps: go on "
            "with these, or choose another folder with out="
        )
    return {each.number: each.pupils for each in found.generations}
