"""A lying seat: it has its token and sits rightly, and says of its replies whatever it likes.

`Table` is a host and its seats in one thread, without a broker; `play` lets one seat lie about all that it says and
compares the update with that of the same words told truly. The same seed gives the same lies.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch

from arenas.spec import ReplySpec, from_wire
from marl.context.transcript import Transcript
from marl.episode import Episode, Sample
from marl.inference.request import GenerationRequest
from marl.inference.sampler import generate
from marl.policy.base import Policy
from marl.remote.host_protocol import HostProtocol
from marl.remote.rejections import Reason, Rejections
from marl.remote.remote_policy import RemotePolicy
from marl.remote.reply_checks import MOST_ILLEGAL
from marl.remote.seat_registry import Lobby
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from protocols import topics
from protocols.envelope import Envelope
from trainers.factory import make_trainer
from trainers.remote_actors import Actors, HostConfig
from trainers.rescoring import MAX_DISTANCE, UNTRAINED
from trainers.run_config import RunConfig
from trainers.trainer import Trainer

VERSION: Final = 3
EPISODES: Final = 8
NUMBERS: Final = (-1, 0, 1, 7, 2**31 - 1, 2**31, 2**63, -(2**70), 1e308, -1e308, -1e30, -88.0, -5.0, 0.5, 5e-324)
TEXTS: Final = (
    "zzz",
    "",
    "<pad>",
    "<eos> <bos>",
    "<move>",
    "m0 b_0 : m1",
    "\x1b]52;c;x\x07",
    "\u200d\ud7ff",
    "m0\n",
    "0",
)
Payload = dict[str, Any]


@dataclass
class Tally:
    """What became of the lies: each payload is in one of the first five."""

    rejected: int = 0
    untrue: int = 0
    """Taken for their words; the host counted what was said of them."""
    scored: int = 0
    """Entered an episode; scoring counted what was said of them, or that their words were not drawn."""
    superseded: int = 0
    """Only scoring could tell, but the seat was asked again, and its last reply entered the episode."""
    true: int = 0
    """Nothing false was said, or an illegal reply and nothing else."""
    undrawn: int = 0
    distance: float = 0.0
    """The largest distance of an update's gradient from that of the same words told truly, as a share of its norm."""

    @property
    def payloads(self) -> int:
        """All payloads."""
        return self.rejected + self.untrue + self.scored + self.superseded + self.true


@dataclass
class Table:
    """The host's protocol, and seats that answer at once."""

    actors: Actors
    liar: str
    rng: random.Random
    most: int
    """Lies that the seat sends for each view, at most."""
    tally: Tally
    honest: dict[tuple[str, str, int], Sample] = field(default_factory=dict)
    late: dict[tuple[str, str, int], bool] = field(default_factory=dict)
    """Replies of which only scoring can tell that they lie -> whether by their log-probabilities."""

    def __post_init__(self) -> None:
        seats = list(self.actors.names)
        self.tokens = {seat: f"token of {seat}" for seat in seats}
        self.rejections = Rejections()
        self.last: dict[str, Envelope] = {}
        self.transcripts: dict[tuple[str, str], Transcript] = {}
        lobby = Lobby(seats, self.tokens, lambda seat: None)
        self.protocol = HostProtocol("run", "host", lobby, self.rejections, self._sent, checks=self.actors.checks)
        self.protocol.opened = True
        for seat in seats:
            self.protocol.renew(seat, {"folder": "", "version": VERSION})

    def seats(self) -> dict[str, Policy]:
        """The policies of the seats, named as those in training."""
        return {seat: RemotePolicy(self, seat, name) for seat, name in self.actors.names.items()}

    def _sent(self, topic: str, envelope: Envelope) -> None:
        self.last[topics.parse(topic).agent] = envelope

    def tell(self, seat: str, envelope: Envelope) -> None:
        self.protocol.tell(seat, envelope)
        self._transcript(seat, envelope.episode).hear(envelope)

    def close(self, seat: str, episode: str) -> None:
        self.protocol.close(seat, episode)

    def _transcript(self, seat: str, episode: str) -> Transcript:
        lm = self.actors.policies[self.actors.names[seat]]
        return self.transcripts.setdefault((episode, seat), lm.open())

    def ask(self, seat: str, view: Envelope) -> Future[Sample | None]:
        lm = self.actors.policies[self.actors.names[seat]]
        transcript = self._transcript(seat, view.episode)
        transcript.hear(view)
        transcript.ask()
        length = len(transcript.ids)
        spec = from_wire(view.data["reply"])
        (sample,) = generate(lm, [GenerationRequest(transcript, spec, view.data["seed"])], VERSION)
        self.honest[view.episode, seat, view.seq] = sample
        payload: Payload = {"episode": view.episode, "sender": seat, "kind": spec.kind, "body": sample.text}
        payload |= {"reply_to": view.seq, "data": sample.to_data() | {"token": self.tokens[seat]}}
        answer: Future[Sample | None] = Future()
        self.protocol.ask(seat, view, answer)
        key = view.episode, seat, view.seq
        for _ in range(self.rng.randint(1, self.most) if seat == self.liar else 0):
            if answer.done():  # asked again, as if the answer had not come
                answer = Future()
                self.protocol.ask(seat, view, answer)
            self.tally.superseded += self.late.pop(key, None) is not None
            is_far = self._lie(payload | {"n": self.last[seat].data["n"]}, spec, answer, sample)
            if is_far is not None:
                self.late[key] = is_far
        if not answer.done():
            payload["n"] = self.last[seat].data["n"]
            self.protocol.arrived(topics.sent_by("run", view.episode, seat), json.dumps(payload).encode())
        accepted = answer.result(0)
        assert accepted is not None
        if accepted.tokens != sample.tokens:
            transcript.take_back(length)
            transcript.replied(accepted.tokens)
        return answer

    def _lie(self, honest: Payload, spec: ReplySpec, answer: Future[Sample | None], sample: Sample) -> bool | None:
        """Send one payload: it is rejected and counted, or taken and counted, or true.

        What is taken is a function of the words alone. Where only scoring can tell that it is not true, return whether
        by the log-probabilities (else by the words, which were not drawn); None otherwise.
        """
        raw = lie(self.rng, honest, spec)
        before = self.rejections.counts.copy()
        self.protocol.arrived(topics.sent_by("run", honest["episode"], self.liar), raw)
        counted = self.rejections.counts - before
        if not answer.done():
            assert counted.total() == 1
            assert Reason.UNTRUE not in counted
            self.tally.rejected += 1
            return None
        accepted = answer.result(0)
        assert accepted is not None
        taken = Envelope.from_json(raw)
        parsed = spec.parse(taken.body)
        lm = self.actors.policies[self.actors.names[self.liar]]
        tokens = () if parsed is None else lm.written(parsed)
        text = taken.body[:MOST_ILLEGAL] if parsed is None else " ".join(parsed)
        assert accepted == Sample(text, tokens, (0.0,) * len(tokens), VERSION)
        if counted:
            assert counted == {Reason.UNTRUE: 1}
            self.tally.untrue += 1
            return None
        if accepted.tokens and far(taken.data["logprobs"], sample.behavior_logprobs):
            return True
        if accepted.tokens not in ((), sample.tokens):
            return False
        self.tally.true += 1
        return None


def far(said: list[float], own: tuple[float, ...]) -> bool:
    """Whether log-probabilities are further from the sampler's than the host allows."""
    return any(abs(a - b) > MAX_DISTANCE for a, b in zip(said, own, strict=True))


def junk(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON."""
    kind = rng.randrange(7 if depth < 3 else 5)
    if kind < 5:
        return (None, rng.choice(NUMBERS), rng.choice(TEXTS), bool(rng.randrange(2)), rng.random())[kind]
    inner = [junk(rng, depth + 1) for _ in range(rng.randrange(4))]
    return inner if kind == 5 else {rng.choice((*TEXTS, "tokens", "legal")): value for value in inner}


def words(rng: random.Random, spec: ReplySpec) -> str:
    """Other legal words, or the same ones."""
    return " ".join(spec.words(rng.randrange(spec.size)))


def lie_tokens(rng: random.Random, data: Payload, spec: ReplySpec) -> None:
    tokens = list(data["tokens"])
    tokens[rng.randrange(len(tokens) or 1) : 1] = [rng.choice((0, 1, 2, 5, 9, 40, 2**31 - 1))]
    choices = (tokens, [0] * len(tokens), tokens * rng.randint(2, 40), tokens[:-1], tokens + [0] * 3)
    data["tokens"] = rng.choice(choices)
    data["logprobs"] = [rng.choice((-0.1, -5.0, -1e30, 0.0))] * len(data["tokens"])


def lie_logprobs(rng: random.Random, data: Payload, spec: ReplySpec) -> None:
    shift = rng.choice((-0.02, -5.0, -20.0, -40.0, -88.0, -200.0, -1e30, 0.5, float("nan"), float("-inf")))
    data["logprobs"] = [logprob + shift for logprob in data["logprobs"]]
    if rng.random() < 0.2:
        data["logprobs"] = data["logprobs"] * 2


def lie_version(rng: random.Random, data: Payload, spec: ReplySpec) -> None:
    data["version"] = rng.choice((0, VERSION - 1, VERSION + 1, 2**31 - 1, 2**31, -1, True, "3", 3.5))


def lie_beside(rng: random.Random, data: Payload, spec: ReplySpec) -> None:
    key = rng.choice(
        ("finish", "usage", "thought", "thinking", "seen", "legal", "price", "missing", "tokens", "token ")
    )
    data[key] = rng.choice(("length", "missing", {"prompt": -1.0}, {"x": 1e308}, "thinking", 9, True, junk(rng)))


def lie_by_silence(rng: random.Random, data: Payload, spec: ReplySpec) -> None:
    for key in rng.sample(("tokens", "logprobs", "version"), rng.randint(1, 3)):
        data.pop(key, None)


LIES: Final[tuple[Callable[[random.Random, Payload, ReplySpec], None], ...]] = (
    lie_tokens,
    lie_logprobs,
    lie_logprobs,
    lie_version,
    lie_beside,
    lie_by_silence,
)


def lie(rng: random.Random, honest: Payload, spec: ReplySpec) -> bytes:
    """Return a payload with up to three lies."""
    payload = {**honest, "data": dict(honest["data"])}
    where = rng.random()
    if where < 0.1:  # of the envelope
        payload[rng.choice(("episode", "sender", "n", "kind", "reply_to", "v", "data", "x"))] = junk(rng)
    elif where < 0.2:  # other legal words
        payload["body"] = words(rng, spec)
    elif where < 0.3:  # with spaces, illegal or very long
        payload["body"] = rng.choice((f" {honest['body']} \t", *TEXTS, "m0 " * 9, "y " * 3000, "x" * 10_000))
    elif where < 0.35:  # words of its choice, with a whole story to them
        payload["body"] = words(rng, spec)
        payload["data"]["logprobs"] = [-50.0] * len(payload["data"]["tokens"])
    if where >= 0.2 and isinstance(payload["data"], dict):
        for change in rng.sample(LIES, rng.choice((0, 1, 1, 2, 3)) if where < 0.35 else rng.choice((1, 1, 2, 3))):
            if all(isinstance(payload["data"].get(key), list | tuple) for key in ("tokens", "logprobs")):
                change(rng, payload["data"], spec)
    raw = json.dumps(payload).encode()
    if rng.random() < 0.03:
        at = rng.randrange(len(raw))
        raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + rng.randrange(3) :]
    return raw


class Liars:
    """A world, its models, and updates of them from the episodes of a lying seat."""

    def __init__(self, arena: Mapping[str, Any], out: Path, sharing: str = "separate", **algorithm: Any) -> None:
        steps = {"optimizer": "sgd", "lr": 1.0, "max_grad_norm": 1e9, "critic_width": 16, "critic_heads": 2}
        settings: dict[str, Any] = {"scenario": {"arena": arena}, "out": out, "sharing": sharing, "episodes": EPISODES}
        settings |= {"policy": {"width": 16, "heads": 2}, "algorithm": steps | algorithm}
        self.config = RunConfig.model_validate(settings)
        self.world = World(self.config.scenario)
        self.trainer: Trainer = make_trainer(self.config, self.world)
        self.actors = Actors(HostConfig(url="mqtt://localhost"), self.trainer.policies, self.trainer.seats, out)
        self._start = {name: self._state(name) for name in (*self.trainer.policies, *self.trainer.modules)}

    def _module(self, name: str) -> torch.nn.Module:
        return self.trainer.policies[name].model if name in self.trainer.policies else self.trainer.modules[name]

    def _state(self, name: str) -> dict[str, torch.Tensor]:
        return {key: value.clone() for key, value in self._module(name).state_dict().items()}

    def gradient(self, episodes: list[Episode]) -> torch.Tensor:
        """The gradient of all policies [P]: what one step of size 1 changes; the weights are then as before."""
        self.trainer.version = VERSION
        metrics = self.trainer.update(episodes)
        json.dumps(metrics, allow_nan=False)
        parts = [
            (value - self._start[name][key]).flatten()
            for name in self.trainer.policies
            for key, value in self._module(name).state_dict().items()
        ]
        for name, state in self._start.items():
            self._module(name).load_state_dict(state)
        return torch.cat(parts)

    def play(self, seed: int, liar: str, tally: Tally, most: int = 40) -> None:
        """Play one update's episodes with a lying seat, and check that its lies change nothing but are counted."""
        table = Table(self.actors, liar, random.Random(seed), most, tally)
        before, at_host = self.actors.checks.untrue.copy(), tally.untrue
        plans = [Plan(f"train-{VERSION}-{seed}-{i}", table.seats(), seed) for i in range(EPISODES)]
        episodes = collect(self.world, plans, concurrency=1)
        assert not any(episode.error for episode in episodes)
        rescored, metrics = self.actors.rescored(episodes)
        counted = self.actors.checks.untrue - before
        assert counted.total() == counted[liar] == tally.untrue - at_host + sum(table.late.values())
        assert metrics[f"actors/{liar}/untrue"] == counted[liar]
        tally.scored += len(table.late)
        tally.undrawn += int(metrics[f"actors/{liar}/undrawn"])
        told = [replace(episode, turns=tuple(self._told(table, episode))) for episode in rescored]
        gradient, truth = self.gradient(rescored), self.gradient(told)
        assert gradient.isfinite().all()
        tally.distance = max(tally.distance, float((gradient - truth).norm() / truth.norm().clamp(min=1e-6)))

    def _told(self, table: Table, episode: Episode) -> list[Any]:
        """The turns with the samples as the sampler drew them; words that it did not draw are not trained on."""
        turns = []
        for turn in episode.turns:
            view = episode.log.entries[turn.seq].envelope.reply_to
            assert view is not None
            honest = table.honest[episode.log.episode, turn.agent, view]
            if turn.sample.tokens == honest.tokens:
                assert turn.sample.version == VERSION
                turns.append(turn._replace(sample=honest))
            else:
                assert turn.sample.version == UNTRAINED or not turn.sample.tokens
                turns.append(turn)
        return turns


WORLDS: Final[dict[str, tuple[dict[str, Any], str, dict[str, Any]]]] = {
    "lewis": ({"name": "lewis"}, "sender_0", {}),
    "reconstruction": ({"name": "reconstruction", "values": 4}, "speaker_0", {"credit_per": "token"}),
    "repeated matrix": ({"name": "matrix", "rounds": 4, "game": "stag_hunt"}, "player_1", {"critic": "none"}),
}


def lie_until(payloads: int, out: Path, world: str) -> Tally:
    """Lie so many times in a world, update after update; the seeds are 0, 1, 2, ..."""
    arena, liar, algorithm = WORLDS[world]
    critic = {"credit": "monte_carlo"} if algorithm.get("critic") == "none" else {}
    liars = Liars(arena, out, **algorithm, **critic)
    assert liar in liars.actors.names, list(liars.actors.names)
    tally, seed = Tally(), 0
    while tally.payloads < payloads:
        liars.play(seed, liar, tally)
        seed += 1
    return tally
