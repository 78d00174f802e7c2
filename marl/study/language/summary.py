"""Everything that is counted from the samples of one speaker at one place: its code as a table, and its measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from marl.metrics.measure import Measure, measured
from marl.study.data import lexicon
from marl.study.data.corpus import Sample
from marl.study.data.result import Language, Pair
from marl.study.language import form
from marl.study.language import informativeness as told
from marl.study.language.encoding import Code


def measure(
    samples: Sequence[Sample], speaker: str = "speaker", place: int = 0, *, permutations: int = 200, seed: int = 0
) -> Language:
    """Measure the language of samples, at least one; those held out of training count only where nothing else is."""
    seen = [each for each in samples if not each.held_out] or list(samples)
    code = Code(seen, permutations, seed)
    inventory = form.inventory(code)
    found = [*_counts(code), *told.measures(code), *form.measures(code, inventory)]
    return Language(
        speaker=speaker,
        place=place,
        samples=len(seen),
        attributes=code.names,
        measures={each.name: each for each in found},
        positions=told.by_position(code),
        pairs=pairs(samples),
        dictionary=form.dictionary(code),
        morphemes=form.listed(inventory),
    )


def _counts(code: Code) -> Iterator[Measure]:
    usual = code.usual()
    shared = Counter(usual.values())
    given = set(zip(code.meaning.tolist(), code.messages, strict=True))
    several = Counter(meaning for meaning, _ in given)
    yield measured("meanings", len(usual), unit="meanings", n=code.size)
    yield measured("messages", len(set(code.messages)), unit="messages", n=code.size)
    yield measured("ambiguous", sum(shared[message] > 1 for message in usual.values()), unit="meanings", n=code.size)
    yield measured("synonyms", sum(count > 1 for count in several.values()), unit="meanings", n=code.size)


def pairs(samples: Sequence[Sample]) -> list[Pair]:
    """Return the table meaning x message, meanings in natural order, the most frequent message first."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for each in samples:
        groups.setdefault((each.meaning, " ".join(each.message)), []).append(each)
    found = []
    for (meaning, message), group in groups.items():
        scores = [each.score for each in group if each.score is not None]
        found.append(
            Pair(
                meaning=meaning,
                message=message,
                count=len(group),
                answers=dict(Counter(answer for each in group for answer in each.answers.values()).most_common()),
                score=sum(scores) / len(scores) if scores else None,
                held_out=all(each.held_out for each in group),
            )
        )
    return sorted(found, key=lambda pair: (lexicon.natural(pair.meaning), -pair.count, pair.message))
