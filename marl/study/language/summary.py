"""Measure the language of one speaker at one place: code table, measures, dictionary, morphemes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from marl.metrics.measure import Measure, measured
from marl.study.data import lexicon
from marl.study.data.corpus import MessageSample
from marl.study.data.result import CodePair, Language
from marl.study.language import form, informativeness
from marl.study.language.encoding import Code


def measure(
    samples: Sequence[MessageSample],
    speaker: str = "speaker",
    place: int = 0,
    *,
    permutations: int = 200,
    seed: int = 0,
) -> Language:
    """Measure the language of samples, at least one; held-out samples count only if there are no others."""
    seen = [sample for sample in samples if not sample.held_out] or list(samples)
    code = Code(seen, permutations, seed)
    inventory = form.inventory(code)
    measures = [*_counts(code), *informativeness.measures(code), *form.measures(code, inventory)]
    return Language(
        speaker=speaker,
        place=place,
        samples=len(seen),
        attributes=code.names,
        measures={measure.name: measure for measure in measures},
        positions=informativeness.by_position(code),
        pairs=pairs(samples),
        dictionary=form.dictionary(code),
        morphemes=form.listed(inventory),
    )


def _counts(code: Code) -> Iterator[Measure]:
    usual = code.usual()
    shared = Counter(usual.values())
    spoken = set(zip(code.meaning.tolist(), code.messages, strict=True))
    several = Counter(meaning for meaning, _ in spoken)
    yield measured("meanings", len(usual), unit="meanings", n=code.size)
    yield measured("messages", len(set(code.messages)), unit="messages", n=code.size)
    yield measured("ambiguous", sum(shared[message] > 1 for message in usual.values()), unit="meanings", n=code.size)
    yield measured("synonyms", sum(count > 1 for count in several.values()), unit="meanings", n=code.size)


def pairs(samples: Sequence[MessageSample]) -> list[CodePair]:
    """Return the table meaning x message, meanings in natural order, the most frequent message first."""
    groups: dict[tuple[str, str], list[MessageSample]] = {}
    for sample in samples:
        groups.setdefault((sample.meaning, " ".join(sample.message)), []).append(sample)
    table = []
    for (meaning, message), group in groups.items():
        scores = [sample.score for sample in group if sample.score is not None]
        table.append(
            CodePair(
                meaning=meaning,
                message=message,
                count=len(group),
                answers=dict(Counter(answer for sample in group for answer in sample.answers.values()).most_common()),
                score=sum(scores) / len(scores) if scores else None,
                held_out=all(sample.held_out for sample in group),
            )
        )
    return sorted(table, key=lambda pair: (lexicon.natural(pair.meaning), -pair.count, pair.message))
