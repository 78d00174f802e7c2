"""The study of some runs: everything that is counted from their logs, and asked of their policies by forks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from marl.study import corpus, language, source
from marl.study.result import RunStudy, Study
from marl.study.source import Source

PERMUTATIONS = 200


def study(runs: Sequence[Path | str], *, seed: int = 0, permutations: int = PERMUTATIONS) -> Study:
    """Study runs; raises UserError for one that cannot be studied.

    Args:
        runs: folders of runs, log files, or files of messages.
        seed: of permutations, samples and bootstraps.
        permutations: how many a null distribution has.
    """
    found = [examine(source.read(Path(run)), seed=seed, permutations=permutations) for run in runs]
    return Study(seed=seed, permutations=permutations, runs=found)


def examine(it: Source, *, seed: int = 0, permutations: int = PERMUTATIONS) -> RunStudy:
    """Study one source."""
    languages = [
        language.measure(samples, speaker, place, permutations=permutations, seed=seed)
        for (speaker, place), samples in corpus.by_speaker(it.samples).items()
    ]
    remarks = [*it.remarks, *([] if it.samples else ["no message was sent: there is no language to measure"])]
    return RunStudy(
        name=it.path.resolve().name,
        source=str(it.path),
        arena=it.arena,
        seed=it.seed,
        episodes=len({each.episode for each in it.samples}) if not it.logs else len(it.logs),
        languages=languages,
        remarks=remarks,
    )
