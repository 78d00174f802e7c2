"""The inventory of morphemes beside its definition, which counts all pairs anew after each morpheme."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from marl.metrics import morphemes
from marl.metrics.morphemes import FormMeaning, Symbols
from marl.study.data.corpus import MessageSample
from marl.study.language import summary


def by_definition(meanings: Sequence[Symbols], messages: Sequence[Symbols]) -> list[FormMeaning]:
    forms, senses = list(messages), [frozenset(m) for m in meanings]
    selected: list[FormMeaning] = []
    while len(selected) < 256:
        runs = [set(morphemes._runs(form)) for form in forms]
        subsets = [set(morphemes._subsets(sense)) for sense in senses]
        candidates = []
        for form in set().union(*runs):
            for meaning in set().union(*subsets):
                both = sum(form in r and meaning in s for r, s in zip(runs, subsets, strict=True))
                f, m = sum(form in r for r in runs), sum(meaning in s for s in subsets)
                if both * len(forms) > f * m:
                    bits = round(morphemes._shared(both, f, m, len(forms)), 9)
                    candidates.append((-bits, -len(form), len(meaning), form, meaning, both))
        if not candidates or -min(candidates)[0] <= 1e-3:
            break
        bits, _, _, form, meaning, both = min(candidates)
        selected.append(FormMeaning(form, meaning, -bits, both))
        for n, (r, s) in enumerate(zip(runs, subsets, strict=True)):
            if form in r and meaning in s:
                forms[n], senses[n] = morphemes._without(forms[n], form), senses[n].difference(meaning)
    return selected


PAIRS = st.lists(
    st.tuples(
        st.tuples(*(st.sampled_from([f"{a}0", f"{a}1", f"{a}2"]) for a in "ab")),
        st.lists(st.sampled_from("xyz"), max_size=4).map(tuple),
    ),
    max_size=9,
)


@given(PAIRS)
@settings(max_examples=60, deadline=None)
def test_the_inventory_is_that_of_its_definition(pairs: list[tuple[Symbols, Symbols]]) -> None:
    meanings, messages = [meaning for meaning, _ in pairs], [message for _, message in pairs]
    assert repr(morphemes.inventory(meanings, messages)) == repr(by_definition(meanings, messages) if pairs else [])


def noise(samples: int, attributes: int, length: int) -> tuple[list[Symbols], list[Symbols]]:
    draw = random.Random(1)
    meanings = [tuple(f"k{j}={draw.randrange(3)}" for j in range(attributes)) for _ in range(samples)]
    return meanings, [tuple(f"m{draw.randrange(20)}" for _ in range(length)) for _ in range(samples)]


def test_forty_attributes_end() -> None:
    meanings, messages = noise(400, 40, 5)
    assert morphemes.size(meanings, messages) < morphemes.MOST_PAIRS
    start = time.process_time()
    assert len(morphemes.inventory(meanings, messages, most=20)) == 20
    assert time.process_time() - start < 40


def test_what_is_too_large_is_left_out_and_says_so() -> None:
    meanings, messages = noise(60, 90, 60)
    samples = [MessageSample(" ".join(x), m) for x, m in zip(meanings, messages, strict=True)]
    language = summary.measure(samples, permutations=1)
    assert language.measures["morphemes"].undefined.startswith("left out: up to ")
    assert language.morphemes == []
