"""Episodes and credit -> padded, masked tensors: one row per agent and episode, its whole transcript."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marl.context.traces import traces
from marl.episode import FROZEN, Episode
from marl.models.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Batch:
    """B transcripts of T tokens. Everything but `ids` is meaningful only where `trained`."""

    ids: Tensor
    """[B, T] int64, padded on the right."""
    trained: Tensor
    """[B, T] bool: drawn by the agent among several; never a prompt, others' words, padding or a forced end."""
    logp_old: Tensor
    """[B, T] float32 log-probability under the policy that drew it."""
    advantage: Tensor
    """[B, T] float32: one number per reply on each of its tokens, or one per token."""
    mask_rows: Tensor
    """[B, T] int64 row of `LanguageModel.masks` under which it was drawn."""
    turn: Tensor
    """[B, T] int64 which decision of its episode the token is part of."""
    said: Tensor
    """[B, T] bool: part of a message, not of a move."""
    episode: Tensor
    """[B] int64 which episode."""

    @property
    def reply(self) -> Tensor:
        """[B, T] int64 a number for each reply, wherever it stands."""
        return (self.episode[:, None] << 32) + self.turn

    @property
    def tokens(self) -> int:
        """The number of trained tokens: the one denominator of every loss."""
        return int(self.trained.sum())

    def parts(self, most: int) -> Sequence[Tensor]:
        """Return indices of so many rows at a time, all of them once.

        Rows that begin alike stand together: they are of like length, and what they share may be read once.
        """
        count, device = len(self.ids), self.ids.device
        if count <= most:
            return [torch.arange(count, device=device)] if count else []
        ids = self.ids.cpu().numpy()
        order = torch.from_numpy(np.lexsort(ids.T[::-1])).to(device)
        parts: Sequence[Tensor] = torch.split(order, most)
        return parts

    def rows(self, keep: Tensor) -> Batch:
        """Return the chosen rows ([B] bool, or indices), without the columns behind the last trained token."""
        chosen = {f.name: getattr(self, f.name)[keep] for f in fields(self)}
        used = chosen["trained"].any(0).nonzero()
        width = int(used.max()) + 1 if len(used) else 2  # a model needs a token to read, and one to predict
        return Batch(**{name: t[:, :width] if t.ndim == 2 else t for name, t in chosen.items()})


def collate(
    lm: LanguageModel,
    episodes: Sequence[Episode],
    seats: Collection[str],
    advantage: NDArray[np.float64],
    oldest: int = 0,
) -> Batch:
    """Lay out the transcripts of the seats that one model plays.

    Args:
        lm: the model whose tokens these are.
        episodes: what was played.
        seats: the seats this model sat on.
        advantage: [E, K] by episode and turn, or [E, K, J] by the token of a reply too; a turn with nan is not trained,
            nor is any of a frozen opponent.
        oldest: turns sampled by an older version of the weights than this are not trained.
    """
    found = [
        (e, t)
        for e, episode in enumerate(episodes)
        for t in traces(episode, learning(episode, seats), lm.open)
        if t.spans
    ]
    lengths = np.array([len(t.ids) for _, t in found], np.int64)
    shape = len(found), int(lengths.max(initial=1))
    ids = np.zeros(shape, np.int64)
    ids[np.arange(shape[1]) < lengths[:, None]] = list(chain.from_iterable(t.ids for _, t in found))
    credit = advantage if advantage.ndim == 3 else advantage[..., None]
    scored = ~np.isnan(credit)
    spans = [
        (b, start, stop - start, e, k)
        for b, (e, t) in enumerate(found)
        for start, stop, k in t.spans
        if scored[e, k, : stop - start].all() and episodes[e].turns[k].sample.version >= oldest
    ]
    turns = [episodes[e].turns[k] for *_, e, k in spans]
    # One line for each token of these replies: row, place in the row, episode, decision, and place in the reply.
    count = np.array([n for _, _, n, _, _ in spans], np.int64)
    line = np.array(spans, np.int64).reshape(-1, 5).repeat(count, axis=0)
    place = np.arange(len(line)) - (count.cumsum() - count).repeat(count)
    b, t, e, k = line[:, 0], line[:, 1] + place, line[:, 3], line[:, 4]
    rows = np.array([row for turn in turns for row in lm.rows(turn.spec, turn.sample.tokens)], np.int64)

    def laid(values: Any, dtype: Any) -> Tensor:
        table = np.zeros(shape, dtype)
        table[b, t] = values
        return torch.from_numpy(table).to(lm.device)

    return Batch(
        ids=torch.from_numpy(ids).to(lm.device),
        trained=laid((lm.choices > 1).cpu().numpy()[rows], bool),  # a forced token is nobody's decision
        logp_old=laid([logp for turn in turns for logp in turn.sample.behavior_logprobs], np.float32),
        advantage=laid(credit[e, k, np.minimum(place, credit.shape[2] - 1)], np.float32),
        mask_rows=laid(rows, np.int64),
        turn=laid(k, np.int64),
        said=laid([turn.spec.kind == "say" for turn, n in zip(turns, count, strict=True) for _ in range(n)], bool),
        episode=torch.tensor([e for e, _ in found], dtype=torch.int64, device=lm.device),
    )


def learning(episode: Episode, seats: Collection[str]) -> list[str]:
    """Return those of the seats that a policy in training played."""
    played = episode.log.seats
    return [agent for agent in episode.agents if agent in seats and FROZEN not in played.get(agent, "")]
