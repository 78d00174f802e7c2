"""How far messages have drifted from a frozen reference: the model that was there before training, or any other one.

    NLL = -1/n sum_t log pi_ref(m_t | s_t)          KL = 1/n sum_t sum_a pi(a | s_t) log [pi(a | s_t) / pi_ref(a | s_t)]

over the n tokens of messages that were a choice, both under the masks of their reply specs (structural drift: Lazaridou
et al. 2020). Messages whose NLL grows are such as the reference would not say; whether they still mean the same the
measures of the study tell.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import log

import torch
from torch import Tensor

from marl.batch import Batch
from marl.episode import Episode
from marl.errors import UserError
from marl.lm import LanguageModel
from marl.study.measure import Measure, measured, undefined
from trainers.imitation import lessons

ROWS = 256
"""Transcripts that are read at a time."""


@torch.inference_mode()
def drift(
    lm: LanguageModel, reference: LanguageModel, episodes: Sequence[Episode], seats: Collection[str]
) -> dict[str, Measure]:
    """Measure the messages of seats in some episodes, in bits per token.

    Args:
        lm: the policy of the seats.
        reference: a frozen model with the same tokens.
        episodes: what was played; greedy play shows less of a policy's spread in the NLL than play that was drawn.
        seats: whose messages count.

    Raises UserError for a reference with other tokens.
    """
    if lm.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
        raise UserError("the reference has other tokens than the policy: take a model with the same tokenizer")
    batch = lessons(lm, episodes, seats)
    nll, kl, n = 0.0, 0.0, 0
    for first in range(0, len(batch.ids), ROWS):
        part = batch.rows(torch.arange(first, min(first + ROWS, len(batch.ids)), device=batch.ids.device))
        at = part.trained & part.said
        if not at.any():
            continue
        ours, theirs = (_chances(model, part, at, lm.masks) for model in (lm, reference))
        said = part.ids[at][:, None]
        nll -= float(theirs.gather(-1, said).sum())
        kl += float((ours.exp() * (ours - theirs).masked_fill(ours.isneginf(), 0.0)).sum())
        n += int(at.sum())
    if not n:
        why = "no message was a choice"
        return {name: undefined(name, why, unit="bits") for name in ("reference NLL", "reference KL")}
    found = {"reference NLL": nll, "reference KL": max(kl, 0.0)}
    return {name: measured(name, value / n / log(2), unit="bits", n=n) for name, value in found.items()}


def _chances(model: LanguageModel, part: Batch, at: Tensor, masks: Tensor) -> Tensor:
    """Return the log-probabilities [N, V] of every token where one of a message was drawn."""
    model.eval()
    logits = model.logits(model.states(part.ids[:, :-1])[at[:, 1:]])
    return logits.masked_fill(~masks[part.mask_rows[at]], -torch.inf).double().log_softmax(-1)
