"""Study pipeline: measures of runs from their logs, and causal effects from forks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from marl.errors import UserError
from marl.metrics import information
from marl.metrics.information import permutation_null
from marl.metrics.measure import Measure, measured, undefined
from marl.rundir import load
from marl.study import across_runs
from marl.study import scores as score
from marl.study.data import corpus, source
from marl.study.data.corpus import MessageSample
from marl.study.data.result import ListenerEffect, Measures, MessageCredit, RunStudy, Study
from marl.study.data.source import StudySource
from marl.study.experiments import causal, replacement
from marl.study.language import summary as language
from marl.study.language.encoding import EXACT, MILLER_MADOW

PERMUTATIONS: Final = 200
EPISODES: Final = 256
"""Episodes that are played again with something replaced; fewer where there are more than eight seats."""
CODES: Final = 32
"""Codes (a speaker at a place) that are measured: those of which there are most messages."""
CONTEXTS: Final = 256
"""Messages that are replaced, shared out among the speakers, but no fewer than 8 of each."""


def study(
    runs: Sequence[Path | str | StudySource],
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    forks: bool = True,
    progress: Callable[[str], None] = lambda what: None,
) -> Study:
    """Study runs; raises UserError for one that cannot be studied.

    Args:
        runs: folders of runs, log files, files of messages, or what `source.read` made of them.
        seed: of permutations, samples and bootstraps.
        permutations: how many a null distribution has.
        forks: whether the policies of runs are loaded and asked what they would have done.
        progress: is told what is being done.
    """
    if not runs:
        raise UserError("there is nothing to study: name the folder of a run, a log, or a file of messages")
    studies = []
    for run in runs:
        it = run if isinstance(run, StudySource) else source.read(Path(run))
        studies.append(examine(it, seed=seed, permutations=permutations, forks=forks, progress=progress))
    return Study(seed=seed, permutations=permutations, runs=studies, across=across_runs.pooled(studies, seed))


def examine(
    it: StudySource,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    forks: bool = True,
    progress: Callable[[str], None] = lambda what: None,
) -> RunStudy:
    """Study one source; the arguments are those of `study`."""
    progress(f"{it.path}: counting")
    codes = corpus.by_speaker(it.samples)
    most = set(sorted(codes, key=lambda who: -len(codes[who]))[:CODES])
    languages = [
        language.measure(samples, *who, permutations=permutations, seed=seed)
        for who, samples in codes.items()
        if who in most
    ]
    anchors = it.world.anchors if it.world is not None else None
    effects = {(effect.speaker, effect.listener): effect for effect in counted(it.samples, permutations, seed)}
    remarks = [*it.remarks, *([] if it.samples else ["no message was sent: there is no language to measure"])]
    remarks += [
        f"{code.speaker}, message {code.place + 1}: morphemes are {why}"
        for code in languages
        if (why := code.measures["morphemes"].undefined or "").startswith("left out")
    ]
    if len(codes) > CODES:
        remarks.append(f"of {len(codes)} codes (a speaker at a place) the {CODES} with most messages are measured")
    causes: Measures = {}
    credit: list[MessageCredit] = []
    update = None
    if forks and it.run is not None:
        progress(f"{it.path}: playing episodes again")
        try:
            forked, causes, credit, update, stale = _fork_episodes(it, seed)
            remarks += stale
            for effect in forked:
                counts = effects.get((effect.speaker, effect.listener))
                measures = {**(counts.measures if counts else {}), **effect.measures}
                effects[effect.speaker, effect.listener] = effect.model_copy(update={"measures": measures})
        except ModuleNotFoundError as error:
            remarks.append(f"no forks: they need the policies, and the package {error.name} to load them")
        except UserError as error:
            remarks.append(f"no forks: {error}")
    scores = score.of_logs(it.logs) if it.logs else score.of_samples(it.samples)
    result = RunStudy(
        name=it.path.resolve().name,
        source=str(it.path),
        arena=it.arena,
        seed=it.seed,
        update=update,
        episodes=it.episodes,
        scores={measure.name: measure for measure in score.measures(scores, anchors, seed)} if scores else {},
        languages=languages,
        effects=list(effects.values()),
        causes=causes,
        credits=credit,
        remarks=remarks,
    )
    return across_runs.adjusted(result)


def _fork_episodes(
    it: StudySource, seed: int
) -> tuple[list[ListenerEffect], Measures, list[MessageCredit], int, list[str]]:
    """Fork the episodes of a run; returns effects, causes, credit, the policies' update, and remarks."""
    assert it.run is not None
    trained = load.trained(it.run.path, play_in=it.world)
    logged = {e.data["version"] for log in it.logs for e in log.replies() if "version" in e.data}
    stale = []
    if logged and logged != {trained.version}:
        stale = [f"the log is of update {max(logged)}; the forks are answered by the checkpoint of {trained.version}"]
    speakers = len({sample.speaker for sample in it.samples})
    contexts = max(CONTEXTS // max(speakers, 2), 8)
    trials = causal.trials(trained.world, trained.seats, it.logs, contexts=contexts, seed=seed)
    effects = [influence.effect(seed) for influence in causal.influences(trials)]
    episodes = max(EPISODES * 8 // max(len(trained.seats), 8), 32)
    again = replacement.Replay(trained.world, trained.seats, it.logs[:episodes], seed)
    causes = {measure.name: measure for measure in replacement.measures(again)}
    return effects, causes, causal.message_credit(trials), trained.version, stale


def counted(samples: Sequence[MessageSample], permutations: int = PERMUTATIONS, seed: int = 0) -> list[ListenerEffect]:
    """Return the correlation of messages and next acts for each speaker and listener (not causal)."""
    pairs = dict.fromkeys((sample.speaker, listener) for sample in samples for listener in sample.answers)
    effects = []
    for speaker, listener in pairs:
        coordination = _coordination(samples, speaker, listener, permutations, seed)
        effects.append(ListenerEffect(speaker=speaker, listener=listener, measures={"coordination": coordination}))
    return effects


def _coordination(
    samples: Sequence[MessageSample], speaker: str, listener: str, permutations: int, seed: int
) -> Measure:
    """I(m; a | place), a the listener's first reply after m was delivered to it: instantaneous coordination."""
    own = [sample for sample in samples if sample.speaker == speaker and listener in sample.answers]
    message = information.codes(sample.message for sample in own)
    act = information.codes(sample.answers[listener] for sample in own)
    place = information.codes(sample.place for sample in own)
    plain = information.conditional_mutual_information(message, act, place)
    once = information.occurring(information.joint(message, place)) == len(own)
    if _complete(own, act):
        details: dict[str, Any] = {"unit": "bits", "correction": EXACT, "plug_in": plain}
        if once:
            return measured("coordination", plain, n=len(own), note="every message occurs once: no null", **details)
    elif once:
        why = "every message occurs once, so any answers would seem to go with them"
        return undefined("coordination", why, unit="bits", n=len(own))
    else:
        details = {"unit": "bits", "correction": MILLER_MADOW, "plug_in": plain}
    count = information.conditional_mutual_information
    statistic = count if details["correction"] == EXACT else information.conditional_mutual_information_corrected
    result = permutation_null(
        lambda order: statistic(message[information.within(place, order)], act, place),
        len(own),
        permutations=permutations,
        seed=seed,
    )
    assert result is not None  # information is always defined
    return measured("coordination", result.value, n=len(own), null=result.null, **details)


def _complete(own: Sequence[MessageSample], act: information.Codes) -> bool:
    """Whether the samples are the whole population: each meaning equally often, one message, one answer."""
    meaning = information.codes((sample.meaning, sample.place) for sample in own)
    message = information.codes((sample.message, sample.place) for sample in own)
    kinds = information.occurring(meaning)
    pairs = (information.joint(meaning, message), information.joint(meaning, act))
    equally = len(set(np.bincount(meaning).tolist())) == 1
    return equally and all(information.occurring(pair) == kinds for pair in pairs)
