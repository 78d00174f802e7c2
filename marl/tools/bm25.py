"""BM25 index of texts, for search tools and for memories that retrieve."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from marl.errors import UserError


def tokenize(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"\w+", text.casefold())


class Index:
    """Searchable texts (BM25 as in Lucene: k1 = 1.5, b = 0.75). Raises UserError if bm25s is not installed."""

    def __init__(self, texts: Sequence[str]) -> None:
        try:
            from bm25s import BM25
        except ModuleNotFoundError:
            raise UserError("search needs the package bm25s: pip install 'sabir[tools]'") from None
        self._terms = [tokenize(text) for text in texts]
        self._index: Any = None
        if any(self._terms):
            self._index = BM25()
            self._index.index(self._terms, show_progress=False)

    def nearest(self, query: str, most: int) -> list[int]:
        """Return the indices of at most `most` texts that share a word with the query, best first.

        Equal scores keep the order of the texts.
        """
        vocabulary = self._index.vocab_dict if self._index is not None else {}
        terms = [word for word in tokenize(query) if word in vocabulary]
        if not terms:
            return []
        scores = self._index.get_scores(terms)
        order = np.argsort(-scores, kind="stable")[:most]
        return [int(index) for index in order if scores[index] > 0]
