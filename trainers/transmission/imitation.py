"""Learning replies from episodes that others played: cross-entropy, without rewards.

L = -1/n sum_t log pi(a_t | s_t) over the n tokens that the seats' players replied, under the masks of their reply specs
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
    """Lay out what seats perceived and replied, in the tokens of the model that is to learn it.

    Who played does not matter: a script, a person, another model. Replies that were missing or not legal are no lesson.
    """
    told = [_retold(lm, episode) for episode in episodes]
    taught = np.full((len(told), max((len(episode.turns) for episode in told), default=1)), NOT_TAUGHT)
    for e, episode in enumerate(told):
        for k, turn in enumerate(episode.turns):
            if turn.legal and turn.sample.tokens:
                taught[e, k] = 1.0
    return collate(lm, told, seats, taught)


def _retold(lm: LanguageModel, episode: Episode) -> Episode:
    """Return an episode whose replies are tokens of this model, as it would have drawn them."""

    def turn(given: Turn) -> Turn:
        words = given.spec.parse(given.sample.text) if given.legal else None
        if words is None:
            return given._replace(legal=False, sample=Sample(given.sample.text))
        told = given.sample.tokens or (*lm.encode(given.sample.text, said=True), lm.eos)
        tokens = told if given.spec.free else lm.written(words)
        return given._replace(sample=Sample(given.sample.text, tokens, (0.0,) * len(tokens)))

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
    """Take optimizer steps on lessons, and return the last step's loss; nan where there is nothing to learn.

    Args:
        lm: learns.
        batch: what `lessons` returned for this model.
        steps: how many at most.
        seed: of the draws of lessons, `size` transcripts a step with replacement.
        size: transcripts of a step.
        lr: step size of Adam.
        after: is told the number of each step that was made; to end, it returns False.
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
