"""An index of texts by BM25, for tools that search and agents that look through what they remember."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from marl.errors import UserError


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"\w+", text.casefold())


class Index:
    """Texts that can be searched (BM25 as in Lucene: k1 = 1.5, b = 0.75). Raises UserError without bm25s."""

    def __init__(self, texts: Sequence[str]) -> None:
        try:
            from bm25s import BM25
        except ModuleNotFoundError:
            raise UserError("search needs the package bm25s: pip install 'sabir[tools]'") from None
        self._terms = [words(text) for text in texts]
        self._index: Any = None
        if any(self._terms):
            self._index = BM25()
            self._index.index(self._terms, show_progress=False)

    def nearest(self, query: str, most: int) -> list[int]:
        """Return the places of at most so many texts that share a word with the query, the nearest first.

        Equal scores are in the order of the texts.
        """
        known = self._index.vocab_dict if self._index is not None else {}
        terms = [word for word in words(query) if word in known]
        if not terms:
            return []
        scores = self._index.get_scores(terms)
        order = np.argsort(-scores, kind="stable")[:most]
        return [int(place) for place in order if scores[place] > 0]
