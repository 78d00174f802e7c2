"""Episodes and credit -> padded, masked tensors: one row per agent and episode, its whole transcript."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marl.episode import Episode
from marl.lm import LanguageModel
from marl.transcript import traces


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
    size, width = len(found), max((len(t.ids) for _, t in found), default=1)
    ids = np.zeros((size, width), np.int64)
    trained = np.zeros((size, width), bool)
    logp = np.zeros((size, width), np.float32)
    adv = np.zeros((size, width), np.float32)
    rows = np.zeros((size, width), np.int64)
    decision = np.zeros((size, width), np.int64)
    said = np.zeros((size, width), bool)
    for b, (e, t) in enumerate(found):
        ids[b, : len(t.ids)] = t.ids
        for start, stop, index in t.spans:
            turn = episodes[e].turns[index]
            credit = advantage[e, index]
            credit = credit[: stop - start] if credit.ndim else credit
            if np.isnan(credit).any() or turn.sample.version < oldest:
                continue
            rows[b, start:stop] = lm.rows(turn.spec, turn.sample.tokens)
            trained[b, start:stop] = True
            logp[b, start:stop] = turn.sample.logprobs
            adv[b, start:stop] = credit
            decision[b, start:stop] = index
            said[b, start:stop] = turn.spec.kind == "say"
    trained &= (lm.choices > 1).cpu().numpy()[rows]  # a forced token is nobody's decision
    episode = np.array([e for e, _ in found], np.int64)
    return Batch(*(torch.from_numpy(a).to(lm.device) for a in (ids, trained, logp, adv, rows, decision, said, episode)))


def learning(episode: Episode, seats: Collection[str]) -> list[str]:
    """Return those of the seats that a policy in training played."""
    return [agent for agent, learns in zip(episode.agents, episode.learners, strict=True) if learns and agent in seats]
