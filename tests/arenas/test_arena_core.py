"""PettingZoo's books under the rules: what is seen, heard, legal, paid and ended."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

import arenas
from arenas import Anchors, Arena, ArenaError, Outcome
from arenas.spec import Words, choose, say


class Countdown(Arena):
    """Both talk or are silent, then player_1 alone moves; after two such rounds time is up."""

    metadata = Arena.metadata | {"name": "countdown_v0"}

    def __init__(self, view_words: int = 32) -> None:
        talk, move = say(("x", "y"), 2, least=0), choose(("left", "right", "stay", "up", "down", "in", "out", "off"))
        super().__init__({"player_0": talk, "player_1": (talk, move)}, ("talk", "move"), view_words)

    def deal(self, rng: np.random.Generator, split: str) -> None:
        self.turn = 0

    def acting(self) -> tuple[str, ...]:
        return ("player_1",) if self.turn % 2 else ("player_0", "player_1")

    def spec(self, agent: str) -> arenas.ReplySpec:
        return self.replies[agent][self.turn % 2]

    def view(self, agent: str) -> str:
        return "move" if self.turn % 2 else "talk"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        self.turn += 1
        return Outcome({"player_1": 0.5}, done=self.turn == 4, truncated=True)

    def anchors(self) -> Anchors:
        return Anchors(1.0, 1.0, 1.0)


def started() -> Countdown:
    arena = Countdown()
    arena.reset(seed=3)
    return arena


def text(arena: Arena, agent: str) -> str:
    return str(arena.observe(agent)["text"])


def test_what_is_said_at_once_is_heard_by_the_others_after_the_stage() -> None:
    arena = started()
    arena.step(6)
    assert (text(arena, "player_0"), text(arena, "player_1")) == ("talk", "talk"), "nothing leaks within a stage"
    arena.step(1)
    assert text(arena, "player_0") == "player_1 : x"
    assert text(arena, "player_1") == "player_0 : y y move"


def test_mask_covers_the_present_spec() -> None:
    arena = started()
    assert arena.observe("player_0")["action_mask"].tolist() == [1] * 7
    assert arena.observe("player_1")["action_mask"].tolist() == [1] * 7 + [0]
    arena.step(0)
    arena.step(0)
    assert arena.observe("player_1")["action_mask"].tolist() == [1] * 8
    assert arena.observe("player_0")["action_mask"].tolist() == [1] + [0] * 6, "who is not asked has one action"


def test_ids_are_the_words_and_zero_pads() -> None:
    arena = started()
    ids = arena.observe("player_0")["observation"]
    assert [arena.vocabulary[i - 1] for i in ids if i] == ["talk"]
    assert not ids[1:].any()


@pytest.mark.parametrize("action", [None, -1, 7, 10**9])
def test_an_illegal_action_is_an_outcome(action: int | None) -> None:
    arena = started()
    arena.step(action)
    assert arena.infos["player_0"] == {"illegal": True}
    arena.step(1)
    assert arena.infos["player_1"] == {}
    assert text(arena, "player_1") == "player_0 : move"


def test_rewards_accumulate_and_a_time_limit_truncates() -> None:
    arena = started()
    for _ in range(6):
        assert not any(arena.truncations.values())
        arena.step(0)
    assert arena.truncations == {"player_0": True, "player_1": True}
    assert arena.terminations == {"player_0": False, "player_1": False}
    assert arena.rewards == {"player_0": 0.0, "player_1": 0.5}
    assert arena.render() == "\nplayer_0: player_1 : player_1 : | talk\nplayer_1: player_0 : player_0 : | talk"


def test_a_lewis_game_terminates_and_pays_both() -> None:
    arena = arenas.make("lewis")
    arena.reset(options={"case": 2})
    assert arena.render() == "state s2\nsender_0:  | state s2"
    arena.step(1)
    arena.step(2)
    assert arena.rewards == {"sender_0": 1.0, "receiver_0": 1.0}
    assert all(arena.terminations.values())
    assert not any(arena.truncations.values())


def test_begin_is_decided_by_seed_case_and_split() -> None:
    arena = arenas.make("reference")
    laid = []
    for seed, case in [(1, None), (1, None), (2, None), (1, 5), (1, 5)]:
        arena.begin(seed, case=case)
        laid.append(arena.hidden())
    assert laid[0] == laid[1] != laid[2]
    assert laid[3] == laid[4]


def test_without_a_seed_the_episodes_go_on_from_the_last() -> None:
    arena, again = arenas.make("lewis", n=1000), arenas.make("lewis", n=1000)
    arena.begin(4)
    again.begin(4)
    hidden = []
    for _ in range(5):
        arena.begin()
        again.begin()
        assert arena.hidden() == again.hidden()
        hidden.append(arena.hidden())
    assert len(set(hidden)) > 1


def test_what_cannot_be_begun() -> None:
    with pytest.raises(ArenaError, match="lewis has deals 0 to 3, so not 4"):
        arenas.make("lewis").begin(case=4)
    with pytest.raises(ArenaError, match="lewis has no deals called 'test'; it has train"):
        arenas.make("lewis").begin(split="test")
    with pytest.raises(ArenaError, match="countdown cannot number its deals: leave `case` out"):
        Arena.lay(Countdown(), 0)


def test_words_that_do_not_fit() -> None:
    arena = Countdown(view_words=3)
    with pytest.raises(ArenaError, match="countdown: 4 words do not fit; give view_words=4 or more"):
        arena.encode("talk talk talk talk")
    with pytest.raises(ArenaError, match="countdown: add 'shout' to the arena's words"):
        arena.encode("shout")


def test_a_spec_too_large_for_pettingzoo_still_plays() -> None:
    arena = arenas.make("reconstruction", attributes=12, values=10)
    arena.begin(0)
    arena.advance({"speaker_0": None})
    assert arena.advance({"listener_0": ("a1",) * 12}).done
    with pytest.raises(ArenaError, match=r"has 1000000000000 different replies, and .* holds 1048576"):
        arena.action_space("listener_0")


def test_communication_gain() -> None:
    assert Anchors(0.1, 0.2, 1.0).communication_gain(0.6) == pytest.approx(0.5)
    assert Anchors(0.1, 1.0, 1.0).communication_gain(0.6) is None
