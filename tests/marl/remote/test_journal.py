"""The journal of a host keeps replies whole, and reads journals of older versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from marl.episode import Finish, Sample
from marl.errors import UserError
from marl.policy.scripted import Random
from marl.remote.journal import Journal
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from tests.marl.rollout.test_replay_fields import FIELDS, PRICED, Carrying, assert_same
from tests.marl.test_episode import SAMPLES
from tests.marl.worlds import one, world

SEATS = {"a_0": "random"}


def reopened(path: Path, *replies: Sample | None) -> list[Sample | None]:
    path.unlink(missing_ok=True)
    journal = Journal(path, {}, SEATS)
    for reply in replies:
        journal.add("e", "a_0", reply)
    journal.close()
    again = Journal(path, {}, SEATS)
    again.close()
    return again.replies.get(("e", "a_0"), [])


@given(SAMPLES)
def test_a_reply_comes_back_whole(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> None:
    path = tmp_path_factory.getbasetemp() / "journal.jsonl"
    assert reopened(path, sample, None) == [sample, None]


def test_an_older_journal_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [
        {"journal": 1, "seats": SEATS},
        {"episode": "e", "seat": "a_0", "reply": ["m1", [5, 1], [-0.5, -0.25], 7, "length"]},
        {"episode": "e", "seat": "a_0"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal = Journal(path, {}, SEATS)
    journal.close()
    assert journal.replies["e", "a_0"] == [Sample("m1", (5, 1), (-0.5, -0.25), 7, Finish.LENGTH), None]


@pytest.mark.parametrize("reply", [["m1", [5]], {"tokens": [5]}, {"text": "m1", "finish": "late"}, 3])
def test_a_damaged_reply_is_a_sentence(tmp_path: Path, reply: object) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [{"journal": 1, "seats": SEATS}, {"episode": "e", "seat": "a_0", "reply": reply}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="line 2: not a line of a journal"):
        Journal(path, {}, SEATS)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_an_episode_from_the_journal_is_the_same(tmp_path: Path, fields: dict[str, object]) -> None:
    here = world(**PRICED)
    seats = dict.fromkeys(here.agents, Carrying(fields))
    episode = one(here, Plan("e", seats, 1))
    journal = Journal(tmp_path / "journal.jsonl", {}, dict.fromkeys(here.agents, "random"))
    for turn in episode.turns:
        journal.add("e", turn.agent, turn.sample)
    journal.close()
    again = Journal(tmp_path / "journal.jsonl", {}, dict.fromkeys(here.agents, "random"))
    again.close()
    for left in (dict.fromkeys(here.agents, Random()), seats):  # nothing is asked of those who would go on
        (played,) = collect(here, [Plan("e", again.seats("e", left), 1)])
        assert_same(played, episode)
