"""Reading: logs as token sequences, the points in them where values are read, and tables of the values there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Reading(NamedTuple):
    """Token sequences, and the P points in them where values are read.

    A point is the value of agent `agent` at `slot` of `episode`. A slot is the index of a decision among its episode's
    turns. The slot after the last turn, the end of the episode, has a value only if the rules would have gone on. With
    `part` j > 0 the value is that of the deciding agent after the first j words of its reply.
    """

    ids: Tensor  # [R, T] token ids, padded on the right
    row: Tensor  # [P] which sequence
    column: Tensor  # [P] at which token
    agent: Tensor  # [P] whose value
    episode: Tensor  # [P]
    slot: Tensor  # [P]
    part: Tensor  # [P]

    def of(self, chosen: Tensor) -> Reading:
        """Return the reading of some episodes [E'], renumbered by their index in `chosen`."""
        count = int(self.episode.max()) + 1
        index = torch.full((max(count, int(chosen.max()) + 1),), -1, device=self.ids.device)  # [E] old -> new number
        index[chosen] = torch.arange(len(chosen), device=self.ids.device)
        keep = index[self.episode] >= 0  # [P]
        rows, row = torch.unique(self.row[keep], return_inverse=True)
        column = self.column[keep]
        ids = self.ids[rows, : int(column.max()) + 1]
        return Reading(ids, row, column, self.agent[keep], index[self.episode[keep]], self.slot[keep], self.part[keep])


def inside(reading: Reading, values: Tensor, episodes: int, slots: int) -> NDArray[np.float64]:
    """Return values within replies [episodes, slots, J]: of the deciding agent after j words; nan where none."""
    part = reading.part.cpu().numpy()
    out = np.full((episodes, slots, int(part.max()) + 1), np.nan)
    within = part > 0
    index = (reading.episode.cpu().numpy()[within], reading.slot.cpu().numpy()[within], part[within])
    out[index] = values.detach().double().cpu().numpy()[within]
    return out


def table(reading: Reading, values: Tensor, episodes: int, slots: int, agents: int) -> NDArray[np.float64]:
    """Return the values before decisions [episodes, slots, agents]; 0 where there is none."""
    out = np.zeros((episodes, slots, agents))
    before = (reading.part == 0).cpu().numpy()
    index = (reading.episode.cpu().numpy(), reading.slot.cpu().numpy(), reading.agent.cpu().numpy())
    out[tuple(column[before] for column in index)] = values.detach().double().cpu().numpy()[before]
    return out
