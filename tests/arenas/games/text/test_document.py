from __future__ import annotations

from collections import Counter

import arenas
from arenas.games.text.document import CODE, READER


def test_the_code_stands_once_anywhere_and_is_asked_for_at_the_end() -> None:
    arena = arenas.make("document", chunks=3, facts=2)
    places: Counter[int] = Counter()
    for seed in range(300):
        arena.begin(seed)
        chunks = []
        while arena.view(READER) != CODE:
            chunks.append(arena.view(READER))
            assert not arena.resolve({READER: ("next",)}).done
        words = " ".join(chunks).split()
        assert (len(chunks), words.count(CODE)) == (3, 1)
        places[words.index(CODE) // 2] += 1
        colour = words[words.index(CODE) + 1]
        assert arena.hidden() == f"{CODE} {colour}"
        other = next(word for word in arena.spec(READER).steps[0] if word != colour)
        assert arena.copy().resolve({READER: (other,)}).rewards == {READER: 0.0}
        assert arena.resolve({READER: (colour,)}).rewards == {READER: 1.0}
    assert set(places) == set(range(6))
