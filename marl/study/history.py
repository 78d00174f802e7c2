"""Language history over training: synchronisation, stability, and dependence of replies on messages.

Counted from the training log, which holds some episodes of every update. A speaker's *usual* message for a meaning is
the most frequent one of a stretch of training; training draws its messages, so a stretch has several.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Final

import numpy as np

from marl.evaluation import log_lines
from marl.metrics import information
from marl.metrics.compositionality import levenshtein, topographic_similarity
from marl.metrics.information import Codes
from marl.metrics.measure import Interval, Measure, Null, measured, undefined
from marl.study.data import corpus
from marl.study.data.corpus import MessageSample
from marl.study.data.lexicon import Words, attributes
from marl.study.data.result import Moment, Tie
from protocols.draws import key
from protocols.log import Log

MOMENTS: Final = 12
"""Stretches of training at most."""
FEWEST: Final = 64
"""Episodes of a stretch at least."""
_UPDATE: Final = re.compile(r"train-(\d+)-")

Usual = dict[tuple[int, str], Words]
"""(place in the episode, meaning) -> the usual message of one speaker."""


def closeness(a: Sequence[str], b: Sequence[str]) -> float:
    """Return 1 - edit distance / longer length: 1 for equal messages, 0 for nothing in common."""
    longer = max(len(a), len(b))
    return 1 - levenshtein(a, b) * (len(a) + len(b)) / (2 * longer) if longer else 1.0


def usual(samples: Iterable[MessageSample]) -> dict[str, Usual]:
    """Return the usual messages of each speaker; ties go to the first in order."""
    counts: dict[str, dict[tuple[int, str], Counter[Words]]] = {}
    for sample in samples:
        counts.setdefault(sample.speaker, {}).setdefault((sample.place, sample.meaning), Counter())[sample.message] += 1
    return {
        speaker: {what: min(said, key=lambda m: (-said[m], m)) for what, said in own.items()}
        for speaker, own in counts.items()
    }


def synchronisation(languages: Mapping[str, Usual], *, permutations: int = 200, seed: int = 0) -> Measure:
    """Synchronisation: do speakers use the same message for the same meaning? After Rita et al. 2022.

    1 - mean, over pairs of speakers and the meanings both spoke of, of the edit distance over the longer length. The
    null deals each speaker's messages to its meanings at random: what speakers share who only use alike symbols.

    Trap: speakers who share a policy are synchronised whatever they say.
    """
    name, unit = "synchronisation", "share"
    pairs = [(languages[a], languages[b]) for a, b in combinations(sorted(languages), 2)]
    shared = [(one, other, sorted(one.keys() & other.keys())) for one, other in pairs]
    n = sum(len(meanings) for *_, meanings in shared)
    if not n:
        why = "there is one speaker" if len(languages) < 2 else "no two speakers spoke of the same meaning"
        return undefined(name, why, unit=unit)

    def value(draw: np.random.Generator | None = None) -> float:
        total = 0.0
        for one, other, meanings in shared:
            theirs = [other[meaning] for meaning in meanings]
            order = range(len(theirs)) if draw is None else draw.permutation(len(theirs)).tolist()
            total += sum(closeness(one[meaning], theirs[k]) for meaning, k in zip(meanings, order, strict=True))
        return total / n

    observed, draw = value(), np.random.default_rng(key(seed, name))
    chance = [value(draw) for _ in range(permutations)]
    null = Null(
        mean=float(np.mean(chance)),
        low=float(np.quantile(chance, 0.05)),
        high=float(np.quantile(chance, 0.95)),
        p=(1 + sum(x >= observed - 1e-12 for x in chance)) / (1 + permutations),
        permutations=permutations,
    )
    return measured(name, observed, unit=unit, n=n, null=null)


def stability(before: Mapping[str, Usual], after: Mapping[str, Usual]) -> Measure:
    """Stability: 1 - mean edit distance between the usual messages of a speaker then and now.

    (Rita et al. 2022.) Parts are the speakers.
    """
    parts: dict[str, float | None] = {}
    n = 0
    for speaker in sorted(before.keys() & after.keys()):
        then, now = before[speaker], after[speaker]
        if meanings := then.keys() & now.keys():
            parts[speaker] = float(np.mean([closeness(then[meaning], now[meaning]) for meaning in sorted(meanings)]))
            n += len(meanings)
    if not parts:
        return undefined("stability", "no speaker spoke of a meaning again", unit="share")
    return measured("stability", float(np.mean([*parts.values()])), unit="share", n=n, parts=parts)


def similarity(languages: Mapping[str, Usual]) -> Measure:
    """Return the topographic similarity of usual messages, the mean over the speakers for whom it is defined."""
    parts = {}
    for speaker, own in sorted(languages.items()):
        first = {meaning: message for (place, meaning), message in own.items() if place == 0}
        parts[speaker] = topographic_similarity(attributes([*first]), [*first.values()])
    defined = [x for x in parts.values() if x is not None]
    if not defined:
        return undefined("topographic similarity", "all messages are equally far apart, or all meanings are")
    n = sum(map(len, languages.values()))
    return measured("topographic similarity", float(np.mean(defined)), unit="correlation", n=n, parts=parts)


def history(logs: Sequence[Log], *, moments: int = MOMENTS, seed: int = 0) -> list[Moment]:
    """Measure the languages of a training log by stretches; empty if it names no updates."""
    dated = [(int(name[1]) + 1, log) for log in logs if (name := _UPDATE.match(log.episode))]
    if not dated:
        return []
    last = max(update for update, _ in dated)
    count = max(min(moments, len(dated) // FEWEST, last), 1)
    stretches: list[list[Log]] = [[] for _ in range(count)]
    ends = [0] * count
    for update, log in dated:
        stretch = (update - 1) * count // last
        stretches[stretch].append(log)
        ends[stretch] = max(ends[stretch], update)
    history_: list[Moment] = []
    before: dict[str, Usual] = {}
    for update, stretch_logs in zip(ends, stretches, strict=True):
        if not stretch_logs:
            continue
        samples = corpus.from_logs(stretch_logs)
        now = usual(samples)
        history_.append(
            Moment(update=update, measures=_measures(stretch_logs, samples, before, now, seed), ties=ties(samples))
        )
        before = now
    return history_


def _measures(
    logs: Sequence[Log],
    samples: Sequence[MessageSample],
    before: Mapping[str, Usual],
    now: Mapping[str, Usual],
    seed: int,
) -> dict[str, Measure]:
    measures = [_mean("score", [log_lines.score(log) for log in logs], "score")]
    if samples:
        messages = [sample.message for sample in samples]
        entropy = information.entropy_corrected(information.codes(messages))
        measures += [
            _mean("length", [len(message) for message in messages], "symbols"),
            measured("entropy", entropy, unit="bits", n=len(messages), correction="Miller-Madow"),
            similarity(now),
            synchronisation(now, seed=seed, permutations=50),
            stability(before, now) if before else undefined("stability", "nothing was said before", unit="share"),
        ]
    return {measure.name: measure for measure in measures}


def _mean(name: str, values: Sequence[float], unit: str) -> Measure:
    """Return a mean with its normal-approximation interval; NaN and infinite values are left out."""
    x = np.array([value for value in values if np.isfinite(value)])
    if not len(x):
        return undefined(name, "no value is a number", unit=unit)
    half = 1.96 * float(x.std(ddof=1)) / len(x) ** 0.5 if len(x) > 1 else 0.0
    mean = float(x.mean())
    interval = Interval(low=mean - half, high=mean + half, of=f"normal approximation over {len(x)}")
    return measured(name, mean, unit=unit, n=len(x), interval=interval)


def ties(samples: Iterable[MessageSample]) -> list[Tie]:
    """Return the mutual information of messages and next decisions for each speaker and listener.

    That is instantaneous coordination (Jaques et al. 2019) after delivery. It does not prove listening, since both may
    depend on a common observation; effects measured by forks do.
    """
    heard: dict[tuple[str, str], list[tuple[Words, str]]] = {}
    for sample in samples:
        for listener, answer in sample.answers.items():
            heard.setdefault((sample.speaker, listener), []).append((sample.message, answer))
    result = []
    for (speaker, listener), both in sorted(heard.items()):
        messages, answers = zip(*both, strict=True)
        tested = information.permutation_null(
            partial(_shared, information.codes(messages), information.codes(answers)), len(both), permutations=60
        )
        assert tested is not None  # plug-in information is always defined
        result.append(
            Tie(speaker=speaker, listener=listener, bits=max(tested.value, 0.0), p=tested.null.p, n=len(both))
        )
    return result


def _shared(messages: Codes, answers: Codes, order: Codes) -> float:
    return information.mutual_information_corrected(messages, answers[order])
