"""Imitation learning from recorded episodes: cross-entropy on replies, without rewards.

L = -1/n sum_t log pi(a_t | s_t) over the n tokens of the seats' replies, under the masks of their reply specs
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from marl.episode import Episode, Sample, Turn
from marl.models.language_model import LanguageModel
from protocols.draws import key
from trainers.batch import Batch, collate

NOT_TAUGHT: Final = float("nan")


def lessons(lm: LanguageModel, episodes: Sequence[Episode], seats: Collection[str]) -> Batch:
    """Collate the perceptions and replies of seats, in the tokens of the model that is to imitate them.

    Any player will do: a script, a person, another model. Missing and illegal replies are not trained.
    """
    retold = [_retold(lm, episode) for episode in episodes]
    taught = np.full((len(retold), max((len(episode.turns) for episode in retold), default=1)), NOT_TAUGHT)
    for e, episode in enumerate(retold):
        for k, turn in enumerate(episode.turns):
            if turn.legal and turn.sample.tokens:
                taught[e, k] = 1.0
    return collate(lm, retold, seats, taught)


def _retold(lm: LanguageModel, episode: Episode) -> Episode:
    """Re-encode an episode's replies as tokens of this model, as it would have sampled them."""

    def turn(original: Turn) -> Turn:
        words = original.spec.parse(original.sample.text) if original.legal else None
        if words is None:
            return original._replace(legal=False, sample=Sample(original.sample.text))
        tokens_drawn = original.sample.tokens or (*lm.encode(original.sample.text, said=True), lm.eos)
        tokens = tokens_drawn if original.spec.free else lm.written(words)
        return original._replace(sample=Sample(original.sample.text, tokens, (0.0,) * len(tokens)))

    return replace(episode, turns=tuple(map(turn, episode.turns)))


def imitate(
    lm: LanguageModel,
    batch: Batch,
    *,
    steps: int,
    seed: int,
    size: int = 64,
    lr: float = 1e-3,
    after: Callable[[int], bool] = lambda step: True,
) -> float:
    """Minimise the cross-entropy of lessons with Adam; return the last step's loss, NaN without a trained token.

    Args:
        lm: model to train.
        batch: result of `lessons` for this model.
        steps: maximum number of optimizer steps.
        seed: of the draws of lessons, `size` transcripts a step with replacement.
        size: transcripts of a step.
        lr: step size of Adam.
        after: called with the number of each finished step; returns False to stop.
    """
    if not batch.tokens:
        return float("nan")
    optimizer = torch.optim.Adam(lm.model.parameters(), lr=lr)
    loss = float("nan")
    for step in range(1, steps + 1):
        lm.train()
        drawn = np.random.default_rng(key(seed, "lesson", step)).integers(len(batch.ids), size=size)
        part = batch.rows(torch.from_numpy(drawn).to(batch.ids.device))
        at = part.trained
        if at.any():
            logp, _ = lm.score(part.ids, at, part.mask_rows[at])
            error = -logp.mean()
            error.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(lm.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss = float(error.detach())
        if not after(step):
            break
    return loss
