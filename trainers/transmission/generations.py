"""Iterated learning: each generation imitates some episodes of the one before, then trains on its own.

The pupils see a few episodes of their parents' play, the bottleneck, and imitate them; then they train by the
configuration, and become parents. Structure that few examples do not convey is lost. (Kirby & Hurford 2002; neural
iterated learning: Ren et al. 2020.) A generation is an ordinary run in a folder of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from marl.rundir.lock import locked
from marl.settings import check, read_toml
from protocols.draws import key
from protocols.log import Log, load
from trainers.run import Progress, Run
from trainers.run_config import RunConfig
from trainers.transmission.imitation import imitate, lessons

FILE: Final = "generations.json"
"""Results of all generations, beside their folders."""
MeasureLanguage = Callable[[Sequence[Log], Sequence[Log]], list[Measure]]
"""Measures of the language in evaluation logs; the second ones are the parents', empty for the first."""


class Generation(Frozen):
    """Results of one generation, recorded at the end of its training."""

    number: int
    folder: str
    pupils: Measure
    """Its score after the lessons, before training."""
    measures: dict[str, Measure] = Field(default_factory=dict)
    """By name, such as those of `marl.study.generations.language_measures`."""


class Iterated(Frozen):
    """Content of OUT/generations.json."""

    bottleneck: int
    steps: int
    generations: list[Generation]


def iterate(
    config: RunConfig,
    *,
    measure: MeasureLanguage,
    generations: int = 5,
    bottleneck: int = 32,
    steps: int = 100,
    progress: Callable[[int, Progress], None] = lambda generation, progress: None,
    make: Callable[[RunConfig], Run] = Run,
) -> list[Generation]:
    """Train generations, each in a folder OUT/generation-N; finished ones are not trained again.

    Args:
        config: of the first one. Generation n has the seed `config.seed + n`, so other initial weights.
        measure: measures each generation's language, as `marl.study.generations.language_measures` does.
        generations: how many.
        bottleneck: episodes of its parents that a generation sees; a deal may occur twice if the channel draws.
        steps: optimizer steps of imitation, with 64 transcripts each.
        progress: called after each update with the number of the generation and its progress.
        make: builds a run.

    Results are in OUT/generations.json after each generation. Raises UserError if a folder holds another run.
    """
    if generations < 1 or bottleneck < 1 or steps < 0:
        raise UserError(
            f"iterated learning takes generations and bottleneck >= 1 and steps >= 0, not {generations=}, "
            f"{bottleneck=} and {steps=}"
        )
    refusal = f"{config.out}: another process trains these generations: wait for it, or choose another folder with out="
    with locked(config.out, refusal):
        noted = _noted(config.out / FILE, bottleneck, steps)
        results: list[Generation] = []
        parents: Run | None = None
        parents_logs: list[Log] = []
        for number in range(generations):
            out = config.out / f"generation-{number}"
            run = _begun(config.model_copy(update={"seed": config.seed + number, "out": out}), make)
            why = "it was not noted when it had its lessons" if number else "the first generation has no parents"
            pupils = noted.get(number, undefined("score of the pupils", why, unit="score"))
            if not run.dir.finished:
                if parents is not None and not run.dir.exists:
                    pupils = _school(run, parents, bottleneck, steps, config.seed)
                run.train(partial(progress, number))
            logs = list(load(run.dir.eval_log))
            measures = {result.name: result for result in measure(logs, parents_logs)}
            results.append(Generation(number=number, folder=str(run.dir.path), pupils=pupils, measures=measures))
            _save(Iterated(bottleneck=bottleneck, steps=steps, generations=results), config.out / FILE)
            parents, parents_logs = run, logs
    return results


def _begun(config: RunConfig, make: Callable[[RunConfig], Run]) -> Run:
    """Open a generation's run, new or from its folder; raises UserError if the folder holds another run."""
    run = make(config)
    if run.dir.exists:
        begun = check(RunConfig, read_toml(run.dir.config), str(run.dir.config))
        if begun.model_copy(update={"out": config.out}) != config:
            raise UserError(f"{run.dir.path} holds another run: choose another folder with out=, or remove it")
        if not run.dir.finished and not run.dir.numbered():
            run.dir.clear()  # it has no checkpoint yet
    return run


def _school(run: Run, parents: Run, bottleneck: int, steps: int, seed: int) -> Measure:
    """Train a new run's policies to imitate some of their parents' episodes; return their score afterwards."""
    episodes = _sample(parents, bottleneck, key(seed, "bottleneck", run.config.seed))
    for name, lm in run.trainer.policies.items():
        seats = [seat for seat, policy in run.trainer.seats.items() if policy == name]
        imitate(lm, lessons(lm, episodes, seats), steps=steps, seed=key(seed, "school", run.config.seed, name))
        run.servers[name].publish(run.trainer.version)
    played = evaluate.run(run.world, run.seats, run.config.seed)
    scores = [episode.score for episode in played]
    return measured("score of the pupils", float(np.mean(scores)), unit="score", n=len(scores))


def _sample(parents: Run, bottleneck: int, seed: int) -> list[Episode]:
    """Sample episodes of the parents' last evaluation, without its held-out deals."""
    logs = [log for log in load(parents.dir.eval_log) if log.deal.get("split", "train") == "train"]
    order = sorted(range(len(logs)), key=lambda i: key(seed, "seen", logs[i].episode))
    return collect(parents.world, [replay(logs[i]) for i in order[:bottleneck]])


def _save(results: Iterated, path: Path) -> None:
    """Write results as JSON, atomically."""
    part = path.with_name(f"part-{path.name}")
    part.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def _noted(path: Path, bottleneck: int, steps: int) -> dict[int, Measure]:
    """Read the recorded scores of each generation's pupils; raises UserError if their lessons had other settings."""
    if not path.is_file():
        return {}
    try:
        results = Iterated.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} holds no generations: remove it, or choose another folder with out=") from None
    if (results.bottleneck, results.steps) != (bottleneck, steps):
        raise UserError(
            f"{path.parent} holds generations with a bottleneck of {results.bottleneck} and {results.steps} steps: go "
            "on with these, or choose another folder with out="
        )
    return {generation.number: generation.pupils for generation in results.generations}
