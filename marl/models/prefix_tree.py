"""Prefix tree of token rows: a prefix that several rows share is computed once.

A causal model's state after a token depends only on the prefix that ends there. In an update in which agents meet the
same deals, or say the same again, most tokens stand in prefixes of other rows too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PrefixTree(NamedTuple):
    """M nodes in the R distinct of B rows, numbered row by row; W of them are wanted."""

    tokens: Tensor  # [M] of each node
    places: Tensor  # [M] its place in its rows, from 0
    node: Tensor  # [R, T] the node at each token; any where no later token is wanted
    stands: Tensor  # [M] where in the flattened [R, T] each node stands first
    wanted: Tensor  # [W] nodes
    columns: Tensor  # [R, w] places of the wanted nodes that stand first in each row; where there are fewer, any
    asks: Tensor  # [R, w] which of the wanted nodes these are; any
    answers: Tensor  # [W] where in the flattened [R, w] each wanted node is
    found: Tensor  # [N] which of the wanted nodes each chosen token is


def prefix_tree(ids: Tensor, at: Tensor) -> PrefixTree:
    """Return the tree of the prefixes of ids [B, T] that end in the N tokens chosen by `at` [B, T], row by row."""
    asked = at.clone()
    asked[:, 0] |= ~at.any(1)  # of a row of which nothing is wanted, the first
    needed = asked.flip(1).cumsum(1).flip(1) > 0
    rows, place = torch.unique(ids.masked_fill(~needed, -1), dim=0, return_inverse=True)
    new = rows >= 0
    new[1:] &= (rows[1:] != rows[:-1]).cumsum(1) > 0  # rows that begin alike stand together
    count = new.flatten().cumsum(0).view_as(rows)
    node = torch.where(new, count - 1, 0).cummax(0).values
    stands = new.flatten().nonzero()[:, 0]
    of_asked = node[place[:, None].expand_as(asked)[asked], asked.nonzero()[:, 1]]
    flag = torch.zeros_like(stands, dtype=torch.bool).index_fill_(0, of_asked, True)
    rank = flag.cumsum(0) - 1
    first = torch.zeros_like(new).flatten().index_fill_(0, stands[flag], True).view_as(new)
    counts = first.sum(1)
    columns = first.byte().argsort(dim=1, descending=True, stable=True)[:, : int(counts.max())]
    b, t = at.nonzero(as_tuple=True)
    return PrefixTree(
        rows.flatten()[stands],
        stands % ids.shape[1],
        node,
        stands,
        flag.nonzero()[:, 0],
        columns,
        rank[node.gather(1, columns)].clamp(min=0),
        (torch.arange(columns.shape[1], device=ids.device) < counts[:, None]).flatten().nonzero()[:, 0],
        rank[node[place[b], t]],
    )
