"""What an agent saw while it played, and what the trainer rebuilds from the log."""

from __future__ import annotations

from typing import Any

import pytest

from marl.context.traces import trace
from marl.context.transcript import PROMPT, Transcript
from marl.episode import Episode, Finish
from marl.inference.server import PolicyServer
from marl.models.language_model import LanguageModel
from marl.policy.base import PendingReply, Policy
from marl.rollout.replay import fork
from protocols.envelope import Kind
from tests.marl.worlds import SLOW, WORLDS, lm_for, one, played, world

everywhere = pytest.mark.parametrize("name", WORLDS)


class Spy(PolicyServer):
    """Keeps every transcript it opens, and what stood in it whenever it was asked."""

    def __init__(self, lm: LanguageModel) -> None:
        super().__init__(lm, "spy")
        self.opened: list[Transcript] = []
        self.asked: list[tuple[Transcript, tuple[int, ...]]] = []

    def open(self) -> Transcript:
        self.opened.append(super().open())
        return self.opened[-1]

    def ask(self, transcript: Transcript, **asked: Any) -> PendingReply:
        self.asked.append((transcript, tuple(transcript.ids)))
        return super().ask(transcript, **asked)


def watched(settings: dict[str, Any], episodes: int = 3) -> tuple[Spy, list[Episode]]:
    here = world(**settings)
    spy = Spy(lm_for(here))
    return spy, played(here, dict.fromkeys(here.agents, spy), episodes, concurrency=1)


@everywhere
def test_a_trace_equals_the_live_transcript(name: str) -> None:
    spy, episodes = watched(WORLDS[name])
    live = iter(spy.opened)
    for episode in episodes:
        for agent in episode.agents:
            rebuilt = trace(episode, agent, spy.lm.open)
            assert rebuilt.ids == tuple(next(live).ids[: len(rebuilt.ids)])
            own = [i for i, turn in enumerate(episode.turns) if turn.agent == agent and turn.sample.tokens]
            assert [index for _, _, index in rebuilt.spans] == own
            for start, stop, index in rebuilt.spans:
                assert rebuilt.ids[start:stop] == episode.turns[index].sample.tokens
    assert next(live, None) is None


@pytest.mark.parametrize("name", [name for name in WORLDS if "chat" in name])
def test_a_trace_equals_the_live_transcript_after_interventions(name: str) -> None:
    do = [
        {"type": "swap", "seat": "c_0"},
        {"type": "drop", "p": 0.3},
        {"type": "rewrite", "table": {"m0": "m1"}},
        {"type": "inject", "sender": "a_0", "body": "m3 m2", "round": 1},
    ]
    spy, episodes = watched({**WORLDS[name], "interventions": do})
    live = iter(spy.opened)
    for episode in episodes:
        assert episode.drift == 0
        for agent in episode.agents:
            rebuilt = trace(episode, agent, spy.lm.open)
            assert rebuilt.ids == tuple(next(live).ids[: len(rebuilt.ids)])
    assert any(h.sender == "a_0" for e in episodes for entry in e.log.entries for h in entry.heard)
    assert any(h.sender == "c_0" for e in episodes for entry in e.log.entries for h in entry.heard)


@everywhere
def test_a_transcript_only_grows(name: str) -> None:
    spy, _ = watched(WORLDS[name])
    assert spy.asked
    for transcript, then in spy.asked:
        assert tuple(transcript.ids[: len(then)]) == then


def test_messages_during_a_reply_stand_after_it() -> None:
    settings = {
        "name": "chat",
        "latency": {"constant": 0.1, "jitter": 2.0},
        "channel": [{"type": "delay", "seconds": 0.3, "jitter": 1.0}],
        "floor": "rounds",
    }
    spy, episodes = watched(settings, 8)
    meanwhile = 0
    for episode in episodes:
        asked = {e.seq: e.time for e, _ in episode.log.entries if e.kind is Kind.VIEW}
        for agent in episode.agents:
            view = episode.log.view(agent)
            arrival = {e.seq: h.time for e, heard in episode.log.entries for h in heard if h.to == agent}
            for place, reply in enumerate(view):
                if reply.sender != agent or reply.reply_to is None:
                    continue
                for envelope in view[:place]:
                    if envelope.seq in arrival:
                        assert arrival[envelope.seq] <= asked[reply.reply_to]
                late = [e for e in view[place + 1 :] if asked[reply.reply_to] < arrival.get(e.seq, -1.0) < reply.time]
                meanwhile += len(late)
            rebuilt = trace(episode, agent, spy.lm.open)
            assert len(rebuilt.spans) == 4
    assert meanwhile > 5, "nothing ever arrived while an agent was thinking"


def test_a_late_reply_leaves_no_tokens() -> None:
    spy, episodes = watched({"name": "matrix", "arena": {"rounds": 6}, "latency": SLOW, "deadline": 0.8}, 6)
    prompt = spy.lm.token(PROMPT)
    live = iter(spy.opened)
    missed = 0
    for episode in episodes:
        for agent in episode.agents:
            text = spy.lm.tokenizer.decode(next(live).ids)
            turns = [turn for turn in episode.turns if turn.agent == agent]
            assert text.count("round") == len(turns)
            pieces = f"{text} ".split(f" {PROMPT} ")[1:]
            replies = ["" if piece.startswith("round") else piece.split(" round")[0].strip() for piece in pieces]
            for reply, turn in zip(replies, turns, strict=True):
                missing = turn.sample.finish is Finish.MISSING
                assert reply == ("" if missing else f"{turn.sample.text} <eos>")
                missed += missing
            assert trace(episode, agent, spy.lm.open).ids.count(prompt) <= len(turns)
    assert 4 < missed < sum(len(episode.turns) for episode in episodes)


def test_a_fork_continues_the_transcript() -> None:
    here = world(**WORLDS["repeated matrix"])
    spy = Spy(lm_for(here))
    seats: dict[str, Policy] = dict.fromkeys(here.agents, spy)
    (episode,) = played(here, seats, 1)
    before = [tuple(transcript.ids) for transcript in spy.opened]
    for turn in episode.turns:
        newcomer = Spy(lm_for(here, seed=9))
        again = one(here, fork(episode.log, turn.seq, dict.fromkeys(here.agents, newcomer)))
        first, ids = newcomer.asked[0]
        player = here.agents.index(turn.agent)
        assert first is newcomer.opened[player]
        assert ids == before[player][: len(ids)]
        for agent, transcript in zip(here.agents, newcomer.opened, strict=True):
            rebuilt = trace(again, agent, newcomer.lm.open)
            assert rebuilt.ids == tuple(transcript.ids[: len(rebuilt.ids)])
