"""Envelopes that a host accepts; all others are rejected once, with a reason, and change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marl.episode import Sample
from marl.remote.host_protocol import HostProtocol
from marl.remote.rejections import EXCERPT, Reason, Rejections
from marl.remote.seat_registry import Lobby
from protocols import topics
from protocols.envelope import MAX_BYTES, Envelope, Kind
from protocols.topics import LOBBY

SEATS = ("a_0", "b_0")
TOKENS = {"a_0": "the token of a", "b_0": "the token of b"}
TOPIC = topics.sent_by("run", "e0", "a_0")
SPEC = {"words": ["m0", "m1"], "places": 1, "kind": "say"}


class Scene:
    """A host protocol in the middle of an episode: `a_0` is asked, `b_0` only listens."""

    def __init__(self, tokens: dict[str, str] | None = TOKENS, path: Path | None = None, **options: Any) -> None:
        self.sent: list[tuple[str, Envelope]] = []
        self.journal: list[tuple[str, str, Sample | None]] = []
        self.rejections = Rejections(path)
        self.lobby = Lobby(SEATS, tokens, lambda seat: None)
        self.protocol = HostProtocol(
            "run",
            "host",
            self.lobby,
            self.rejections,
            lambda topic, envelope: self.sent.append((topic, envelope)),
            journal=lambda *line: self.journal.append(line),
            **options,
        )
        self.protocol.opened = True
        for seat in SEATS:
            data = {"agent": seat, "policy": "random", **({"token": tokens[seat]} if tokens else {})}
            self.arrive(topics.sent_by("run", LOBBY, seat), Envelope(LOBBY, seat, 1, Kind.JOIN, data=data).to_json())
        self.answer: Future[Sample | None] = Future()
        self.protocol.tell("b_0", Envelope("e0", "referee", 0, Kind.SAY, body="hello"))
        self.protocol.ask(
            "a_0", Envelope("e0", "referee", 1, Kind.VIEW, "a_0", seq=7, data={"reply": SPEC}), self.answer
        )
        assert not self.rejections.counts
        assert not self.lobby.missing

    def arrive(self, topic: str, raw: bytes) -> None:
        self.protocol.arrived(topic, raw)

    def state(self) -> Any:
        return deepcopy((self.lobby.claims, self.journal, len(self.sent), self.answer.done(), self.told()))

    def told(self) -> Any:
        return [(key, list(seated.sent), sorted(seated.numbers)) for key, seated in self.protocol._seated.items()]


def reply(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"episode": "e0", "sender": "a_0", "n": 0, "kind": "say", "body": "m1", "reply_to": 7}
    whole |= {"data": {"token": TOKENS["a_0"], "tokens": [4, 2], "logprobs": [-0.5, -0.1], "version": 3}, **changes}
    return whole


def data(**changes: Any) -> dict[str, Any]:
    return {"data": {**reply()["data"], **changes}}


def test_a_reply_is_accepted() -> None:
    scene = Scene()
    scene.arrive(TOPIC, json.dumps(reply()).encode())
    assert scene.answer.result(0) == Sample("m1", (4, 2), (-0.5, -0.1), 3)
    assert [line[:2] for line in scene.journal] == [("e0", "a_0")]
    assert not scene.rejections.counts


WRONG: dict[str, tuple[Reason, dict[str, Any]]] = {
    "another sender": (Reason.SENDER, {"sender": "b_0"}),
    "the referee": (Reason.SENDER, {"sender": "referee"}),
    "another episode": (Reason.EPISODE, {"episode": "e1"}),
    "the lobby": (Reason.EPISODE, {"episode": LOBBY}),
    "no token": (Reason.TOKEN, {"data": {}}),
    "a wrong token": (Reason.TOKEN, data(token="guess")),
    "the other's token": (Reason.TOKEN, data(token=TOKENS["b_0"])),
    "a token that is a list": (Reason.TOKEN, data(token=[TOKENS["a_0"]])),
    "another view": (Reason.UNASKED, {"reply_to": 6}),
    "no view": (Reason.UNASKED, {"reply_to": None}),
    "a move": (Reason.KIND, {"kind": "move"}),
    "a view": (Reason.KIND, {"kind": "view"}),
    "a reward": (Reason.KIND, {"kind": "reward"}),
    "unknown data": (Reason.DATA, data(seen=99)),
    "tokens below 0": (Reason.DATA, data(tokens=[-1, 2])),
    "tokens that are text": (Reason.DATA, data(tokens=["4", "2"])),
    "tokens that are no list": (Reason.DATA, data(tokens=4)),
    "tokens that are true": (Reason.DATA, data(tokens=[True, 2])),
    "too few logprobs": (Reason.DATA, data(logprobs=[-0.5])),
    "logprobs above 0": (Reason.DATA, data(logprobs=[0.5, -0.1])),
    "logprobs that are nan": (Reason.DATA, data(logprobs=[float("nan"), -0.1])),
    "logprobs that are infinite": (Reason.DATA, data(logprobs=[float("-inf"), -0.1])),
    "a version below 0": (Reason.DATA, data(version=-1)),
    "a finish of its own": (Reason.DATA, data(finish="missing")),
    "an unknown field": (Reason.MALFORMED, {"x": 1}),
    "a schema to come": (Reason.MALFORMED, {"v": 2}),
    "a count below 0": (Reason.MALFORMED, {"n": -1}),
    "a body that is null": (Reason.MALFORMED, {"body": None}),
    "data that is a list": (Reason.MALFORMED, {"data": []}),
    "a kind of its own": (Reason.MALFORMED, {"kind": "shout"}),
    "too large": (Reason.OVERSIZE, {"body": "x" * MAX_BYTES}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_reply_with_one_fault_is_rejected(name: str) -> None:
    reason, change = WRONG[name]
    scene = Scene()
    before = scene.state()
    scene.arrive(TOPIC, json.dumps(reply(**change)).encode())
    assert scene.rejections.counts == {reason: 1}
    assert scene.state() == before
    scene.arrive(TOPIC, json.dumps(reply()).encode())
    assert scene.answer.done()  # the right one still comes in: nothing that was refused stands in its way


def test_a_reply_is_accepted_once() -> None:
    scene = Scene()
    raw = json.dumps(reply()).encode()
    for _ in range(3):
        scene.arrive(TOPIC, raw)
    assert scene.rejections.counts == {Reason.REPLAYED: 2}
    scene.arrive(TOPIC, json.dumps(reply(n=1)).encode())
    assert scene.rejections.counts[Reason.UNASKED] == 1
    assert len(scene.journal) == 1


def test_missing_envelopes_of_a_seat_are_counted() -> None:
    scene = Scene()
    scene.arrive(TOPIC, json.dumps(reply(n=3)).encode())
    assert scene.answer.done()
    assert scene.protocol.missed == 3


@pytest.mark.parametrize(
    ("seat", "envelope", "reason"),
    [
        ("a_0", {"kind": "join", "data": {"agent": "x"}}, Reason.TOKEN),
        ("a_0", {"kind": "join", "data": {"agent": "x", "token": TOKENS["b_0"]}}, Reason.TOKEN),
        ("a_0", {"kind": "leave", "data": {"agent": "a_0"}}, Reason.TOKEN),
        ("a_0", {"kind": "join", "data": {"agent": "x", "token": TOKENS["a_0"]}}, Reason.TAKEN),
        ("a_0", {"kind": "say", "data": {"agent": "a_0", "token": TOKENS["a_0"]}}, Reason.KIND),
        ("a_0", {"kind": "join", "data": {"agent": 7}}, Reason.DATA),
        ("a_0", {"kind": "join", "data": {"agent": "a_0", "have": {"e0": -1}}}, Reason.DATA),
        ("c_0", {"kind": "join"}, Reason.SEAT),
        ("referee", {"kind": "end", "data": {"host": "me"}}, Reason.SENDER),
    ],
)
def test_lobby_envelopes_are_checked(seat: str, envelope: dict[str, Any], reason: Reason) -> None:
    scene = Scene()
    before = scene.lobby.claims.copy()
    whole = {"episode": LOBBY, "sender": seat, "n": 5, **envelope}
    scene.arrive(topics.sent_by("run", LOBBY, seat), json.dumps(whole).encode())
    assert scene.rejections.counts == {reason: 1}
    assert scene.lobby.claims == before
    assert not scene.lobby.missing


def test_rejections_are_logged_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marl.remote.rejections.MOST_LINES", 3)
    scene = Scene(path=tmp_path / "refused.jsonl")
    for _ in range(5):
        scene.arrive(TOPIC, b"\xff" * 1000)
    lines = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert lines[0]["reason"] == "not an envelope"
    assert (lines[0]["topic"], lines[0]["bytes"], len(lines[0]["payload"])) == (TOPIC, 1000, EXCERPT)
    assert str(scene.rejections) == "5 not an envelope"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
LEVEL = st.sampled_from(["a_0", "b_0", "c_0", "e0", "e1", LOBBY, "referee", "x"]) | st.text(max_size=5)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "v": st.sampled_from([1, 2]) | JSON,
    "episode": LEVEL,
    "sender": LEVEL,
    "n": st.integers(-1, 5) | JSON,
    "kind": st.sampled_from([kind.value for kind in Kind]) | JSON,
    "to": LEVEL,
    "seq": st.integers(-2, 9) | JSON,
    "body": st.sampled_from(["m0", "m1"]) | st.text(max_size=9),
    "reply_to": st.sampled_from([7, 6, None]) | JSON,
    "data": JSON
    | st.fixed_dictionaries(
        {},
        optional={
            "token": st.sampled_from(["", "guess", "the token of c"]) | JSON,
            "tokens": JSON,
            "logprobs": JSON,
            "agent": st.sampled_from(["a_0", "x"]) | JSON,
            "have": JSON,
            "host": st.just("other"),
        },
    ),
}
SHAPED = st.fixed_dictionaries({}, optional=FIELDS) | st.fixed_dictionaries(
    {"episode": LEVEL, "sender": LEVEL, "n": st.integers(0, 3), "kind": st.sampled_from([k.value for k in Kind])},
    optional={key: FIELDS[key] for key in ("body", "data", "reply_to", "seq")},
)


def cut(raw: bytes, at: int, byte: int) -> bytes:
    """A payload with a bit of damage."""
    return raw[: at % (len(raw) + 1)] + bytes([byte]) + raw[at % (len(raw) + 1) + byte % 3 :]


PAYLOAD = st.one_of(
    st.binary(max_size=60),
    JSON.map(lambda item: json.dumps(item).encode()),
    SHAPED.map(lambda item: json.dumps(item).encode()),
    SHAPED.map(lambda item: json.dumps(item).encode()),
    st.builds(
        cut, st.just(json.dumps(reply(**data(token="guess"))).encode()), st.integers(0, 300), st.integers(0, 255)
    ),
)
WHERE = st.builds(lambda episode, seat: f"sabir/run/{episode}/from/{seat}", LEVEL, LEVEL) | st.sampled_from(
    [TOPIC, topics.sent_by("run", LOBBY, "a_0"), "sabir", "", "a/b/c/d/e", "sabir/run/e0/to/a_0"]
)
BATCH = 50


def fuzz(shots: list[tuple[str, bytes]]) -> None:
    """Nobody who lacks the token gets anything in, and every attempt is counted once."""
    scene = Scene()
    before = scene.state()
    for topic, raw in shots:
        scene.arrive(topic, raw)
    ignored = sum(leftover(topic, raw) for topic, raw in shots)
    assert sum(scene.rejections.counts.values()) == len(shots) - ignored
    assert scene.state() == before
    scene.arrive(TOPIC, json.dumps(reply()).encode())
    assert scene.answer.done()


def leftover(topic: str, raw: bytes) -> bool:
    """A `leave` of a seat that this run does not have: an earlier run of this name left it behind."""
    try:
        envelope, where = Envelope.from_json(raw), topics.parse(topic)
    except ValueError:
        return False
    unknown = where.agent not in (*SEATS, "referee") and envelope.sender == where.agent
    return unknown and envelope.episode == where.episode == LOBBY and envelope.kind is Kind.LEAVE


def fuzzing(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(max_examples=examples, suppress_health_check=checks)


@fuzzing(60)
@given(st.lists(st.tuples(WHERE, PAYLOAD), min_size=BATCH, max_size=BATCH))
def test_three_thousand_fuzzed_payloads_are_rejected(shots: list[tuple[str, bytes]]) -> None:
    fuzz(shots)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@fuzzing(2000)
@given(st.lists(st.tuples(WHERE, PAYLOAD), min_size=BATCH, max_size=BATCH))
def test_a_hundred_thousand_fuzzed_payloads_are_rejected(shots: list[tuple[str, bytes]]) -> None:
    fuzz(shots)
