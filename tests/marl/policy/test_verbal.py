"""Learning in words: lessons after episodes and criticism of drafts, as talk with the policy inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from arenas.spec import ReplySpec
from marl.context.chat import messages
from marl.context.chat_template import Message
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.errors import UserError
from marl.policy.base import Policy, TextPolicy
from marl.policy.reflection import AGAIN, DRAFTED, Reflexion, SelfCritique
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from marl.scenario.world import World
from protocols import clock
from tests.marl.conftest import marl
from tests.marl.policy.test_endpoint import Server, says, server
from tests.marl.worlds import one, world

__all__ = ["server"]
CODE: Final = {"m0": "s3", "m1": "s2", "m2": "s1", "m3": "s0"}


class Chat(TextPolicy):
    """Stands in for a chat model: reads a conversation as one would, and answers by a function of it."""

    name = "hf:stand-in"

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.read: list[list[Message]] = []

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        conversation = messages("", transcript.heard, transcript.answers)
        self.read.append(conversation)
        assert callable(self.answer)
        text = str(self.answer(conversation, spec))
        transcript.answered(text)
        return Sample(text, usage={"completion": 1})


def receiver(conversation: Sequence[Message], spec: ReplySpec) -> str:
    """Follows its lessons; else guesses s0. Its lesson is what the sender's word should have meant."""
    last = conversation[-1]["content"]
    heard = next(line.split(": ")[1] for m in conversation for line in m["content"].split("\n") if "sender_0: " in line)
    if "Write one short lesson" in last:
        return f"{heard} is {CODE[heard]}"
    lessons = [m["content"] for m in conversation if "lessons: " in m["content"]]
    return CODE[heard] if any(f"{heard} is {CODE[heard]}" in text for text in lessons) else "s0"


def sender() -> Policy:
    meaning = {state: symbol for symbol, state in CODE.items()}
    return Scripted(lambda heard, spec: meaning[heard[-1].body.split()[-1]])


def series(here: World, policy: Reflexion, count: int, case: int = 1) -> list[Episode]:
    plans = [Plan(f"e{i}", {"sender_0": sender(), "receiver_0": policy}, 1, {"case": case}) for i in range(count)]
    return collect(here, plans, concurrency=1, done=lambda episode: policy.learn("receiver_0", episode))


def test_a_lesson_is_read_in_the_next_episode_and_kept(tmp_path: Path) -> None:
    here, inner = world("lewis"), Chat(receiver)
    policy = Reflexion(inner, tmp_path / "lessons")
    episodes = series(here, policy, 3)
    assert [(episode.score, episode.error) for episode in episodes] == [(0.0, ""), (1.0, ""), (1.0, "")]
    clock.run(policy.reflect())
    assert (tmp_path / "lessons/receiver_0.txt").read_text() == "m2 is s1\n" * 3
    assert "you were paid 0." in inner.read[1][-1]["content"]
    assert [m["role"] for m in inner.read[1]] == ["system", "user", "assistant", "user"]
    assert inner.read[2][1]["content"].startswith("lessons: m2 is s1\nsender_0: m2")
    assert all(not turn.sample.tokens for episode in episodes for turn in episode.turns)
    again = Reflexion(Chat(receiver), tmp_path / "lessons")
    assert series(here, again, 1)[0].score == 1.0, "lessons outlive the process"
    assert one(here, replay(episodes[2].log)).log.to_bytes() == episodes[2].log.to_bytes()


def test_only_the_newest_lessons_are_read() -> None:
    policy = Reflexion(Chat(receiver), most=2)
    for case in range(4):
        series(world("lewis"), policy, 1, case)
    clock.run(policy.reflect())
    assert policy.lessons("receiver_0") == ["m3 is s0", "m2 is s1", "m1 is s2", "m0 is s3"]
    policy_read = policy.inner.read  # type: ignore[attr-defined]
    policy_read.clear()
    series(world("lewis"), policy, 1)
    assert "lessons: m1 is s2 / m0 is s3\n" in policy_read[0][1]["content"]


def test_lessons_that_cannot_be_kept_end_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    policy = Reflexion(Chat(receiver), tmp_path / "file")
    assert "lessons cannot be" in series(world("lewis"), policy, 2)[1].error
    (tmp_path / "receiver_0.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"receiver_0.txt: lessons cannot be read"):
        Reflexion(Chat(receiver), tmp_path).lessons("receiver_0")


def test_a_draft_is_criticised_before_it_counts() -> None:
    def mended(conversation: Sequence[Message], spec: ReplySpec) -> str:
        last = conversation[-1]["content"]
        if DRAFTED in last:
            return "m9 is no symbol"
        return "m1" if AGAIN in last else "m9"

    inner = Chat(mended)
    here = world("lewis")
    seats: dict[str, Policy] = {"sender_0": SelfCritique(inner), "receiver_0": Scripted(lambda heard, spec: "s0")}
    episode = one(here, Plan("e", seats, 1))
    assert (episode.turns[0].words, episode.turns[0].legal) == (("m1",), True)
    assert [m["role"] for m in inner.read[2]] == ["system", *["user", "assistant"] * 2, "user"]
    assert "You want to reply: m9" in inner.read[1][-1]["content"]
    assert inner.read[2][-2]["content"] == "m9 is no symbol"
    assert episode.turns[0].sample.usage == {"completion": 3}
    assert one(here, replay(episode.log)).log.to_bytes() == episode.log.to_bytes()


def test_a_legal_draft_stands_where_the_final_reply_is_not_legal() -> None:
    worse = Chat(lambda conversation, spec: "nothing" if AGAIN in conversation[-1]["content"] else "m2")
    seats: dict[str, Policy] = {"sender_0": SelfCritique(worse), "receiver_0": Scripted(lambda heard, spec: "s0")}
    assert one(world("lewis"), Plan("e", seats, 1)).turns[0].words == ("m2",)


def test_play_seats_both(server: Server, run: Path) -> None:
    server.answers = [says("m0")]
    done = marl("play", run, "--episodes", "2", "--seat", f"sender_0=reflexion:critique:{server.address()}")
    assert done.code == 0, done.err
    assert (run / "lessons/sender_0.txt").read_text() == "m0\n" * 2
    assert len(server.asked) == 2 * (3 + 3), "drafts, criticism and replies, of moves and of lessons"
    refused = marl("play", "lewis", "--seat", "sender_0=critique:random")
    assert "only a chat model can learn in words" in refused.err
