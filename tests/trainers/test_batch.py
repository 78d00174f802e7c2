"""Which tokens are trained, and with what."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from marl.context.traces import trace
from marl.episode import Episode, Finish
from marl.models.language_model import LanguageModel
from marl.policy.base import Policy
from marl.policy.scripted import Random
from marl.scenario.world import World
from tests.marl.worlds import WORLDS, lm_for, played, seated, world
from trainers.batch import Batch, collate


def numbered(episodes: list[Episode]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """An advantage that tells which decision it belongs to."""
    return np.array(
        [[100.0 * e + k + 1 for k in range(max(len(x.turns) for x in episodes))] for e in range(len(episodes))]
    )


def some(name: str, count: int = 5) -> tuple[World, LanguageModel, list[Episode]]:
    here = world(**WORLDS[name])
    lm = lm_for(here)
    return here, lm, played(here, seated(here, lm), count)


@pytest.mark.parametrize("name", WORLDS)
def test_trained_is_what_the_agent_drew_among_several_and_nothing_else(name: str) -> None:
    here, lm, episodes = some(name)
    batch = collate(lm, episodes, here.agents, numbered(episodes))
    row = 0
    for e, episode in enumerate(episodes):
        for agent in here.agents:
            path = trace(episode, agent, lm.open)
            if not path.spans:
                continue
            expected: dict[int, tuple[float, float, int]] = {}
            for start, _, index in path.spans:
                turn = episode.turns[index]
                for place, logp in enumerate(turn.sample.behavior_logprobs):
                    step = turn.spec.steps[place] if place < len(turn.spec.steps) else ()
                    options = len(step) + (place >= turn.spec.least)
                    if options > 1:
                        expected[start + place] = (logp, 100.0 * e + index + 1, turn.sample.tokens[place])
            columns = batch.trained[row].nonzero()[:, 0].tolist()
            assert columns == sorted(expected)
            for column, (logp, advantage, token) in expected.items():
                assert batch.behavior_logprobs[row, column] == pytest.approx(logp)
                assert batch.advantage[row, column] == advantage
                assert batch.ids[row, column] == token
                assert lm.masks[batch.mask_rows[row, column], token]
            assert batch.ids[row, : len(path.ids)].tolist() == list(path.ids)
            assert not batch.ids[row, len(path.ids) :].any()
            assert batch.episode[row] == e
            row += 1
    assert row == len(batch.ids)
    assert batch.tokens == int(batch.trained.sum()) > 0


def test_the_end_of_a_reply_is_trained_exactly_where_it_is_a_choice() -> None:
    here, lm, episodes = some("chat", 12)
    batch = collate(lm, episodes, here.agents, numbered(episodes))
    ends = (batch.ids == lm.eos) & batch.trained
    early = sum(len(t.words) < len(t.spec.steps) for episode in episodes for t in episode.turns if t.spec.kind == "say")
    assert int(ends.sum()) == early > 0
    assert int((batch.ids == lm.eos).sum()) == sum(len(e.turns) for e in episodes)


def test_only_the_seats_asked_for_are_laid_out() -> None:
    here, lm, episodes = some("chat", 3)
    advantage = numbered(episodes)
    whole = collate(lm, episodes, here.agents, advantage)
    parts = [collate(lm, episodes, [agent], advantage) for agent in here.agents]
    assert sum(part.tokens for part in parts) == whole.tokens
    advantages = torch.cat([part.advantage[part.trained] for part in parts])
    assert sorted(advantages.tolist()) == sorted(whole.advantage[whole.trained].tolist())
    actors = {
        agent: {100 * e + k + 1 for e, x in enumerate(episodes) for k, t in enumerate(x.turns) if t.agent == agent}
        for agent in here.agents
    }
    for agent, part in zip(here.agents, parts, strict=True):
        assert set(part.advantage[part.trained].tolist()) <= actors[agent]


def test_a_turn_that_was_not_scored_or_is_too_old_is_context_only() -> None:
    here, lm, episodes = some("repeated matrix", 2)
    advantage = numbered(episodes)
    advantage[0, 2] = np.nan
    batch = collate(lm, episodes, here.agents, advantage)
    assert batch.advantage.isfinite().all()
    assert batch.tokens == sum(len(e.turns) for e in episodes) - 1
    turns = list(episodes[1].turns)
    turns[3] = turns[3]._replace(sample=turns[3].sample._replace(version=2))
    mixed = [episodes[0], replace(episodes[1], turns=tuple(turns))]
    newer = collate(lm, mixed, here.agents, numbered(mixed), oldest=1)
    assert newer.advantage[newer.trained].tolist() == [104.0]
    assert newer.ids.shape == batch.ids.shape


def test_a_missing_reply_is_not_trained() -> None:
    here, lm, episodes = some("matrix with a deadline", 6)
    missing = sum(t.sample.finish is Finish.MISSING for e in episodes for t in e.turns)
    assert missing
    batch = collate(lm, episodes, here.agents, numbered(episodes))
    assert batch.tokens == sum(len(e.turns) for e in episodes) - missing


def test_seats_without_tokens_give_an_empty_batch() -> None:
    here = world()
    random: dict[str, Policy] = dict.fromkeys(here.agents, Random())
    episodes = played(here, random, 2)
    batch = collate(lm_for(here), episodes, here.agents, numbered(episodes))
    assert batch.tokens == len(batch.ids) == 0


def test_rows_keeps_every_trained_token_and_drops_what_stands_behind_them() -> None:
    here, lm, episodes = some("chat with a deadline", 8)
    batch = collate(lm, episodes, here.agents, numbered(episodes))
    total = 0
    for row in range(len(batch.ids)):
        one = batch.rows(torch.tensor([row]))
        total += one.tokens
        width = one.ids.shape[1]
        for field in fields(Batch):
            whole, part = getattr(batch, field.name)[row], getattr(one, field.name)[0]
            assert torch.equal(part, whole[:width] if part.ndim else whole)
        assert not one.tokens or bool(one.trained[:, -1].any())
    assert total == batch.tokens
    everything = batch.rows(torch.ones(len(batch.ids), dtype=torch.bool))
    assert everything.tokens == batch.tokens


def test_padding_is_told_by_length_and_not_by_a_token_that_looks_like_it() -> None:
    """In some vocabularies the end of a reply is token 0."""
    ids = torch.tensor([[1, 5, 0], [1, 0, 0]])
    trained = torch.tensor([[False, True, True], [False, True, False]])
    zeros = torch.zeros(2, 3)
    batch = Batch(ids, trained, zeros, zeros, ids * 0, ids * 0, trained, torch.tensor([0, 1]))
    assert batch.rows(torch.tensor([0, 1])).tokens == 3
    assert batch.rows(torch.tensor([1])).ids.tolist() == [[1, 0]]
    assert batch.rows(torch.tensor([], dtype=torch.int64)).tokens == 0
