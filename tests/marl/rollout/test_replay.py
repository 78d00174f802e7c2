"""The same configuration gives the same bytes, and a log gives them again."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from marl.episode import Finish
from marl.policy.scripted import Random
from marl.rollout.collect import collect
from marl.rollout.replay import replay
from protocols import log as logs
from tests.marl.worlds import WORLDS, played, raw, seated, world, world_of

everywhere = pytest.mark.parametrize("name", WORLDS)


@everywhere
def test_the_seed_decides_the_bytes(name: str) -> None:
    first, again, other = (
        raw(played(here, seated(here), seed=seed)) for here, seed in [(world(**WORLDS[name]), s) for s in (1, 1, 2)]
    )
    assert first == again
    assert first != other
    assert len(set(first)) == len(first)


@everywhere
def test_concurrency_does_not_change_the_bytes(name: str) -> None:
    here = world(**WORLDS[name])
    assert raw(played(here, seated(here), 6, concurrency=1)) == raw(played(here, seated(here), 6, concurrency=256))


@everywhere
@pytest.mark.parametrize("policy", ["lm", "random"])
def test_a_replay_equals_the_log_byte_for_byte(name: str, policy: str) -> None:
    here = world(**WORLDS[name])
    seats = seated(here) if policy == "lm" else dict.fromkeys(here.agents, Random())
    episodes = played(here, seats)
    again = collect(here, [replay(episode.log) for episode in episodes])
    assert raw(again) == raw(episodes)
    assert [e.rewards for e in again] == [e.rewards for e in episodes]
    assert [e.stop for e in again] == [e.stop for e in episodes]
    assert [[t.words for t in e.turns] for e in again] == [[t.words for t in e.turns] for e in episodes]


def test_the_worlds_lose_delay_change_and_time_out() -> None:
    """Replaying is only worth something where these things happen."""
    here = world(**WORLDS["chat with a deadline"])
    episodes = played(here, seated(here), 16)
    heard = [(e.envelope, h) for episode in episodes for e in episode.log.entries for h in e.heard]
    finishes = [turn.sample.finish for episode in episodes for turn in episode.turns]
    assert any(h.body is None for _, h in heard)
    assert any(h.body is not None and h.body.split() != sent.body.split()[:2] for sent, h in heard)
    assert any(h.time > sent.time for sent, h in heard)
    assert any("price" in sent.data for sent, _ in heard)
    assert 0 < sum(f is Finish.MISSING for f in finishes) < len(finishes)
    missed_then_spoke = [
        episode
        for episode in episodes
        for first, second in zip(episode.turns, episode.turns[3:], strict=False)
        if first.sample.finish is Finish.MISSING and second.sample.finish is not Finish.MISSING
    ]
    assert missed_then_spoke, "no agent went on after a deadline it missed"


@everywhere
def test_a_log_file_replays(name: str, tmp_path: Path) -> None:
    here = world(**WORLDS[name])
    episodes = played(here, seated(here))
    logs.save(tmp_path / "log.jsonl.gz", [episode.log for episode in episodes])
    read = list(logs.load(tmp_path / "log.jsonl.gz"))
    assert raw(read) == raw(episodes)
    there = world_of(read[0].scenario)  # a log says itself what was played
    assert raw(collect(there, [replay(log) for log in read])) == raw(episodes)


def digest(name: str) -> str:
    here = world(**WORLDS[name])
    return sha256(b"".join(raw(played(here, seated(here))))).hexdigest()


def test_another_process_writes_the_same_bytes() -> None:
    code = "import sys; from tests.marl.rollout.test_replay import digest; print(*map(digest, sys.argv[1:]))"
    names = ["reference", "chat with a deadline"]
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.split() == [digest(name) for name in names]
