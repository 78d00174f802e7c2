"""Channels beside the public one, in episodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from arenas import ARENAS, Anchors, Arena, Outcome
from arenas.spec import ReplySpec, Words, from_wire, say, symbols
from arenas.testing.suite import check_arena
from marl.context.transcript import render
from marl.episode import Episode
from marl.errors import UserError
from marl.policy.scripted import Random
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from marl.scenario.config import Scenario
from marl.scenario.world import World, load_world
from marl.settings import check
from protocols import ProtocolError, log
from protocols.envelope import Kind
from tests.marl.worlds import one, raw, script, world

SIDE = {"side": {"members": ["a_0", "b_0"]}}


def heard_by(episode: Episode, agent: str) -> list[str]:
    return [render(e) for e in episode.log.view(agent) if e.kind is Kind.SAY and e.sender != agent]


def test_logs_of_schema_1_replay_to_the_byte_scenario_and_all() -> None:
    path = Path(__file__).parents[2] / "golden" / "logs" / "schema1.jsonl"
    logs = list(log.load(path))
    worlds: dict[str, World] = {}
    again = []
    for logged in logs:
        here = worlds.setdefault(str(logged.scenario), load_world(logged.scenario, "the log"))
        again.append(one(here, replay(logged)).log)
    assert log.dump(again) == path.read_bytes()


def test_members_choose_where_to_say_a_thing_and_only_they_hear_it() -> None:
    here = world(arena={"rounds": 1}, channels=SIDE)
    seats = {"a_0": script("side m0 m1", "x0"), "b_0": script("public m2", "x0"), "c_0": script("m3", "x0")}
    episode = one(here, Plan("e", seats, 1))
    assert heard_by(episode, "a_0") == ["b_0 : m2", "c_0 : m3"]
    assert heard_by(episode, "b_0") == ["a_0 side : m0 m1", "c_0 : m3"]
    assert heard_by(episode, "c_0") == ["b_0 : m2"]
    said = [e for e in episode.log.replies() if e.kind is Kind.SAY]
    assert [(e.to, e.body) for e in said] == [("side", "m0 m1"), ("*", "m2"), ("*", "m3")]
    assert [turn.legal for turn in episode.turns] == [True] * 6
    assert raw([one(here, replay(episode.log))]) == raw([episode])


def test_a_reply_without_a_channel_is_not_legal_where_there_is_a_choice() -> None:
    here = world(arena={"rounds": 1}, channels=SIDE)
    seats = {"a_0": script("m0", "x0"), "b_0": script("group m2", "x0"), "c_0": script("side m3", "x0")}
    assert [t.legal for t in one(here, Plan("e", seats, 1)).turns] == [False] * 3 + [True] * 3


def test_silence_needs_no_channel() -> None:
    here = world(arena={"rounds": 1, "least": 0}, channels=SIDE)
    episode = one(here, Plan("e", {a: script("", "x0") for a in here.agents}, 1))
    assert all(turn.legal for turn in episode.turns)
    assert raw([one(here, replay(episode.log))]) == raw([episode])


def test_an_eavesdropper_overhears_a_private_channel_and_effects_are_its_own() -> None:
    effects = [{"type": "eavesdrop", "seat": "c_0"}, {"type": "loss", "p": 1.0}]
    here = world(arena={"rounds": 1}, channels={"side": {"members": ["a_0", "b_0"], "effects": effects}})
    seats = {"a_0": script("side m0", "x0"), "b_0": script("public m1", "x0"), "c_0": script("m2", "x0")}
    episode = one(here, Plan("e", seats, 1))
    assert heard_by(episode, "b_0") == ["c_0 : m2"]
    assert heard_by(episode, "c_0") == ["a_0 side : m0", "b_0 : m1"]


def test_both_copies_of_a_doubled_message_arrive() -> None:
    here = world(arena={"players": 2, "rounds": 1}, channel=[{"type": "duplicate", "p": 1.0}])
    episode = one(here, Plan("e", {"a_0": script("m0", "x0"), "b_0": script("m1", "x0")}, 1))
    assert heard_by(episode, "b_0") == ["a_0 : m0"] * 2
    assert episode.drift == 0  # the bus brought nothing twice
    assert len({e.id for e in episode.log.view("b_0")}) == len(episode.log.view("b_0"))


@pytest.mark.parametrize(
    ("budget", "lengths"),
    [
        ({"symbols": 2}, [2, 2, 2]),
        ({"symbols": 5, "per": "episode"}, [3, 2, 0]),
        ({"symbols": 2, "per": "turn"}, [2, 2, 2]),
        ({"messages": 2, "per": "episode"}, [3, 3, 0]),
    ],
)
def test_budgets_over_an_episode(budget: dict[str, Any], lengths: list[int]) -> None:
    here = world(arena={"players": 2, "rounds": 3}, channel=[{"type": "budget", **budget}])
    lines = ("m0 m1 m2", "x0") * 3
    episode = one(here, Plan("e", {a: script(*lines) for a in here.agents}, 1))
    assert [len(e.body.split()) for e in episode.log.view("b_0") if e.kind is Kind.SAY and e.sender == "a_0"] == lengths


def test_on_a_closed_channel_everything_is_lost_and_nothing_else_changes() -> None:
    lines = dict.fromkeys(("a_0", "b_0", "c_0"), ("m0 m1", "x0"))
    open_, closed = (world(arena={"rounds": 1}, closed=names) for names in ([], ["public"]))
    first, second = (one(w, Plan("e", {a: script(*s) for a, s in lines.items()}, 1)) for w in (open_, closed))
    assert [heard_by(second, a) for a in second.agents] == [[], [], []]
    assert [e.envelope.body for e in first.log.entries] == [e.envelope.body for e in second.log.entries]
    assert {h.body for e in second.log.entries for h in e.heard} == {None}


def test_a_graph_that_changes_by_round() -> None:
    graphs = [{"type": "edges", "edges": [["a_0", "b_0"]]}, {"type": "edges", "edges": [["b_0", "a_0"]]}]
    here = world(
        arena={"players": 2, "rounds": 2}, topology={"type": "changing", "graphs": graphs, "every": 2}
    )  # a round of `chat` has two stages
    episode = one(here, Plan("e", {a: script(*("m0", "x0") * 2) for a in here.agents}, 1))
    assert [heard_by(episode, a) for a in here.agents] == [["b_0 : m0"], ["a_0 : m0"]]


class Whisper(Arena):
    """Rules with a private channel: a_0 speaks there, and may choose to speak in public instead."""

    metadata = Arena.metadata | {"name": "whisper_v0"}
    cases = 2

    def __init__(self) -> None:
        words = symbols("m", 2)
        specs = {"a_0": say(words, 1, channels=("den", "public")), "b_0": say(words, 2, channels=("den",))}
        super().__init__({**specs, "c_0": say(words, 1)}, channels={"den": ("a_0", "b_0")})

    def lay(self, case: int) -> None:
        pass

    def acting(self) -> tuple[str, ...]:
        return tuple(self.possible_agents)

    def view(self, agent: str) -> str:
        return ""

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        return Outcome(dict.fromkeys(self.possible_agents, float(replies["a_0"][0] == "den")), done=True)

    def anchors(self) -> Anchors:
        return Anchors(0.5, 1.0, 1.0)


def test_channels_of_an_arenas_own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    check_arena(Whisper)
    monkeypatch.setitem(ARENAS, "whisper", Whisper)
    here = world("whisper", channels={"den": {"effects": [{"type": "rewrite", "table": {"m0": "m1"}}]}})
    episode = one(here, Plan("e", {"a_0": script("den m0"), "b_0": script("m0 m0"), "c_0": script("m0")}, 1))
    assert [turn.legal for turn in episode.turns] == [True] * 3
    assert [heard_by(episode, a) for a in here.agents] == [
        ["b_0 den : m1 m1", "c_0 : m0"],
        ["a_0 den : m1", "c_0 : m0"],
        [],
    ]
    assert episode.score == 1.0  # the rules see the channel that was chosen
    assert raw([one(here, replay(episode.log))]) == raw([episode])


def test_a_spec_with_channels_survives_the_wire_and_takes_its_text_apart() -> None:
    for spec in (say(("m0",), 2, channels=("den", "public")), say(("m0",), 2, 0, ("den", "public")), say(("m0",), 1)):
        assert from_wire(spec.wire) == spec
        for index in range(spec.size):
            words = spec.words(index)
            channel, said = spec.route(words)
            assert spec.parse(spec.text(channel, " ".join(said))) is not None
            assert spec.route(spec.parse(spec.text(channel, " ".join(said))) or ()) == (channel, said)
            assert all(word in spec.symbols for word in said)


def test_messages_that_are_never_routed_cost_no_word() -> None:
    here = world()
    assert here.vocabulary == here.arena.vocabulary
    assert "channels" not in here.scenario.wire
    assert "closed" not in here.scenario.wire
    spec = here.arena.replies["a_0"][0]
    assert here.reply_spec("a_0", spec) is spec
    assert set(world(channels=SIDE).vocabulary) - set(here.vocabulary) == {"public", "side"}
    assert world(channel=[{"type": "erasure", "p": 0.5}]).vocabulary == (*here.vocabulary, "_")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"channels": {"side": {"members": ["a_0", "eve_0"]}}},
            "channel side: no seat 'eve_0'; the seats are a_0, b_0",
        ),
        ({"channels": {"side": {"members": ["a_0", "a_0"]}}}, "channel side: a member is named twice"),
        ({"channels": {"a_0": {}}}, "channel a_0: a seat has this name"),
        ({"channels": {"public": {}}}, "channel public: set its effects in scenario.channel"),
        ({"channels": {"a b": {}}}, "'a b' cannot be a name"),
        (
            {"channels": {"side": {"members": ["a_0"], "topology": {"type": "edges", "edges": [["a_0", "c_0"]]}}}},
            "channel side: topology: no seat 'c_0'; the seats are a_0",
        ),
        ({"channel": [{"type": "eavesdrop", "seat": "eve_0"}]}, "channel public: no seat 'eve_0'"),
        ({"closed": ["side"]}, "there is no channel 'side' to close; there are public"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ProtocolError) as error:
        world(**settings)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"channels": {"side": {"membres": []}}},
            "my.toml: there is no setting channels.side.membres; did you mean members?",
        ),
        (
            {"channel": [{"type": "budget"}]},
            "my.toml: channel.0.budget: a budget needs a limit: give symbols or messages",
        ),
        (
            {"topology": {"type": "graphml", "path": "none.graphml"}},
            "topology: none.graphml: No such file or directory",
        ),
    ],
)
def test_a_misspelt_setting_is_said_in_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        check(Scenario, {"arena": {"name": "lewis"}, **settings}, "my.toml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_random_agents_play_on_every_channel() -> None:
    here = world(arena={"rounds": 2, "least": 0}, channels={**SIDE, "group": {}})
    episodes = collect(here, [Plan(f"e{i}", dict.fromkeys(here.agents, Random()), 1) for i in range(32)])
    used = {e.to for episode in episodes for e in episode.log.replies() if e.kind is Kind.SAY}
    assert used == {"*", "side", "group", ""}  # silence is on no channel
    assert all(turn.legal for episode in episodes for turn in episode.turns)


def test_routed_specs_are_said_for_people() -> None:
    spec: ReplySpec = say(("m0", "m1"), 1, channels=("den", "public"))
    assert spec.describe() == "says 2 words: den|public, then m0|m1"
