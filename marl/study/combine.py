"""Complete a study: add the training history of each run and cross-play between runs, and write the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from marl.errors import UserError
from marl.rundir import load
from marl.rundir.folder import RunDir
from marl.study import across_runs, history
from marl.study.data import source
from marl.study.data.result import Crossplay, RunStudy, Study
from marl.study.experiments import crossplay
from marl.study.page import page

MOST_RUNS: Final = 16
"""Runs that are played with each other: their pairs grow with the square."""


def complete(
    study: Study, paths: Sequence[Path], *, forks: bool = True, progress: Callable[[str], None] = lambda what: None
) -> Study:
    """Add to a study the history of each run and, for several runs, their cross-play.

    Args:
        study: the study of these paths, in the same order.
        paths: folders of runs, and other sources, to which nothing is added.
        forks: whether policies may be loaded.
        progress: is told what is being done.
    """
    runs = []
    for run, path in zip(study.runs, paths, strict=True):
        progress(f"{path}: how its language came about")
        runs.append(_with_history(run, path, study.seed))
    if not forks:
        return _with_forks(study.model_copy(update={"runs": runs}), paths)
    folders = [path for path in paths if path.is_dir()]
    cross: Crossplay | None = None
    if len(folders) > 1:
        progress("playing the runs with each other")
        cross, why = _crossplay(folders, study.seed)
        if why:
            runs = [run.model_copy(update={"remarks": [*run.remarks, why]}) for run in runs]
    return study.model_copy(update={"runs": runs, "crossplay": cross})


def write(study: Study, paths: Sequence[Path], to: Path | None = None) -> list[Path]:
    """Write study.json and study.html into the folder of each run, and return the pages.

    A run's study.json holds its own part, and the results over all runs. The page of a source that is not a run folder
    is written to the folder `to` as NAME.html, or nowhere if `to` is None.
    """
    pages = []
    for run, path in zip(study.runs, paths, strict=True):
        if not path.is_dir() and to is not None:
            to.mkdir(parents=True, exist_ok=True)
            pages.append(to / f"{path.name.partition('.')[0]}.html")
            page.write(pages[-1], study, run)
        if path.is_dir():
            folder = RunDir(path)
            study.model_copy(update={"runs": [run]}).save(folder.study)
            pages.append(folder.study.with_suffix(".html"))
            page.write(pages[-1], study, run, source.whole(folder.eval_log)[0])
    return pages


def _with_history(run: RunStudy, path: Path, seed: int) -> RunStudy:
    log = RunDir(path).train_log
    if not (path.is_dir() and log.is_file()):
        return run
    try:
        logs, remarks = source.whole(log)
    except UserError as error:  # it may log no training episodes, or have only begun
        logs, remarks = [], [str(error)]
    return run.model_copy(update={"history": history.history(logs, seed=seed), "remarks": [*run.remarks, *remarks]})


def _with_forks(study: Study, paths: Sequence[Path]) -> Study:
    """Keep fork results of an earlier study of the same episodes; a study without forks would lose them."""
    earlier = [_earlier_study(path) for path in paths]
    runs = [_keep_forks(run, before) for run, before in zip(study.runs, earlier, strict=True)]
    crossplays = [before.crossplay for before in earlier if before is not None and before.crossplay is not None]
    cross = crossplays[0] if crossplays else None
    names = [run.name for run, path in zip(runs, paths, strict=True) if path.is_dir()]
    same = all(
        before is None or _fingerprint(before.runs[0]) == _fingerprint(run)
        for run, before in zip(study.runs, earlier, strict=True)
    )
    kept = {"runs": runs, "across": across_runs.pooled(runs, study.seed)}
    return study.model_copy(update=kept | ({"crossplay": cross} if cross and same and cross.runs == names else {}))


def _earlier_study(path: Path) -> Study | None:
    """Return the study in the folder of a run; None if there is no readable one."""
    try:
        study = Study.load(RunDir(path).study) if path.is_dir() else None
    except UserError:
        return None
    return study if study is not None and study.runs else None


def _keep_forks(run: RunStudy, earlier: Study | None) -> RunStudy:
    """Return a run with the fork results of an earlier study, if that was of the same episodes."""
    before = earlier.runs[0] if earlier is not None else None
    if before is None or not (before.causes or before.credits):
        return run
    if _fingerprint(before) != _fingerprint(run):
        why = "what forks found before was of other episodes and is gone: leave out --no-forks to ask again"
        return run.model_copy(update={"remarks": [*run.remarks, why]})
    counted = {(effect.speaker, effect.listener): effect for effect in run.effects}
    effects = []
    for effect in before.effects:
        now = counted.pop((effect.speaker, effect.listener), None)
        effects.append(effect.model_copy(update={"measures": {**effect.measures, **(now.measures if now else {})}}))
    why = "what forks found is kept from an earlier study of these episodes"
    kept = {name: getattr(before, name) for name in ("causes", "credits", "update")}
    kept |= {"effects": [*effects, *counted.values()], "remarks": [*run.remarks, why]}
    return across_runs.adjusted(run.model_copy(update=kept))


def _fingerprint(run: RunStudy) -> Any:
    """Return a fingerprint of a run's episodes: messages per meaning, scores, episode count."""
    said = [(language.speaker, language.place, sorted(map(repr, language.pairs))) for language in run.languages]
    return said, {name: measure.value for name, measure in run.scores.items()}, run.episodes


def _crossplay(folders: Sequence[Path], seed: int) -> tuple[Crossplay | None, str]:
    """Return the cross-play of runs; None and the reason if it cannot be played."""
    if len(folders) > MOST_RUNS:
        return None, f"cross-play of {len(folders)} runs was left out: it is played for up to {MOST_RUNS}"
    try:
        return crossplay.crossplay([load.trained(path) for path in folders], seed=seed), ""
    except ModuleNotFoundError as error:
        return None, f"cross-play needs the package {error.name} to load the policies"
    except UserError as error:
        return None, f"there is no cross-play: {error}"
