"""What an agent perceived, read from the log."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocols.envelope import EVERYONE, NOBODY, REFEREE, Envelope, Kind
from protocols.log import Entry, Heard, Log


class Script:
    """Writes a log line by line, as a referee would."""

    def __init__(self) -> None:
        self.log = Log("0", 1, {"arena": "none"}, {"a": "random", "b": "random"})

    def add(self, kind: Kind, sender: str, to: str, body: str, time: float, *heard: Heard, **data: Any) -> Envelope:
        seq = len(self.log.entries)
        envelope = Envelope(
            episode="0", sender=sender, n=seq, kind=kind, to=to, seq=seq, time=time, body=body, data=data
        )
        self.log.entries.append(Entry(envelope, heard))
        return envelope

    def ask(self, agent: str, body: str, time: float = 0.0) -> Envelope:
        return self.add(Kind.VIEW, REFEREE, agent, body, time)

    def say(self, agent: str, body: str, time: float, *heard: Heard, seen: int) -> Envelope:
        return self.add(Kind.SAY, agent, EVERYONE, body, time, *heard, seen=seen)

    def bodies(self, agent: str) -> list[str]:
        return [envelope.body for envelope in self.log.view(agent)]


def test_an_agent_sees_what_was_sent_to_it_and_to_everyone() -> None:
    script = Script()
    script.add(Kind.WORLD, REFEREE, NOBODY, "hidden", 0.0)
    script.ask("a", "for a")
    script.ask("b", "for b")
    script.add(Kind.MOVE, "a", EVERYONE, "left", 0.0, seen=1)
    script.add(Kind.MOVE, "b", REFEREE, "in private", 0.0, seen=1)
    script.add(Kind.REWARD, REFEREE, NOBODY, "", 0.0, a=1.0)
    script.add(Kind.END, REFEREE, EVERYONE, "terminated", 0.0)
    assert script.bodies("a") == ["for a", "left", "terminated"]
    assert script.bodies("b") == ["for b", "in private", "left", "terminated"]
    assert script.bodies("stranger") == ["left", "terminated"]


def test_a_message_is_seen_as_it_was_heard() -> None:
    script = Script()
    sent = script.say(
        "a", "m1 m2", 0.0, Heard("b", 0.0, "m1 m7"), Heard("c", 0.0, None), Heard("d", 0.0, "m1 m2"), seen=0
    )
    assert script.bodies("a") == ["m1 m2"]  # the sender knows what it said, not what was heard
    assert script.log.view("b") == [sent._replace(body="m1 m7", data={})]
    assert script.log.view("c") == []  # lost
    assert script.log.view("d") == [sent._replace(data={})]
    assert script.log.view("e") == []  # outside the topology


def test_messages_are_seen_in_the_order_in_which_they_arrived() -> None:
    script = Script()
    script.say("b", "slow", 0.0, Heard("a", 3.0, "slow"), seen=0)
    script.say("c", "quick", 1.0, Heard("a", 1.5, "quick"), seen=0)
    script.ask("a", "now", 2.0)
    script.say("c", "tied", 3.0, Heard("a", 3.0, "tied"), seen=0)  # the same instant: the log's order decides
    assert script.bodies("a") == ["quick", "now", "slow", "tied"]


def test_a_reply_stands_where_its_agent_began_to_think() -> None:
    script = Script()
    script.ask("a", "first")
    script.say("b", "while a thinks", 1.0, Heard("a", 1.0, "while a thinks"), seen=0)
    script.say("a", "reply one", 2.0, seen=1)
    script.ask("a", "second", 3.0)
    script.say("a", "reply two", 4.0, seen=3)
    script.ask("a", "third", 5.0)
    assert script.bodies("a") == ["first", "reply one", "while a thinks", "second", "reply two", "third"]


def test_what_was_seen_never_runs_backwards() -> None:
    script = Script()
    script.ask("a", "first")
    script.ask("a", "second")
    script.say("a", "reply one", 1.0, seen=2)
    script.say("a", "reply two", 1.0, seen=0)
    assert script.bodies("a") == ["first", "second", "reply one", "reply two"]


@given(st.data())
def test_views_are_append_only(data: st.DataObject) -> None:
    """Whatever an agent knew when it replied is a prefix of what it knew later, for any delays and losses."""
    script = Script()
    now = 0.0
    arrivals: list[float] = []
    contexts: list[list[Envelope]] = []
    for _ in range(data.draw(st.integers(1, 12))):
        now += data.draw(st.sampled_from([0.0, 0.5, 2.0]))
        if data.draw(st.booleans()):
            seen = sum(arrival <= now for arrival in arrivals)
            script.say("a", f"a{now}", now, seen=seen)
            contexts.append(script.log.view("a")[: seen + len(contexts) + 1])
        else:
            # Strictly after now: what arrives at the instant of a reply is the referee's to order.
            arrival = now + data.draw(st.sampled_from([0.25, 1.25, 3.25]))
            body = data.draw(st.sampled_from(["heard", None]))
            script.say("b", f"b{now}", now, Heard("a", arrival, body), seen=0)
            arrivals += [arrival] if body is not None else []
    view = script.log.view("a")
    assert len(view) == len(arrivals) + len(contexts)
    for context in contexts:
        assert view[: len(context)] == context
        assert context[-1].sender == "a"


def test_a_prefix_is_the_log_before_an_entry() -> None:
    script = Script()
    script.ask("a", "first")
    script.say("a", "reply", 0.0, seen=1)
    before = script.log.to_bytes()
    prefix = script.log.prefix(1)
    assert [entry.envelope.body for entry in prefix.entries] == ["first"]
    assert prefix.prefix(0).entries == []
    assert (prefix.episode, prefix.seed, prefix.seats) == ("0", 1, script.log.seats)
    prefix.entries.append(script.log.entries[1])  # a fork may go on from it
    assert script.log.to_bytes() == before == prefix.to_bytes()


def test_replies_in_their_order() -> None:
    script = Script()
    script.ask("a", "first")
    script.say("a", "said", 0.0, seen=1)
    script.add(Kind.MOVE, "b", EVERYONE, "moved", 0.0, seen=0)
    script.add(Kind.END, REFEREE, EVERYONE, "terminated", 0.0)
    assert [reply.body for reply in script.log.replies()] == ["said", "moved"]
    assert [reply.body for reply in script.log.replies("b")] == ["moved"]
    assert list(script.log.replies("c")) == []
