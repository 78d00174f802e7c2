"""Rescoring: log-probabilities of replies under the weights that drew them, and whether these draw such words at all.

A pass without gradients over the transcripts as the log has them:

    log pi(a_t | s_t)                                       what the loss calls behavior_logprobs
    F(a_t - 1) <= u_t < F(a_t),    F(a) = sum_{b <= a} pi(b)     whether the draw u_t of the reply's seed gives a_t

So nothing has to be believed of who played a seat but the words. The two bounds are for rounding, where the actor
computes on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marl.context.traces import traces
from marl.episode import Episode, Turn
from marl.inference.draws import uniforms
from marl.models.language_model import LanguageModel, padded

MAX_DISTANCE: Final = 0.01
"""Nats by which a log-probability that an actor tells may differ from that of the weights."""
MAX_SHIFT: Final = 1e-4
"""By how much, in probability, a draw may lie outside the interval of the word that it gave."""
UNTRAINED: Final = -1
"""The version of a reply that is not trained on: older than any."""
PART_TOKENS: Final = 1 << 18
"""Tokens that are read at a time, padding included."""
SeedOf = Callable[[Episode, Turn], int | None]
"""The seed of a reply's draws; None if nothing drew it."""


class ScoredReply(NamedTuple):
    """A reply as the weights see it."""

    episode: int
    """Index of the episode."""
    decision: int
    """Index of the turn in the episode."""
    logprobs: tuple[float, ...]
    """Of each token, under the mask of the reply spec; 0 where only one token is allowed."""
    shift: float
    """The largest distance of a draw from the interval of its token, in probability; infinite without a seed."""


class _Row(NamedTuple):
    """One transcript, and the replies in it as (start, stop, decision)."""

    episode: int
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int, int], ...]


def score_replies(
    lm: LanguageModel, episodes: Sequence[Episode], seats: Collection[str], seed_of: SeedOf
) -> Iterator[ScoredReply]:
    """Yield all replies of these seats that have tokens, scored by the weights as they are now."""
    rows = [
        _Row(e, trace.ids, trace.spans)
        for e, episode in enumerate(episodes)
        for trace in traces(episode, list(seats), lm.open)
        if trace.spans
    ]
    rows.sort(key=lambda row: len(row.ids))
    lm.eval()
    first = 0
    while first < len(rows):
        last = first + 1
        while last < len(rows) and (last + 1 - first) * len(rows[last].ids) <= PART_TOKENS:
            last += 1
        yield from _score(lm, episodes, rows[first:last], seed_of)
        first = last


def _score(
    lm: LanguageModel, episodes: Sequence[Episode], rows: Sequence[_Row], seed_of: SeedOf
) -> Iterator[ScoredReply]:
    spans = [(r, row.episode, *span) for r, row in enumerate(rows) for span in row.spans]
    turns = [episodes[e].turns[k] for _, e, _, _, k in spans]
    lengths = np.array([stop - start for _, _, start, stop, _ in spans])
    index = np.arange(lengths.sum()) - (lengths.cumsum() - lengths).repeat(lengths)  # of each token in its reply
    ids = padded([row.ids for row in rows], lm.device)
    drawn = torch.zeros_like(ids, dtype=torch.bool)
    for r, _, start, stop, _ in spans:
        drawn[r, start:stop] = True
    masks = torch.tensor([m for turn in turns for m in lm.rows(turn.spec, turn.sample.tokens)], device=lm.device)
    seeds = [seed_of(episodes[e], turn) for (_, e, *_), turn in zip(spans, turns, strict=True)]
    u = uniforms(np.array([seed or 0 for seed in seeds], np.uint64), int(lengths.max()))
    draws = torch.from_numpy(u[np.arange(len(spans)).repeat(lengths), index]).to(lm.device)
    scores = _against_draws(lm, ids, drawn, masks, draws)
    logprobs, shifts = (column.tolist() for column in scores)
    at = 0
    for (_, e, _, _, k), length, seed in zip(spans, lengths.tolist(), seeds, strict=True):
        own = slice(at, at + length)
        yield ScoredReply(e, k, tuple(logprobs[own]), float("inf") if seed is None else max(shifts[own]))
        at += length


@torch.no_grad()
def _against_draws(lm: LanguageModel, ids: Tensor, drawn: Tensor, masks: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities [N] of drawn tokens, and how far draws u [N] lie outside their intervals [N]."""
    states = lm.states_at(ids[:, :-1], drawn[:, 1:])  # [N, d]: the state before a token predicts it
    logprobs = lm.logits(states).masked_fill(~lm.masks[masks], -torch.inf).log_softmax(-1)  # [N, V]
    token = ids[drawn][:, None]
    cdf = logprobs.exp().cumsum(-1, dtype=torch.float64)
    cdf = cdf / cdf[:, -1:]
    upper = cdf.gather(-1, token).squeeze(-1)
    lower = torch.where(token > 0, cdf.gather(-1, (token - 1).clamp(min=0)), 0.0).squeeze(-1)
    outside = torch.maximum(lower - u, u - upper).clamp(min=0)
    return logprobs.gather(-1, token).squeeze(-1), outside
