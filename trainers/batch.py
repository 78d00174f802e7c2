"""Batches: padded, masked tensors with one row per agent and episode, its whole transcript."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marl.context.traces import traces
from marl.episode import FROZEN, Episode, Trace
from marl.models.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Batch:
    """B transcripts of T tokens. Everything but `ids` is meaningful only where `trained`."""

    ids: Tensor
    """[B, T] int64, padded on the right."""
    trained: Tensor
    """[B, T] bool: drawn by the agent among several tokens; no prompt, others' words, padding or forced end."""
    behavior_logprobs: Tensor
    """[B, T] float32 log-probability under the policy that sampled it."""
    advantage: Tensor
    """[B, T] float32: one number per reply on each of its tokens, or one per token."""
    mask_rows: Tensor
    """[B, T] int64 row of `LanguageModel.masks` under which it was drawn."""
    turn: Tensor
    """[B, T] int64 index of the decision in its episode."""
    said: Tensor
    """[B, T] bool: part of a message, not of a move."""
    episode: Tensor
    """[B] int64 index of the episode."""

    @property
    def reply(self) -> Tensor:
        """[B, T] int64 a number for each reply, unique in the batch."""
        return (self.episode[:, None] << 32) + self.turn

    @property
    def logp_old(self) -> Tensor:
        """Name of `behavior_logprobs` up to version 0.1."""
        return self.behavior_logprobs

    @property
    def tokens(self) -> int:
        """The number of trained tokens: the one denominator of every loss."""
        return int(self.trained.sum())

    def parts(self, most: int) -> Sequence[Tensor]:
        """Split the rows into parts of at most `most`; returns their indices.

        Rows with equal beginnings are neighbours: they are of similar length, and shared prefixes may be read once.
        """
        count, device = len(self.ids), self.ids.device
        if count <= most:
            return [torch.arange(count, device=device)] if count else []
        ids = self.ids.cpu().numpy()
        order = torch.from_numpy(np.lexsort(ids.T[::-1])).to(device)
        parts: Sequence[Tensor] = torch.split(order, most)
        return parts

    def rows(self, keep: Tensor) -> Batch:
        """Return some rows ([B] bool, or indices), without the columns behind the last trained token."""
        kept = {f.name: getattr(self, f.name)[keep] for f in fields(self)}
        used = kept["trained"].any(0).nonzero()
        width = int(used.max()) + 1 if len(used) else 2  # a model needs a token to read, and one to predict
        return Batch(**{name: t[:, :width] if t.ndim == 2 else t for name, t in kept.items()})


class Span(NamedTuple):
    """A trained reply: `length` tokens of a row of the batch, from column `start` on."""

    row: int
    start: int
    length: int
    episode: int
    decision: int


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
        episodes: played episodes.
        seats: the seats this model played.
        advantage: [E, K] by episode and decision, or [E, K, J] by the token of a reply too; a decision with NaN is not
            trained, nor is any of a frozen opponent.
        oldest: decisions sampled by an older version of the weights than this are not trained.
    """
    transcripts: list[tuple[int, Trace]] = []
    for e, episode in enumerate(episodes):
        transcripts += [(e, t) for t in traces(episode, learning(episode, seats), lm.open) if t.spans]
    lengths = np.array([len(t.ids) for _, t in transcripts], np.int64)
    shape = len(transcripts), int(lengths.max(initial=1))
    ids = np.zeros(shape, np.int64)
    ids[np.arange(shape[1]) < lengths[:, None]] = list(chain.from_iterable(t.ids for _, t in transcripts))
    advantage = advantage if advantage.ndim == 3 else advantage[..., None]
    spans = _trained_spans(episodes, transcripts, ~np.isnan(advantage), oldest)
    turns = [episodes[span.episode].turns[span.decision] for span in spans]
    # From here on one line per trained token: its row and column, episode and decision, and index in the reply.
    table = np.array(spans, np.int64).reshape(-1, len(Span._fields))
    reply_lengths = table[:, 2]
    row, start, _, episode_index, decision = table.repeat(reply_lengths, axis=0).T
    reply_starts = reply_lengths.cumsum() - reply_lengths  # line of the first token of each reply
    index = np.arange(len(row)) - reply_starts.repeat(reply_lengths)
    column = start + index
    mask_rows = np.array([mask for turn in turns for mask in lm.rows(turn.spec, turn.sample.tokens)], np.int64)
    said = np.array([turn.spec.kind == "say" for turn in turns], bool).repeat(reply_lengths)

    def laid(values: Any, dtype: Any) -> Tensor:
        tensor = np.zeros(shape, dtype)
        tensor[row, column] = values
        return torch.from_numpy(tensor).to(lm.device)

    return Batch(
        ids=torch.from_numpy(ids).to(lm.device),
        trained=laid((lm.choices > 1).cpu().numpy()[mask_rows], bool),  # a forced token is nobody's decision
        behavior_logprobs=laid([logprob for turn in turns for logprob in turn.sample.behavior_logprobs], np.float32),
        advantage=laid(
            advantage[episode_index, decision, np.minimum(index, advantage.shape[2] - 1)],
            np.float32,
        ),
        mask_rows=laid(mask_rows, np.int64),
        turn=laid(decision, np.int64),
        said=laid(said, bool),
        episode=torch.tensor([e for e, _ in transcripts], dtype=torch.int64, device=lm.device),
    )


def _trained_spans(
    episodes: Sequence[Episode], transcripts: Sequence[tuple[int, Trace]], scored: NDArray[np.bool_], oldest: int
) -> list[Span]:
    """Return the replies that are scored [E, K, J] and not too old."""
    spans = []
    for row, (e, transcript) in enumerate(transcripts):
        for start, stop, k in transcript.spans:
            if scored[e, k, : stop - start].all() and episodes[e].turns[k].sample.version >= oldest:
                spans.append(Span(row, start, stop - start, e, k))
    return spans


def learning(episode: Episode, seats: Collection[str]) -> list[str]:
    """Return those of the seats that a policy in training played, not a frozen opponent."""
    players = episode.log.seats
    return [agent for agent in episode.agents if agent in seats and FROZEN not in players.get(agent, "")]
