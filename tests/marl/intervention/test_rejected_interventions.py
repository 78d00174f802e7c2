"""Interventions that name what is not there, or make no sense, are rejected in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from marl.errors import UserError
from marl.intervention.base import Intervention
from marl.intervention.config import parse
from marl.intervention.inject import Inject
from marl.intervention.message import Close, Drop, Replace, Rewrite, Shuffle, Swap
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import fork
from marl.scenario.world import load_world
from protocols import ProtocolError
from protocols.log import Log
from tests.marl.intervention.test_interventions import lewis
from tests.marl.worlds import one

BAD: list[tuple[Intervention, str]] = [
    (Close(channel="side"), "close: there is no channel 'side'; there are public"),
    (Drop(channel="side"), "drop: there is no channel 'side'; there are public"),
    (Drop(sender="bob"), "drop: no seat 'bob'; the seats are sender_0, receiver_0"),
    (Swap(seat="bob"), "swap: no seat 'bob'; the seats are sender_0, receiver_0"),
    (Inject(sender="sender_0", body="m0", round=0, to=("bob",)), "inject: no seat 'bob'"),
    (Inject(sender="sender_0", body="m0", round=0, channel="den"), "inject: there is no channel 'den'"),
    (Inject(sender="sender_0", body="s1", round=0), "inject: sender_0 does not say 's1'; there are m0, m1, m2, m3"),
    (Inject(sender="receiver_0", body="m1", round=0), "inject: receiver_0 does not say 'm1' or anything else"),
    (Replace(seq=2, body="m0 m9"), "replace: nobody says 'm9'; there are m0, m1, m2, m3"),
    (Rewrite(table={"m0": "m9"}), "rewrite: nobody says 'm9'"),
    (
        Shuffle.model_validate({"pool": [["e", "sender_0", "public", {"receiver_0": "m9"}]]}),
        "shuffle: sender_0 does not say 'm9'",
    ),
    (Shuffle.model_validate({"pool": [["e", "sender_0", "public", {"bob": "m1"}]]}), "shuffle: no seat 'bob'"),
]


@pytest.mark.parametrize(("do", "sentence"), BAD)
def test_unknown_seats_channels_and_words_are_rejected(do: Intervention, sentence: str) -> None:
    here, seats, _ = lewis()
    with pytest.raises(ExceptionGroup) as failed:
        one(here, Plan("e", seats, 1, do=(do,)))
    (error,) = failed.value.exceptions
    assert isinstance(error, ProtocolError)
    assert sentence in str(error)
    with pytest.raises(UserError) as refused:
        load_world({"arena": {"name": "lewis"}, "interventions": [do.model_dump(mode="json")]}, "mine.toml")
    assert str(refused.value).startswith("mine.toml: ")
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("do", "at", "sentence"),
    [
        (Drop(seq=3), 3, "drop: entry 3 of e0 is not a message; its messages are entries 2"),
        (Drop(seq=99), 99, "drop: entry 99 of e0 is not a message; its messages are entries 2"),
        (Replace(seq=2, body="m0"), 4, "replace: entry 2 of e0 is before entry 4: fork at 2"),
        (Inject(sender="sender_0", body="m0", round=0), 2, "inject: a fork needs an entry of the log"),
        (Inject(sender="sender_0", body="m0", seq=1), 2, "inject: entry 1 is not among 2 to "),
    ],
)
def test_unknown_log_entries_are_rejected(do: Intervention, at: int, sentence: str) -> None:
    here, seats, deals = lewis()
    (episode,) = collect(here, deals[:1])
    with pytest.raises(UserError) as refused:
        fork(episode.log, at, seats, do=do)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"type": "rewrite"}, "a rewrite has either a table"),
        ({"type": "rewrite", "by": "nobody"}, "there is no rewriting function 'nobody', only "),
        ({"type": "inject", "sender": "a_0", "body": "m0"}, "give one of them"),
        ({"type": "inject", "sender": "a_0", "body": "m0", "seq": 1, "round": 1}, "give one of them"),
        (
            {"type": "inject", "sender": "a_0", "body": "m0", "seq": 1, "to": ["a_0"]},
            "cannot hear a message of its own",
        ),
        ({"type": "drop", "p": 2}, "less than or equal to 1"),
        ({"type": "close"}, "channel"),
        ({"type": "explode"}, "explode"),
    ],
)
def test_contradictory_settings_are_rejected(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ProtocolError, UserError), match=sentence):
        parse(Log("e", 1, {}, {}, do=[settings]))
    with pytest.raises((ValidationError, UserError), match=sentence):
        load_world({"arena": {"name": "lewis"}, "interventions": [settings]}, "mine.toml")
