"""Code: message samples as integer arrays, with permutation tests of statistics on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

import numpy as np

from marl.metrics import information, reconstruction
from marl.metrics.information import Codes, permutation_null
from marl.metrics.measure import Measure, measured, undefined
from marl.study.data import lexicon
from marl.study.data.corpus import MessageSample

COSTLY: Final = 500
"""Samples that costly measures look at; of more a seeded choice is taken, and `n` says so."""
MILLER_MADOW: Final = "Miller-Madow"
EXACT: Final = "none: every meaning is as frequent as any other and has one message, so this is no sample"
ONE_MEANING: Final = "all samples have the same meaning"
ONE_MESSAGE: Final = "all messages are the same"
SILENT: Final = "no message has a symbol in it"
Statistic = Callable[[Codes], float | None]


def names(vectors: Sequence[lexicon.Words]) -> list[str]:
    """Name attributes after the common prefix of their values: a for a0, a1, a2."""
    titles: list[str] = []
    for k, values in enumerate(map(set, zip(*vectors, strict=True)), 1):
        stems = {value.rstrip("0123456789") for value in values}
        stem = stems.pop() if len(stems) == 1 else ""
        titles.append(stem if stem and stem not in titles else f"attribute {k}")
    return titles


class Code:
    """The samples of one speaker at one place, at least one."""

    def __init__(self, samples: Sequence[MessageSample], permutations: int = 200, seed: int = 0) -> None:
        self.samples, self.permutations, self.seed = samples, permutations, seed
        self.size = len(samples)
        self.messages = [sample.message for sample in samples]
        self.vectors = lexicon.attributes([sample.meaning for sample in samples])
        self.names = names(self.vectors)
        self.concepts = reconstruction.concepts(self.vectors, self.names)
        self.meaning = information.codes(sample.meaning for sample in samples)
        self.message = information.codes(self.messages)
        self.attributes = information.columns(self.vectors)
        self.positions = information.columns(self.messages)
        self.few = np.sort(np.random.default_rng([seed, 2]).permutation(self.size)[:COSTLY])

    @cached_property
    def population(self) -> bool:
        """Whether the samples are the whole population: each meaning equally often, with one message."""
        equally = len(set(np.bincount(self.meaning).tolist())) == 1
        both = information.occurring(information.joint(self.meaning, self.message))
        return equally and both == information.occurring(self.meaning)

    @property
    def correction(self) -> str:
        """Name of the entropy correction."""
        return EXACT if self.population else MILLER_MADOW

    def entropy(self, x: Codes) -> float:
        """Return H(X), bias-corrected unless the samples are the whole population."""
        return information.entropy(x) if self.population else information.entropy_corrected(x)

    def usual(self) -> dict[int, lexicon.Words]:
        """Return each meaning's most frequent message."""
        counts: dict[int, Counter[lexicon.Words]] = {}
        for meaning, message in zip(self.meaning.tolist(), self.messages, strict=True):
            counts.setdefault(meaning, Counter())[message] += 1
        return {meaning: counter.most_common(1)[0][0] for meaning, counter in counts.items()}

    def tested(
        self,
        name: str,
        statistic: Statistic,
        why: str = "",
        *,
        size: int = 0,
        unit: str = "",
        less: bool = False,
        **more: object,
    ) -> Measure:
        """Test a statistic of `size` samples (default: all) against its null; `why` is the reason if undefined."""
        n = size or self.size
        result = permutation_null(statistic, n, permutations=self.permutations, seed=self.seed, less=less)
        if result is None:
            return undefined(name, why, unit=unit, n=n)
        return measured(name, result.value, unit=unit, n=n, null=result.null, **more)
