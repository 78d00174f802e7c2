"""Everything that is counted from the samples of one speaker at one place: its code as a table, and its measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from marl.study import information, lexicon
from marl.study.corpus import Sample
from marl.study.measure import measured
from marl.study.result import Language, Measures, Pair


def measure(
    samples: Sequence[Sample], speaker: str = "speaker", place: int = 0, *, permutations: int = 200, seed: int = 0
) -> Language:
    """Measure the language of samples, at least one."""
    seen = [each for each in samples if not each.held_out] or list(samples)
    vectors = lexicon.attributes([each.meaning for each in seen])
    return Language(
        speaker=speaker,
        place=place,
        samples=len(seen),
        attributes=names(vectors),
        measures=_measures(seen),
        pairs=pairs(samples),
    )


def names(vectors: Sequence[lexicon.Words]) -> list[str]:
    """Name attributes after the letters their values share: a of a0, a1, a2."""
    found = []
    for k, values in enumerate(map(set, zip(*vectors, strict=True)), 1):
        stems = {value.rstrip("0123456789") for value in values}
        found.append(stems.pop() if len(stems) == 1 and all(stems) else f"attribute {k}")
    return found


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


def _measures(samples: Sequence[Sample]) -> Measures:
    messages = [each.message for each in samples]
    places = {str(j): bits for j, bits in enumerate(information.per_position(messages), 1)}
    entropy = information.entropy(information.codes(messages))
    found = [measured("entropy", entropy, unit="bits", n=len(messages), parts=places)]
    return {each.name: each for each in found}
