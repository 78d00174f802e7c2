"""Arenas that are broken in one way each, and what check_arena says about it."""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from arenas import Anchors, Arena, ArenaError, Outcome
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose, say
from arenas.testing.suite import check_arena, transcript


class Coin(Arena):
    """player_0 sees heads or tails and says one or two words; player_1 names the side. Both get 1 if it is right."""

    metadata = Arena.metadata | {"name": "coin_v0"}
    cases = 2

    def __init__(self, view_words: int = 8) -> None:
        specs = {"player_0": say(("x", "y"), 2, least=1), "player_1": choose(("heads", "tails"))}
        super().__init__(specs, ("side", "which"), view_words)

    def lay(self, case: int) -> None:
        self.truth = ("heads", "tails")[case]
        self.turn = 0

    def acting(self) -> tuple[str, ...]:
        return (f"player_{min(self.turn, 1)}",)

    def view(self, agent: str) -> str:
        return f"side {self.truth}" if agent == "player_0" else "which"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        self.turn += 1
        if self.turn < 2:
            return Outcome()
        return Outcome(dict.fromkeys(self.possible_agents, float(replies["player_1"] == (self.truth,))), done=True)

    def hidden(self) -> str:
        return f"side {self.truth}"

    def anchors(self) -> Anchors:
        return Anchors(0.5, 0.5, 1.0)


class OddSpec(ReplySpec):
    """Equal to nothing that comes from the wire."""


def alice(self: Coin) -> None:
    Coin.__init__(self)
    self.possible_agents = ["Alice", "player_1"]


def umlaut(self: Coin) -> None:
    Coin.__init__(self)
    self.vocabulary = (*self.vocabulary, "Münze")


def hide_last(self: Any, case: int) -> None:
    Coin.lay(self, case)
    self.last = ()


def speak_with(spec: ReplySpec) -> dict[str, Any]:
    return {"spec": lambda self, agent: spec if agent == "player_0" else Coin.spec(self, agent)}


def listen_to_second_word(self: Coin, replies: Mapping[str, Words]) -> Outcome:
    if "player_0" in replies:
        assert replies["player_0"][1] in ("x", "y")
    return Coin.resolve(self, replies)


def pay(rewards: dict[str, float]) -> dict[str, Any]:
    return {"resolve": lambda self, replies: Outcome(rewards, Coin.resolve(self, replies).done)}


def go_on(self: Coin, replies: Mapping[str, Words]) -> Outcome:
    self.turn = 0
    return Outcome()


def trust(self: Coin, replies: dict[str, Words]) -> Outcome:
    return self.resolve({agent: tuple(reply) for agent, reply in replies.items()})


def trust_action(self: Coin, action: int | None) -> None:
    if action is not None:
        self.spec(self.agent_selection).words(action)
    Coin.step(self, action)


def seed_all(self: Coin, seed: int | None = None, **options: Any) -> None:
    random.seed(seed)
    Coin.begin(self, seed, **options)


def toss_late(self: Coin, replies: Mapping[str, Words]) -> Outcome:
    if "player_1" in replies:
        self.truth = random.choice(["heads", "tails"])
    return Coin.resolve(self, replies)


def remember(self: Any, replies: Mapping[str, Words]) -> Outcome:
    self.past += 1
    return Coin.resolve(self, replies)


def warn(self: Coin) -> Any:
    warnings.warn("States are different shapes", stacklevel=2)
    return Coin.state(self)


def with_words(*words: str) -> Any:
    return lambda self: Arena.__init__(self, Coin().replies, ("side", "which", *words), 8)


def member(name: str) -> Any:
    specs = {"player_0": say(("x",), 1, channels=("den",)), "player_1": choose(("heads", "tails"))}
    return lambda self: Arena.__init__(self, specs, ("side", "which"), 8, {"den": (name,)})


def large(self: Coin) -> None:
    Arena.__init__(self, {"player_0": say(("x", "y"), 30), "player_1": choose(("heads", "tails"))}, ("side", "which"))


def scripted(**scripts: Script) -> dict[str, Any]:
    return {"scripts": lambda self: scripts}


def heads(memory: Memory) -> Words:
    return memory.spec.words(0)


flips = itertools.count()
NAME = 'Broken: give it metadata = Arena.metadata .* {"name": "..._v0"}, not '
ACTING = r"acting\(\) must name at least one agent, in seat order \(player_0, player_1\), each once, not \["
UNANNOUNCED = (
    r"spec\('player_0'\) is larger than those that __init__ declared; name every spec it may return in `replies`"
)

BROKEN: list[tuple[dict[str, Any], str]] = [
    # description
    ({"rules": " "}, "give Broken rules in words"),
    ({"metadata": {"name": "coin"}}, NAME + "'coin'"),
    ({"metadata": {"name": "arena_v0"}}, NAME + "'arena_v0'"),
    ({"metadata": {}}, NAME + "''"),
    ({"__init__": alice}, "name the agent 'Alice' after its role and a number, such as player_0"),
    # anchors
    ({"anchors": lambda self: Anchors(0, float("nan"), 1)}, "give a finite number for the anchor silent, not nan"),
    ({"anchors": lambda self: Anchors(0, 0, float("inf"))}, "give a finite number for the anchor full, not inf"),
    ({"anchors": lambda self: Anchors(0, 0, 1, -float("inf"))}, "finite number for the anchor equilibrium, not -inf"),
    ({"anchors": lambda self: Anchors(2, 0, 1)}, "the anchor random = 2 is above full = 1, so one is wrong"),
    ({"anchors": lambda self: Anchors(0, 1.5, 1)}, "the anchor silent = 1.5 is above full = 1, so one is wrong"),
    ({"anchors": lambda self: self.truth}, r"anchors\(\) raised AttributeError.*; it must work right after __init__"),
    ({"__init__": lambda self: self.turn}, r"Broken: __init__ raised AttributeError.*; it must work without arguments"),
    ({"__init__": lambda self: None}, r"Broken: __init__ must call super\(\).__init__ with the seats' reply specs"),
    ({"tags": "mixed"}, r"tags must be a tuple of words, such as \(\"cooperative\",\), not 'mixed'"),
    ({"__init__": with_words("a word")}, "'a word' among its words is not one word; list each by itself"),
    (
        {"__init__": member("player_2")},
        "the channel den has the member 'player_2', who is not an agent; choose from",
    ),
    (
        {"__init__": member("player_1")},
        r"player_0 speaks on the channel den and is not a member; name it in channels=",
    ),
    # scripts
    ({"scripts": lambda self: self.past}, r"scripts\(\) raised AttributeError.*; it must work right after __init__"),
    (scripted(clever=heads), "a script is named one of silent, best, full, equilibrium, not 'clever'"),
    (scripted(full=lambda memory: ("z",)), "the script 'full' raised ArenaError.*replied 'z'; it .*; it must reply to"),
    (scripted(full=heads), "the script 'full' scores 0.5 on average, and the anchor full is 1.0; fix one of them"),
    (scripted(equilibrium=heads), "the anchor equilibrium is None; fix one of them"),
    # ranges
    ({"ranges": {"n": (1, 2)}}, "Broken: ranges names 'n', which __init__ does not take; it takes view_words"),
    ({"ranges": {"view_words": (9, 20)}}, "range of view_words is 9 to 20, and its default 8 is not a whole number"),
    (
        {"ranges": {"view_words": (4, 20)}},
        "Broken: view_words=4 is within ranges, and yet coin: 5 words do not fit; .*; narrow the range, or make",
    ),
    # deals
    ({"splits": lambda self: {"test": [0]}}, r'splits\(\) must have a "train"'),
    ({"splits": lambda self: {"train": [0], "test": []}}, "the split 'test' is empty; leave it out"),
    ({"splits": lambda self: {"train": [0, 2]}}, "the split 'train' has deal 2, not one of 0 to 1; fix splits"),
    ({"splits": lambda self: {"train": range(-1, 2)}}, "the split 'train' has deal -1"),
    ({"splits": lambda self: {"train": range(1 << 40)}}, "the split 'train' has deal 1099511627775"),
    ({"splits": lambda self: {"train": [0], "test": [1, 0]}}, "deal 0 is in the splits 'train' and 'test'"),
    ({"cases": 3, "splits": lambda self: {"train": [0]}}, r"lay\(2\) raised IndexError.* every case from 0 to 2"),
    (
        {"lay": lambda self, case: Coin.lay(self, (case + next(flips)) % 2)},
        r"deal \d with the same seed was laid in two ways; draw only from self._rng",
    ),
    ({"lay": hide_last}, "self.last hides a method; name it otherwise"),
    (
        {"anchors": lambda self: Anchors(0, 0, 1, values=(1.0,))},
        r"the anchors' values are one finite number for each of the 2 seats, not \(1.0,\)",
    ),
    # stages
    ({"acting": lambda self: () if self.turn else ("player_0",)}, r"acting\(\) names no agent; name one, or let"),
    ({"acting": lambda self: ("player_1", "player_0")}, ACTING),
    ({"acting": lambda self: ("player_0", "player_0")}, ACTING),
    ({"acting": lambda self: ("player_2",)}, ACTING),
    ({"metadata": Coin.metadata | {"is_parallelizable": True}}, "all agents reply in every stage, and they do not"),
    ({"view": lambda self, agent: "look"}, "coin: add 'look' to the arena's words"),
    ({"hidden": lambda self: "secret"}, "coin: add 'secret' to the arena's words"),
    ({"__init__": lambda self: Coin.__init__(self, 4)}, "coin: 5 words do not fit; give view_words=5 or more"),
    (
        {"view": lambda self, agent: str(self._rng.choice(["side", "which", "heads", "tails"]))},
        r"view\('player_\d'\) changes when asked twice; draw in lay\(\) or deal\(\)",
    ),
    ({"view": lambda self, agent: " which"}, r"view\('player_\d'\) is ' which'; put one space between its words"),
    ({"__init__": large}, "coin: player_0 has 1073741824 different replies, and PettingZoo's .*; make its options"),
    ({"view": lambda self, agent: {"player_0": "side"}[agent]}, r"view\('player_1'\) raised KeyError"),
    ({"__init__": umlaut, "view": lambda self, agent: "Münze"}, "does not fit its observation space; use printable"),
    ({"hidden": lambda self: ("side", "side")[self.turn]}, r"hidden\(\) after the end raised IndexError.* the critic"),
    # replies
    (speak_with(choose(("x", "z"))), UNANNOUNCED),
    (speak_with(say(("x", "y"), 3)), UNANNOUNCED),
    (speak_with(OddSpec((("x", "y"),), "say")), r"spec\('player_0'\) changes on the wire; build it from say, choose"),
    ({"resolve": listen_to_second_word}, r"the reply of player_0 raised IndexError.* must take every reply that spec"),
    (pay({"player_0": float("nan")}), r"resolve\(\) paid player_0 nan; make every reward a finite number"),
    (
        {"resolve": lambda self, replies: replace(Coin.resolve(self, replies), truncated=True)},
        r"resolve\(\) returned truncated without done; an episode that is cut off is Outcome\(..., done=True",
    ),
    (pay({"alice": 1.0}), r"resolve\(\) paid 'alice', who is not an agent of the arena; fix its rewards"),
    ({"resolve": go_on}, r"no end after 50 turns; let resolve\(\) return Outcome\(done=True, truncated=True\) at a"),
    ({"advance": trust}, r"advance\({'player_0': None}\) raised TypeError.*; resolve\(\) must take a default reply"),
    ({"step": trust_action}, r"step\(\d\) raised ArenaError.*; an illegal action must count as no reply"),
    # seeds
    (
        {"deal": lambda self, rng, split: self.lay(random.randrange(2))},
        r"gave two different episodes; draw only from the rng that deal\(\) is given, or self._rng",
    ),
    ({"begin": seed_all, "resolve": toss_late}, "another episode beside a second arena; share no state and no global"),
    (
        {"past": 0, "resolve": remember, "lay": lambda self, case: Coin.lay(self, (case + self.past // 2) % 2)},
        r"gave another episode in a used arena; set everything anew in deal\(\) or lay\(\)",
    ),
    # what PettingZoo finds
    (
        {"action_space": lambda self, agent: type(self.action_spaces[agent])(self.action_spaces[agent].n)},
        "PettingZoo's api_test raised AssertionError.*exact same space object.*; fix what it names",
    ),
]


@pytest.mark.parametrize(("members", "message"), BROKEN, ids=[message[:40] for _, message in BROKEN])
def test_complaint(members: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arenas.testing.suite.MAX_TURNS", 50)
    random.seed(0)
    broken = type("Broken", (Coin,), {"__doc__": "A coin."} | members)
    with pytest.raises(ArenaError, match=message) as caught:
        check_arena(broken)
    assert str(caught.value).startswith(("coin: ", "Broken: ")), "it names the arena"
    assert "\n" not in str(caught.value)


def test_what_is_not_written_yet_is_named() -> None:
    class Half(Arena):
        """Only half of an arena."""

        def acting(self) -> tuple[str, ...]:
            return ()

    with pytest.raises(ArenaError, match=r"Half lacks anchors\(\), resolve\(\), view\(\): write what is missing"):
        check_arena(Half)  # type: ignore[arg-type]
    with pytest.raises(ArenaError, match="check_arena needs what builds an Arena, and this built a dict"):
        check_arena(dict)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:States are different shapes")
def test_what_pettingzoo_warns_of_is_a_complaint_too() -> None:
    broken = type("Broken", (Coin,), {"__doc__": "A coin.", "state": warn})
    with pytest.raises(ArenaError, match=r"PettingZoo's state_test raised UserWarning.*States are different shapes"):
        check_arena(broken)


@pytest.mark.parametrize("seed", [0, 12345])
def test_a_sound_arena_passes(seed: int) -> None:
    check_arena(Coin, seed=seed)


def test_transcript() -> None:
    assert transcript(Coin(), 1) == transcript(Coin(), 1)
    lines = transcript(Coin(), 4).splitlines()
    assert [line.split(" |")[0] for line in lines if not line.startswith("paid")] == [
        "hidden",
        "player_0 sees",
        "player_0 says",
        "player_1 sees",
        "player_1 moves",
        "hidden",
    ]
