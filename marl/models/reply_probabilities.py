"""Exact probabilities of all replies that a spec allows, by scoring each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arenas.spec import ReplySpec
from marl.models.language_model import LanguageModel


@torch.inference_mode()
def reply_probabilities(
    lm: LanguageModel, asked: Sequence[tuple[Sequence[int], ReplySpec]], rows: int = 4096
) -> list[NDArray[np.float64]]:
    """Return the probability of every reply [spec.size] to each transcript.

    Args:
        lm: the model.
        asked: token ids of each transcript, and the spec of its reply; all `spec.size` replies are listed.
        rows: replies that are scored at a time.
    """
    lines: list[tuple[tuple[int, ...], tuple[int, ...]]] = []  # ids of context and reply; mask rows of the reply
    for context, spec in asked:
        for words in map(spec.words, range(spec.size)):
            reply = lm.written(words)
            lines.append(((*context, *reply), tuple(lm.rows(spec, reply))))
    parts: list[Tensor] = []
    for first in range(0, len(lines), rows):
        part = lines[first : first + rows]
        width = max(len(ids) for ids, _ in part)
        ids = torch.tensor([[*i, *[lm.eos] * (width - len(i))] for i, _ in part], device=lm.device)  # [R, T]
        drawn = torch.zeros_like(ids, dtype=torch.bool)
        for row, (line, masks) in enumerate(part):
            drawn[row, len(line) - len(masks) : len(line)] = True
        mask_rows = torch.tensor([mask for _, masks in part for mask in masks], device=lm.device)
        logp = torch.zeros(ids.shape, dtype=torch.float64, device=lm.device)
        logp[drawn] = lm.score(ids, drawn, mask_rows).logp.double()
        parts.append(logp.sum(1).exp())
    probabilities = torch.cat(parts).cpu().numpy()
    return np.split(probabilities, np.cumsum([spec.size for _, spec in asked])[:-1])
