"""Memory: what an agent sees is what its memory keeps, live and rebuilt from the log, and stays short."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenas.spec import ReplySpec
from marl.context.memory import MemoryConfig, Remembered
from marl.context.prompts import as_text
from marl.context.traces import traces
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.inference.server import PolicyServer, serve
from marl.policy.base import PendingReply, TextPolicy
from marl.policy.scripted import Scripted
from marl.rollout.pettingzoo_environment import ParallelEnvironment
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from marl.scenario.world import World
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError
from tests.marl import chats
from tests.marl.worlds import lm_for, one, played, world
from trainers.batch import collate

WORDS: Final = ["sky", "red", "blue", "green", "white"]
MEMORIES: Final[list[dict[str, Any]]] = [
    {"type": "full"},
    {"type": "window", "turns": 0},
    {"type": "window", "turns": 2},
    {"type": "window", "turns": 3, "tokens": 12},
    {"type": "overwrite", "words": WORDS, "length": 2},
    {"type": "state", "words": WORDS, "length": 1},
    {"type": "retrieval"},
    {"type": "retrieval", "turns": 1, "most": 1},
]


def reading(memory: dict[str, Any], **arena: Any) -> World:
    return world("document", arena=arena, memory={"reader_0": memory})


class Spy(PolicyServer):
    """Keeps the ids that each reply was drawn from."""

    def __init__(self, here: World) -> None:
        super().__init__(lm_for(here), "spy")
        self.contexts: list[list[int]] = []

    def ask(self, transcript: Transcript, **asked: Any) -> PendingReply:
        self.contexts.append(list(transcript.ids))
        return super().ask(transcript, **asked)


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_traces_equal_the_contexts_that_were_sampled_from(memory: dict[str, Any]) -> None:
    here = reading(memory, chunks=5, facts=1)
    spy = Spy(here)
    episode = one(here, Plan("e", {"reader_0": spy}, 1))
    assert episode.error == ""
    rebuilt = [
        list(part.ids[:start]) for part in traces(episode, ["reader_0"], spy.lm.open) for start, _, _ in part.spans
    ]
    assert rebuilt == spy.contexts
    spans = [span for part in traces(episode, ["reader_0"], spy.lm.open) for span in part.spans]
    assert [turn for _, _, turn in spans] == list(range(len(episode.turns)))
    assert one(here, replay(episode.log)).log.to_bytes() == episode.log.to_bytes()
    batch = collate(spy.lm, [episode], ["reader_0"], np.ones((1, len(episode.turns))))
    seen = spy.lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp.detach()
    assert seen.numpy() == pytest.approx(batch.behavior_logprobs[batch.trained].numpy(), abs=1e-4)


def kinds(here: World, chunks: int = 2) -> list[tuple[str, str]]:
    policy = Scripted(lambda heard, spec: spec.words(0)[0] if len(spec.steps) == 1 else "sky red")
    episode = one(here, Plan("e", {"reader_0": policy}, 1))
    return [(e.kind.value, e.body) for e, _ in episode.log.entries if e.kind in (Kind.VIEW, Kind.NOTE, Kind.MOVE)]


def test_overwrite_is_written_before_the_new_view() -> None:
    pieces = kinds(reading({"type": "overwrite", "words": WORDS, "length": 2}, chunks=2, facts=1))
    read, wrote = [("move", "next")], [("view", "memory"), ("note", "sky red")]
    assert pieces[1:2] + pieces[2:4] + pieces[5:6] + pieces[6:8] == read + wrote + read + wrote
    assert pieces[-2:] == [("view", "code"), ("move", "red")]


def test_a_state_is_written_between_view_and_reply() -> None:
    pieces = kinds(reading({"type": "state", "words": WORDS, "length": 2}, chunks=1, facts=1))
    assert [kind for kind, _ in pieces] == ["view", "note", "view", "move"] * 2
    assert [body for kind, body in pieces if kind == "view"][1::2] == ["reply"] * 2


@pytest.mark.parametrize("memory", MEMORIES[1:], ids=str)
def test_the_context_stays_short_in_long_episodes(memory: dict[str, Any]) -> None:
    longest = []
    for chunks in (8, 64):
        here = reading(memory, chunks=chunks, facts=1)
        spy = Spy(here)
        assert one(here, Plan("e", {"reader_0": spy}, 1)).error == ""
        longest.append(max(map(len, spy.contexts)))
    assert longest[0] == longest[1] <= 40


@pytest.mark.parametrize("memory", [settings for settings in MEMORIES[1:] if settings["type"] != "retrieval"], ids=str)
def test_kept_pieces_stay_few_in_long_episodes(memory: dict[str, Any]) -> None:
    kept: list[int] = []

    class Reader(TextPolicy):
        name = "reader"

        async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
            assert isinstance(transcript, Remembered)
            kept[-1] = max(kept[-1], transcript.kept)
            return Sample(" ".join(spec.default))

    for chunks in (8, 64):
        kept.append(0)
        assert one(reading(memory, chunks=chunks, facts=1), Plan("e", {"reader_0": Reader()}, 1)).error == ""
    assert kept[0] == kept[1] <= 12


def test_retrieval_finds_the_turn_with_shared_words() -> None:
    class Reader(TextPolicy):
        name = "reader"

        async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
            views = [envelope.body.split() for envelope in transcript.heard if envelope.kind is Kind.VIEW]
            if spec.steps[0] == ("next",):
                return Sample("next")
            assert len(views) == 2, "what is asked, and the one chunk that shares a word with it"
            return Sample(views[0][views[0].index("code") + 1])

    here = reading({"type": "retrieval", "most": 1}, chunks=40)
    episodes = played(here, {"reader_0": Reader()}, 20)
    assert [(episode.score, episode.error) for episode in episodes] == [(1.0, "")] * 20


def test_a_note_of_free_text_is_kept_word_for_word() -> None:
    notes = []

    class Writer(TextPolicy):
        name = "writer"

        async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
            notes.append([text for _, text in transcript.answers])
            aside = transcript.heard[-1].data.get("aside")
            text = f"note {len(notes)}, of everything" if aside else spec.words(0)[0]
            transcript.answered(text)
            return Sample(text)

    here = reading({"type": "overwrite"}, chunks=3, facts=1)
    assert one(here, Plan("e", {"reader_0": Writer()}, 1)).error == ""
    assert notes[:4] == [[], ["next"], ["note 2, of everything"], ["note 2, of everything", "next"]]
    assert all(len(seen) <= 2 for seen in notes)


def test_a_late_reply_leaves_nothing_behind() -> None:
    late: dict[str, Any] = {"arena": {"rounds": 6}, "latency": {"constant": 0.3, "jitter": 1.0}, "deadline": 0.9}
    here = world("chat", **late, memory={"a_0": {"type": "window", "turns": 2}, "b_0": {"type": "retrieval"}})
    spies = {agent: Spy(here) for agent in here.agents}
    for number in range(6):
        episode = one(here, Plan(f"e{number}", spies, 1))
        assert episode.error == ""
        for agent, spy in spies.items():
            answered = {turn.seq for turn in episode.turns if turn.agent == agent and turn.sample.tokens}
            asked = [e.reply_to for e in episode.log.replies(agent)]
            assert len(asked) == len(spy.contexts)
            rebuilt = [part.ids[:s] for part in traces(episode, [agent], spy.lm.open) for s, _, _ in part.spans]
            of = [ids for ids, e in zip(spy.contexts, episode.log.replies(agent), strict=True) if e.seq in answered]
            assert rebuilt == [tuple(ids) for ids in of]
            spy.contexts.clear()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["view", "say", "note"]), max_size=30), st.sampled_from(MEMORIES[1:]))
def test_the_newest_view_is_always_seen(events: list[str], memory: dict[str, Any]) -> None:
    from pydantic import TypeAdapter

    config: Any = TypeAdapter(MemoryConfig).validate_python({k: v for k, v in memory.items() if k != "tokens"})
    transcript = Remembered(Transcript, config)
    for number, event in enumerate([*events, "view"]):
        if event == "say":
            transcript.hear(Envelope("e", "b", number, Kind.SAY, body=f"said {number}"))
            continue
        data = {"aside": "note"} if event == "note" else {}
        transcript.hear(Envelope("e", "referee", number, Kind.VIEW, to="a", body=f"view {number}", data=data))
        transcript.ask()
        assert transcript.heard[-1].body == f"view {number}"
        transcript.answered(f"reply {number}")
        assert transcript.answers[-1] == (len(transcript.heard), f"reply {number}")


@pytest.mark.parametrize(
    ("memory", "more", "message"),
    [
        ({"reader_1": {"type": "window"}}, {}, "memory: no seat 'reader_1'; the seats are reader_0"),
        ({"reader_0": {"type": "overwrite"}}, {"floor": "free"}, "a memory that its agent writes needs a floor"),
    ],
)
def test_an_impossible_memory_is_a_user_error(memory: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        world("document", memory=memory, **more)


def test_pettingzoo_has_no_memory() -> None:
    with pytest.raises(Exception, match="neither tools nor memories"):
        ParallelEnvironment(reading({"type": "window"}))


def test_language_models_read_a_request_for_a_note_as_a_sentence() -> None:
    spec = ReplySpec((("a",),), free=10)
    asked = Envelope(
        "e", "referee", 0, Kind.VIEW, body="memory", data={"reply": spec.wire, "aside": "note", "again": 1}
    )
    assert as_text(asked).body.startswith("Write your memory anew")
    assert as_text(asked._replace(data={"reply": spec.wire, "again": True})).body == "Now reply."
    plain = asked._replace(data={"reply": spec.wire})
    assert as_text(plain) is plain


@pytest.mark.parametrize(
    "memory",
    [*MEMORIES[1:3], {"type": "overwrite"}, {"type": "state", "free": 0, "words": ["red"]}, MEMORIES[-1]],
    ids=str,
)
def test_chat_models_with_memory_and_tools_have_exact_traces(memory: dict[str, Any]) -> None:
    here = world("document", arena={"chunks": 3, "facts": 1}, memory={"reader_0": memory}, tools={"calculator": {}})
    lm = chats.chat()
    episode = one(here, Plan("e", {"reader_0": serve(lm, "chat")}, 1))
    assert episode.error == ""
    batch = collate(lm, [episode], ["reader_0"], np.ones((1, len(episode.turns))))
    seen = lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp.detach()
    assert seen.numpy() == pytest.approx(batch.behavior_logprobs[batch.trained].numpy(), abs=1e-4)
    assert one(here, replay(episode.log)).log.to_bytes() == episode.log.to_bytes()
