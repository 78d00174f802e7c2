"""What listeners hear is not what was said: every kind, live and replayed, in every world."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl.context.transcript import render
from marl.episode import Episode
from marl.intervention.base import Intervention
from marl.intervention.config import parse
from marl.intervention.inject import Inject
from marl.intervention.message import Close, Drop, Replace, Rewrite, Shuffle, Swap
from marl.policy.base import Policy
from marl.policy.scripted import Random, Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import fork, replay
from marl.scenario.world import World, load_world
from marl.study.data import lexicon
from marl.study.experiments import ablation
from protocols import ProtocolError, log
from protocols.channel import PUBLIC
from protocols.effects import REWRITERS
from protocols.envelope import NOBODY, REFEREE, Kind
from protocols.log import Log
from tests.marl.worlds import WORLDS, one, played, raw, script, seated, world, world_of

GOLDEN = Path(__file__).parents[2] / "golden" / "logs"
TALKING = [name for name in WORLDS if "matrix" not in name or "talk" in name]
KINDS = ("drop", "sometimes", "close", "replace", "rewrite", "turn round", "swap", "shuffle", "inject", "inject late")
everywhere = pytest.mark.parametrize("name", TALKING)
every_kind = pytest.mark.parametrize("kind", KINDS)


class Played:
    """Undisturbed episodes of a world, played once for all tests."""

    def __init__(self, name: str) -> None:
        self.world = world(**WORLDS[name])
        self.seats: dict[str, Policy] = seated(self.world)
        self.episodes = played(self.world, self.seats, 4)
        self.pool = ablation.spoken(episode.log for episode in played(self.world, self.seats, 6, seed=2))


known = cache(Played)


def made(kind: str, there: Played) -> Intervention:
    """An intervention of this kind on a live episode."""
    words, seats = there.world.symbols(None), there.world.agents
    speakers = [seat for seat in seats if there.world.symbols(seat)]
    match kind:
        case "drop":
            return Drop(sender=seats[0])
        case "sometimes":
            return Drop(p=0.5)
        case "close":
            return Close(channel=PUBLIC)
        case "replace":
            return Replace(round=0, body=words[-1])
        case "rewrite":
            return Rewrite(table={words[0]: words[1], words[1]: words[0]})
        case "turn round":
            return Rewrite(by="reverse")
        case "swap":
            return Swap(sender=seats[0], seat=seats[-1])
        case "shuffle":
            return Shuffle(pool=there.pool)
        case "inject":
            return Inject(sender=speakers[0], body=words[0], round=1)
        case _:
            return Inject(sender=speakers[-1], body=words[0], seq=5)


def plans(there: Played, *do: Intervention) -> list[Plan]:
    return [Plan(episode.log.episode, there.seats, episode.log.seed, do=do) for episode in there.episodes]


def entries(each: Log, before: int | None = None) -> list[bytes]:
    """Header aside, the lines of a log."""
    return each.prefix(len(each.entries) if before is None else before).to_bytes().splitlines()[1:]


def first_difference(before: Log, after: Log) -> int | None:
    pairs = zip(entries(before), entries(after), strict=False)
    return next((seq for seq, (old, new) in enumerate(pairs) if old != new), None)


def hear(episode: Episode, agent: str) -> list[str]:
    return [render(e) for e in episode.log.view(agent) if e.kind is Kind.SAY and e.sender != agent]


@everywhere
@every_kind
def test_an_episode_with_an_intervention_replays_to_the_byte_and_its_past_is_untouched(
    name: str, kind: str, tmp_path: Path
) -> None:
    there = known(name)
    here, do = there.world, made(kind, there)
    changed = collect(here, plans(there, do))
    assert [episode.error for episode in changed] == [""] * len(changed)
    assert [episode.drift for episode in changed] == [episode.drift for episode in there.episodes]
    for live, again in zip(there.episodes, changed, strict=True):
        assert again.log.do == [do.model_dump(mode="json")]
        at = first_difference(live.log, again.log)
        if at is None:
            assert len(live.log.entries) == len(again.log.entries)
            continue
        # The first thing to differ is what is heard of a message, or an injected one.
        old, new = live.log.entries[at].envelope, again.log.entries[at].envelope
        assert new.kind is Kind.SAY
        assert new.sender == REFEREE if kind.startswith("inject") else new == old
    log.save(tmp_path / "log.jsonl", [episode.log for episode in changed])
    there_again = world_of(changed[0].log.scenario)
    assert raw(collect(there_again, [replay(logged) for logged in log.load(tmp_path / "log.jsonl")])) == raw(changed)


def test_every_kind_changes_something_in_these_worlds() -> None:
    for name in ("chat, whoever likes", "chat with channels", "chat, all effects"):
        there = known(name)
        for kind in KINDS:
            changed = collect(there.world, plans(there, made(kind, there)))
            assert [entries(e.log) for e in changed] != [entries(e.log) for e in there.episodes], (name, kind)


@everywhere
def test_what_concerns_no_message_changes_nothing_but_the_header(name: str) -> None:
    there = known(name)
    word = there.world.symbols(None)[0]
    idle = [
        *(Drop(p=0), Drop(seq=10_000), Replace(since=10_000, body=word), Rewrite(table={word: word})),
        *(Close(channel=PUBLIC, round=10_000), Inject(sender=there.world.agents[0], body=word, seq=10_000)),
    ]
    changed = collect(there.world, plans(there, *idle))
    assert [entries(e.log) for e in changed] == [entries(e.log) for e in there.episodes]
    assert raw(collect(there.world, plans(there))) == raw(there.episodes)
    same = [Shuffle(pool=ablation.spoken([e.log])) for e in there.episodes if ablation.spoken([e.log])]
    mine = [e for e in there.episodes if ablation.spoken([e.log])]
    if "channels" not in name and "whoever" not in name and "changing" not in name:  # where nothing arrives twice
        own = [Plan(e.log.episode, there.seats, e.log.seed, do=(do,)) for e, do in zip(mine, same, strict=True)]
        assert [entries(e.log) for e in collect(there.world, own)] == [entries(e.log) for e in mine]


@everywhere
@every_kind
def test_a_fork_with_an_intervention_keeps_the_past_and_can_be_replayed_and_forked_again(name: str, kind: str) -> None:
    there = known(name)
    here, words = there.world, there.world.symbols(None)
    for episode in there.episodes[:2]:
        said = [e.seq for e in episode.log.replies() if e.kind is Kind.SAY and e.to != NOBODY]
        if not said:
            continue
        at = said[len(said) // 2]
        do = made(kind, there)
        if isinstance(do, Inject):
            do = Inject(sender=do.sender, body=words[0], seq=at)
        again = one(here, fork(episode.log, at, there.seats, do=do))
        assert entries(again.log, at) == entries(episode.log, at)
        assert raw([one(here, replay(again.log))]) == raw([again])
        last = again.turns[-1].seq
        assert raw([one(here, fork(again.log, last, there.seats))]) == raw([again])
        more = one(here, fork(again.log, last, there.seats, do=Drop(p=0.5)))
        assert [intervention["type"] for intervention in more.log.do] == [do.type, "drop"]
        assert entries(more.log, last) == entries(again.log, last)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_interventions_together(data: st.DataObject) -> None:
    """Whatever is done, in any order: the same bytes at any concurrency and on replay."""
    there = known(data.draw(st.sampled_from(TALKING)))
    here, seats = there.world, there.world.agents
    fits = {
        "seq": data.draw(st.none() | st.integers(0, 20)),
        "since": data.draw(st.none() | st.integers(0, 20)),
        "sender": data.draw(st.none() | st.sampled_from(seats)),
        "channel": data.draw(st.none() | st.sampled_from(list(here.channels))),
        "round": data.draw(st.none() | st.integers(0, 3)),
    }
    chosen = [made(kind, there) for kind in data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))]
    given_ = {name: value for name, value in fits.items() if value is not None}
    do = [
        intervention if isinstance(intervention, Inject) else intervention.model_copy(update=given_)
        for intervention in chosen
    ]
    changed = collect(here, plans(there, *do))
    assert raw(collect(here, plans(there, *do), concurrency=1)) == raw(changed)
    again = collect(here, [replay(episode.log) for episode in changed])
    assert raw(again) == raw(changed)
    assert [episode.rewards for episode in again] == [episode.rewards for episode in changed]
    assert parse(changed[0].log) == tuple(do)


def test_interventions_of_a_scenario_hold_for_every_episode_and_stand_in_its_log() -> None:
    do: list[dict[str, Any]] = [{"type": "drop", "sender": "a_0"}, {"type": "swap", "sender": "b_0", "seat": "a_0"}]
    here = world(arena={"rounds": 1}, interventions=do)
    episode = one(here, Plan("e", {a: script("m0 m1", "x0") for a in here.agents}, 1))
    assert [hear(episode, a) for a in here.agents] == [
        ["b_0 : m0 m1", "c_0 : m0 m1"],
        ["c_0 : m0 m1"],
        ["a_0 : m0 m1"],
    ]
    assert episode.log.do == []
    there = world_of(episode.log.scenario)
    assert there.scenario.interventions == here.scenario.interventions
    assert raw([one(there, replay(episode.log))]) == raw([episode])


def test_the_words_of_a_rewriting_and_the_name_of_another() -> None:
    here = world(arena={"rounds": 1})
    seats = {a: script("m0 m1", "x0") for a in here.agents}
    do = (Rewrite(table={"m0": "m2"}), Rewrite(by="reverse", sender="a_0"), Swap(sender="c_0", seat="b_0"))
    episode = one(here, Plan("e", seats, 1, do=do))
    assert hear(episode, "a_0") == ["b_0 : m2 m1", "b_0 : m2 m1"]  # the second one is c_0's
    assert hear(episode, "b_0") == ["a_0 : m1 m2", "c_0 : m2 m1"]  # who bears the name is not fooled
    assert hear(episode, "c_0") == ["a_0 : m1 m2", "b_0 : m2 m1"]
    assert episode.drift == 0
    assert next(episode.log.replies("a_0")).body == "m0 m1"  # speakers know what they said


def test_what_nobody_said_is_heard_before_the_round_begins_and_is_no_reply() -> None:
    here = world(arena={"rounds": 1})
    do = (Inject(sender="a_0", body="m3", round=0, to=("c_0",)), Inject(sender="b_0", body="m2 m2", round=1))
    episode = one(here, Plan("e", {a: script("m0", "x0") for a in here.agents}, 1, do=do))
    assert hear(episode, "c_0") == ["a_0 : m3", "a_0 : m0", "b_0 : m0", "b_0 : m2 m2"]
    assert hear(episode, "b_0") == ["a_0 : m0", "c_0 : m0"]
    assert [(e.sender, e.seq) for e, _ in episode.log.entries if e.body in ("m3", "m2 m2")] == [
        (REFEREE, 1),
        (REFEREE, 8),
    ]
    assert {e.sender for e in episode.log.replies()} == set(here.agents)
    assert {u.speaker for u in lexicon.utterances([episode.log])} == set(here.agents)
    assert raw([one(here, replay(episode.log))]) == raw([episode])


def test_a_channel_can_be_closed_from_a_round_or_an_entry_on() -> None:
    here = world(arena={"rounds": 2}, channels={"side": {"members": ["a_0", "b_0"]}})
    lines = {"a_0": ("side m0", "x0", "side m1", "x0"), "b_0": ("public m2", "x0", "side m3", "x0")}
    seats = {**{a: script(*replies) for a, replies in lines.items()}, "c_0": script("m0", "x0", "m0", "x0")}
    plain = one(here, Plan("e", seats, 1))
    assert hear(plain, "b_0") == ["a_0 side : m0", "c_0 : m0", "a_0 side : m1", "c_0 : m0"]
    late = next(e.seq for e in plain.log.replies("a_0") if e.body == "m1")
    for do in (Close(channel="side", round=2), Close(channel="side", since=late)):
        again = one(here, replay(plain.log, do=[do]))
        assert hear(again, "b_0") == ["a_0 side : m0", "c_0 : m0", "c_0 : m0"]


def test_messages_are_dropped_as_often_as_asked_and_for_all_listeners_alike() -> None:
    here = world(arena={"rounds": 4})
    seats = dict.fromkeys(here.agents, Random())
    episodes = collect(here, [Plan(f"e{i}", seats, 1, do=(Drop(p=0.3), Drop(p=0.5))) for i in range(100)])
    heard = [{h.body is None for h in entry.heard} for e in episodes for entry in e.log.entries if entry.heard]
    assert all(len(losses) == 1 for losses in heard)
    lost = sum(losses == {True} for losses in heard) / len(heard)
    assert lost == pytest.approx(1 - 0.7 * 0.5, abs=0.06)  # 1200 messages: four standard errors


def lewis() -> tuple[World, dict[str, Policy], list[Plan]]:
    """A game in which everything is understood."""
    here = world("lewis")
    speak = Scripted(lambda heard, spec: "m" + heard[-1].body[-1])
    guess = Scripted(lambda heard, spec: "s" + heard[-2].body[-1] if len(heard) > 1 else "s0")
    seats: dict[str, Policy] = {"sender_0": speak, "receiver_0": guess}
    return here, seats, [Plan(f"e{case}", seats, 1, {"case": case}) for case in range(here.arena.cases)]


def test_shuffled_messages_are_as_frequent_as_before_and_tell_nothing() -> None:
    here, _, deals = lewis()
    logs = [episode.log for episode in collect(here, deals)]
    for seed in range(5):
        do = ablation.permuted(logs, seed)
        heard = Counter(
            s.heard["receiver_0"] for intervention in do if isinstance(intervention, Shuffle) for s in intervention.pool
        )
        assert heard == Counter({f"m{i}": 1 for i in range(4)})  # each message exactly once: the marginal stays
    episodes = ablation.shuffled(here, deals, 3)
    assert len(episodes) == 1024
    assert sum(e.score for e in episodes) / 1024 == pytest.approx(here.anchors.silent, abs=0.07)
    assert raw(ablation.shuffled(here, deals, 3)) == raw(episodes)
    pool = ablation.spoken(logs)
    live = collect(here, [Plan(f"live-{i}", deals[0].seats, 1, do=(Shuffle(pool=pool),)) for i in range(400)])
    assert sum(e.score for e in live) / 400 == pytest.approx(0.25, abs=0.09)


def test_splits_are_shuffled_apart_and_silence_stays_silence() -> None:
    here = world(arena={"rounds": 1, "players": 2, "least": 0}, floor="free")
    plans_ = [
        Plan(f"e{i}", {a: script(f"m{i}" if i else "", "x0") for a in here.agents}, 1, {"split": "train"})
        for i in range(3)
    ]
    logs = [one(here, Plan(p.episode, p.seats, p.seed)).log for p in plans_]
    for i, logged in enumerate(logs):
        logged.deal = {"split": "held_out" if i == 2 else "train"}
    for seed in range(4):
        do = ablation.permuted(logs, seed)
        assert sorted(intervention.type for intervention in do[:2]) == ["drop", "shuffle"]
        last = do[2]
        assert isinstance(last, Shuffle)
        assert {s.episode for s in last.pool} == {"e2"}


def test_a_rewriting_function_of_ones_own_is_recorded_by_name_and_must_be_there_to_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(REWRITERS, "shout", lambda symbols, alphabet, seed: symbols * 2)
    here, seats, _ = lewis()
    episode = one(here, Plan("e", seats, 1, {"case": 2}, do=(Rewrite(by="shout"),)))
    assert hear(episode, "receiver_0") == ["sender_0 : m2 m2"]
    assert raw([one(here, replay(episode.log))]) == raw([episode])
    monkeypatch.delitem(REWRITERS, "shout")
    with pytest.raises(ProtocolError, match=r"^the interventions of episode e: there is no rewriting function 'shout'"):
        replay(episode.log)


def test_forks_written_before_interventions_had_kinds_still_load_and_replay() -> None:
    logs = list(log.load(GOLDEN / "schema1-do.jsonl"))
    assert [logged.do for logged in logs[:2]] == [
        [{"type": "drop", "seq": 2, "p": 1.0}],
        [{"type": "replace", "seq": 2, "body": "m1"}],
    ]
    worlds = [load_world(logged.scenario, "the log") for logged in logs]
    again = [one(here, replay(logged)).log for here, logged in zip(worlds, logs, strict=True)]
    assert raw(again) == raw(logs)
    old = (GOLDEN / "schema1-do.jsonl").read_bytes().splitlines()
    changed = [(a, b) for a, b in zip(old, log.dump(again).splitlines(), strict=True) if a != b]
    assert all(b'"do":{' in a and b'"do":[{' in b for a, b in changed)
    assert len(changed) == 4  # the headers, and nothing else
