"""Values that other programs document."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from emlangkit import metrics
from numpy.typing import NDArray

from marl.metrics.compositionality import bag_disentanglement, positional_disentanglement, topographic_similarity
from marl.metrics.information import codes, entropy, mutual_information
from tests.marl.study.languages import LANGUAGES, MEANINGS

EOS = "0"
Words = tuple[str, ...]


def drawn(seed: int, size: int, length: int, symbols: int) -> list[Words]:
    rng = np.random.default_rng(seed)
    return [tuple(f"x{x}" for x in row) for row in rng.integers(symbols, size=(size, length))]


SPOKEN: dict[str, tuple[list[Words], list[Words]]] = {
    **{name: (MEANINGS, messages) for name, messages in LANGUAGES.items() if name not in ("constant", "silent")},
    **{f"random {seed}": (drawn(seed, 100, 3, 4), drawn(seed + 10, 100, 4, 6)) for seed in range(3)},
}


def words(rows: list[list[int]]) -> list[tuple[str, ...]]:
    return [tuple(map(str, row)) for row in rows]


def test_posdis_is_what_egg_documents() -> None:
    torch.manual_seed(0)
    attributes = torch.cat([torch.randint(low=0, high=10, size=(1000, 1)) for _ in range(2)], dim=1)
    meanings = words(attributes.tolist())
    assert positional_disentanglement(meanings, meanings) == pytest.approx(0.978656, abs=5e-7)
    padded = [(*meaning, EOS) for meaning in meanings]  # a constant position does not count
    assert positional_disentanglement(meanings, padded) == pytest.approx(0.978656, abs=5e-7)


def test_bosdis_is_what_egg_documents() -> None:
    """The language of Chaabouni et al. 2020, appendix 8.2; EGG looks at symbols 1 and 2 of it (vocab_size=3)."""
    attributes = [[a, b] for a in range(4) for b in range(4)]
    messages = [
        *([0, 0, 4], [0, 0, 5], [0, 0, 6], [0, 0, 7]),
        *([1, 4, 1], [1, 5, 1], [1, 6, 1], [1, 7, 1]),
        *([2, 4, 2], [2, 5, 2], [2, 6, 2], [2, 7, 2]),
        *([3, 4, 3], [3, 3, 5], [3, 3, 6], [3, 3, 7]),
    ]
    assert bag_disentanglement(words(attributes), words(messages)) == pytest.approx(1)
    seen_by_egg = [[symbol for symbol in message if symbol in (1, 2)] for message in messages]
    assert bag_disentanglement(words(attributes), words(seen_by_egg)) == pytest.approx(1)


def test_topographic_similarity_is_what_egg_documents() -> None:
    names = [tuple(name) for name in ("cat", "dog", "pen", "ben", "ten")]
    assert topographic_similarity(names, names) == pytest.approx(1)


def numbers(rows: list[Words]) -> NDArray[np.int64]:
    codes: dict[str, int] = {}
    return np.array([[codes.setdefault(word, len(codes)) for word in row] for row in rows])


@pytest.mark.parametrize("name", SPOKEN)
def test_emlangkit_says_the_same(name: str) -> None:
    meanings, messages = SPOKEN[name]
    x, m = numbers(meanings), numbers(messages)
    similarity, _ = metrics.compute_topographic_similarity(m, x)
    assert topographic_similarity(meanings, messages) == pytest.approx(similarity)
    assert positional_disentanglement(meanings, messages) == pytest.approx(metrics.compute_posdis(m, x))
    assert bag_disentanglement(meanings, messages) == pytest.approx(metrics.compute_bosdis(m, x))
    assert entropy(codes(messages)) == pytest.approx(metrics.compute_entropy(m))
    plain = mutual_information(codes(meanings), codes(messages))
    assert plain == pytest.approx(metrics.compute_mutual_information(m, x))


def test_emlangkit_takes_independent_variables_for_dependent_ones() -> None:
    """What docs/study.md says of the plug-in estimate."""
    meanings, messages = drawn(0, 200, 3, 4), drawn(1, 200, 4, 6)
    assert metrics.compute_mutual_information(numbers(messages), numbers(meanings)) > 5.4
