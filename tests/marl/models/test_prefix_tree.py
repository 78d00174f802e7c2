"""Rows as a tree of their beginnings, by hand and as a law: no beginning twice, and none that nothing wanted needs."""

from __future__ import annotations

import pytest
import torch

from marl.models.prefix_tree import prefix_tree


def test_a_beginning_that_rows_share_is_one_node() -> None:
    ids = torch.tensor([[1, 5, 6], [1, 5, 7], [1, 5, 6], [1, 8, 0]])
    at = torch.tensor([[0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.bool)
    tree = prefix_tree(ids, at)
    assert sorted(zip(tree.places.tolist(), tree.tokens.tolist(), strict=True)) == [(0, 1), (1, 5), (1, 8), (2, 6)]
    assert [int(tree.tokens[tree.wanted[w]]) for w in tree.found] == [6, 5, 6, 8]
    assert len(tree.wanted) == 3


@pytest.mark.parametrize("seed", range(20))
def test_every_beginning_that_is_needed_is_there_once(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 4, (12, 7), generator=draw)
    at = torch.rand(12, 7, generator=draw) < 0.2
    tree = prefix_tree(ids, at)
    rows = [tuple(row) for row in ids.tolist()]
    ends = [max([t for t in range(7) if at[b, t]], default=0) for b in range(12)]
    needed = {row[: t + 1] for row, end in zip(rows, ends, strict=True) for t in range(end + 1)}
    assert len(tree.tokens) == len(needed)
    # A node's beginning, read off the row in which it stands first.
    tokens = tree.tokens[tree.node]
    begins = [tuple(tokens[s // 7, : s % 7 + 1].tolist()) for s in tree.stands.tolist()]
    assert set(begins) == needed
    assert [begins[tree.wanted[w]] for w in tree.found] == [rows[b][: t + 1] for b, t in at.nonzero().tolist()]
    # Each wanted node is asked for, and answered, at its own place of a row in which it stands.
    for w, answer in enumerate(tree.answers.tolist()):
        row, place = divmod(answer, tree.columns.shape[1])
        column = int(tree.columns[row, place])
        assert int(tree.asks[row, place]) == w
        assert int(tree.node[row, column]) == int(tree.wanted[w])
