"""Language drift: how far a policy's messages have moved from a frozen reference model, such as its base.

    NLL = -1/n sum_t log pi_ref(m_t | s_t)          KL = 1/n sum_t sum_a pi(a | s_t) log [pi(a | s_t) / pi_ref(a | s_t)]

over the n tokens of messages that were a choice, both under the masks of their reply specs (structural drift: Lazaridou
et al. 2020). A rising NLL means messages that the reference would not say; the measures of the study tell whether they
keep their meaning.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import log
from typing import Literal

import torch
from torch import Tensor

from marl.episode import Episode
from marl.errors import UserError
from marl.evaluation import evaluate
from marl.metrics.measure import Measure, measured, undefined
from marl.models.chat_model import ChatModel
from marl.models.language_model import MAX_LOGITS_PER_PART, LanguageModel
from marl.models.pretrained import policies
from marl.policy.config import HfPolicy
from marl.rundir import load
from marl.rundir.load import Trained
from marl.settings import check, read_toml
from trainers.batch import Batch
from trainers.transmission.imitation import lessons

ROWS = 64
"""Transcripts per forward pass."""


def from_base(
    run: Trained, episodes: Sequence[Episode] | None = None, *, on: Literal["said", "all"] = "said"
) -> dict[str, dict[str, Measure]]:
    """Measure the drift of a run's policies from their pretrained base model.

    Args:
        run: one with `policy.hf`.
        episodes: episodes of its policies; by default those of an evaluation, every reply greedy.
        on: messages alone, or all replies, which include texts that are moves, as in `writing`.

    Returns the measures of `drift`, seat by seat. Raises UserError for a run of models from scratch.
    """
    if not load.pretrained(run):
        raise UserError(f"{run.dir.path}: its policies began from scratch, so there is no model they drifted from")
    settings = check(HfPolicy, read_toml(run.dir.config)["policy"], str(run.dir.config))
    played = evaluate.run(run.world, run.seats, run.seed) if episodes is None else episodes
    base: LanguageModel | None = None
    measures = {}
    for seat, lm in load.models(run).items():
        if isinstance(lm, ChatModel) and lm.adapter is not None:
            base = ChatModel(lm.base, None, lm.about, lm.settings)
        else:  # all weights were trained: load the base model again
            base = base or policies(settings, ["reference"], run.world.about)["reference"]
        measures[seat] = drift(lm, base, played, [seat], on=on)
    return measures


@torch.inference_mode()
def drift(
    lm: LanguageModel,
    reference: LanguageModel,
    episodes: Sequence[Episode],
    seats: Collection[str],
    *,
    on: Literal["said", "all"] = "said",
) -> dict[str, Measure]:
    """Measure the drift of the messages of some seats, in bits per token.

    Args:
        lm: the policy of the seats.
        reference: a frozen model with the same tokens.
        episodes: episodes played; greedy play shows less of a policy's spread in the NLL than sampled play.
        seats: whose messages count.
        on: messages alone, or all replies.

    Raises UserError for a reference with other tokens.
    """
    if lm.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
        raise UserError("the reference has other tokens than the policy: take a model with the same tokenizer")
    batch = lessons(lm, episodes, seats)
    nll, kl, n = 0.0, 0.0, 0
    for first in range(0, len(batch.ids), ROWS):
        part = batch.rows(torch.arange(first, min(first + ROWS, len(batch.ids)), device=batch.ids.device))
        at = part.trained & part.said if on == "said" else part.trained
        if not at.any():
            continue
        before = [_states(model, part, at) for model in (lm, reference)]
        drawn, rows = part.ids[at], part.mask_rows[at]
        for some in torch.split(
            torch.arange(len(drawn), device=drawn.device), max(MAX_LOGITS_PER_PART // lm.masks.shape[1], 1)
        ):
            allowed = lm.masks[rows[some]]
            ours, theirs = (
                _chances(model, states[some], allowed) for model, states in zip((lm, reference), before, strict=True)
            )
            nll -= float(theirs.gather(-1, drawn[some][:, None]).sum())
            kl += float((ours.exp() * (ours - theirs).masked_fill(ours.isneginf(), 0.0)).sum())
            n += len(some)
    if not n:
        why = "no message was a choice" if on == "said" else "no reply was a choice"
        return {name: undefined(name, why, unit="bits") for name in ("reference NLL", "reference KL")}
    totals = {"reference NLL": nll, "reference KL": max(kl, 0.0)}
    return {name: measured(name, value / n / log(2), unit="bits", n=n) for name, value in totals.items()}


def _states(model: LanguageModel, part: Batch, at: Tensor) -> Tensor:
    """Return the hidden states [N, d] from which each token of a message was sampled."""
    model.eval()
    return model.states_at(part.ids[:, :-1], at[:, 1:])


def _chances(model: LanguageModel, states: Tensor, allowed: Tensor) -> Tensor:
    """Return the log-probabilities [N, V] of every token after states [N, d]."""
    with model.autocast():
        logits = model.logits(states)
    return logits.masked_fill(~allowed, -torch.inf).double().log_softmax(-1)
