"""Free talk: whatever is said, nothing raises, and what hears it reads what it can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenas.spec import UNKNOWN, ReplySpec, from_wire, say
from marl.context.traces import trace
from marl.context.transcript import EOS
from marl.critic.tiny import tiny_critic
from marl.errors import UserError
from marl.evaluation import traffic
from marl.intervention.inject import Inject
from marl.intervention.message import Replace
from marl.policy.base import Policy
from marl.policy.human import Human
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import fork, replay
from marl.study.data import lexicon
from protocols.envelope import Kind
from tests.marl.conftest import marl
from tests.marl.worlds import NOISY, STORMY, lm_for, one, raw, seated, world

ANYTHING: Final = st.text(max_size=50) | st.lists(
    st.sampled_from(["m0", "hello", EOS, UNKNOWN, "<pad>", "<say>", "<heard>", ">", ":", "a_0", "side", "_", "[/b]"]),
    max_size=6,
).map(" ".join)
HERE: Final[dict[str, Any]] = {
    "arena": {"rounds": 1, "least": 0, "free": 40},
    "channels": {"side": {"members": ["a_0", "b_0"], "effects": [e for e in STORMY if e["type"] != "eavesdrop"]}},
    "channel": [*NOISY, {"type": "erasure", "p": 0.3}, {"type": "rewrite", "table": {"hello": "m0"}}],
}


def speaker(text: str) -> Policy:
    return Scripted(lambda heard, spec: text if spec.kind == "say" else spec.words(0)[0])


@settings(max_examples=150, deadline=None)
@given(ANYTHING, ANYTHING)
def test_free_text_is_delivered_read_and_counted(text: str, other: str) -> None:
    here = world(**HERE)
    lm = lm_for(here)
    seats = {"a_0": speaker(text), "b_0": speaker(f"side {other}"), "c_0": seated(here, lm)["c_0"]}
    episode = one(here, Plan("e", seats, 1))
    assert episode.error == ""
    for scope in ("central", "own"):
        critic = tiny_critic(
            here.agents, here.vocabulary, scope=scope, width=16, layers=1, heads=1, context=256, seed=1
        )
        assert critic.predict([episode])[1].isfinite().all()
    read = trace(episode, "c_0", lm.open)
    unmasked = [token for i, token in enumerate(read.ids) if not any(a <= i < b for a, b, _ in read.spans)]
    assert lm.eos not in unmasked, "nobody ends a reply by saying so"
    counted = traffic.count(here, [episode])
    for account in counted.channels.values():
        assert (account.total.bits, account.total.capacity) == (None, None)
    assert all(isinstance(value, float) for value in counted.metrics().values())
    lexicon.rows(lexicon.utterances([episode.log]))
    assert raw(collect(here, [replay(episode.log)])) == raw([episode])
    said = next(episode.log.replies("a_0"))
    interventions = [
        Replace(seq=said.seq, body=" ".join(other.split())),
        Inject(seq=said.seq, sender="b_0", body="what now"),
    ]
    assert one(here, fork(episode.log, said.seq, seats, do=interventions)).error == ""


@given(ANYTHING, st.integers(1, 60), st.booleans())
def test_a_short_line_of_text_is_legal(text: str, free: int, several: bool) -> None:
    spec = say(("m0", "m1"), 2, channels=("public", "side") if several else (), free=free)
    assert from_wire(dict(spec.wire)) == spec
    words = spec.parse(text)
    if words is None:
        named = not several or text.split()[:1] in (["public"], ["side"])
        assert len(text) > free or not text.isprintable() or len(text.split()) <= several or not named
    else:
        channel, said = spec.route(words)
        assert said == tuple(text.split()[several:])
        assert spec.parse(spec.text(channel, " ".join(said))) == words or len(spec.text(channel, " ".join(said))) > free


def test_unknown_words_are_allowed_in_messages_only() -> None:
    lm = lm_for(world(**HERE))
    unknown = lm.tokenizer.unk_token_id
    assert lm.encode("a_0 : m0 moin", True) == (*lm.encode("a_0 : m0"), unknown)
    assert lm.encode(f"m0{EOS}m0", True) == (lm.token("m0"), unknown, lm.token("m0"))
    with pytest.raises(UserError, match="does not know a word of 'secret moin'"):
        lm.encode("secret moin")


def test_the_critic_rejects_unknown_words_without_free_talk() -> None:
    strict = world(arena={"rounds": 1})
    critic = tiny_critic(
        strict.agents, strict.vocabulary, scope="central", width=16, layers=1, heads=1, context=64, seed=1
    )
    with pytest.raises(UserError, match="the critic does not know the word 'moin'"):
        critic.reader.encode("moin", said=True)


def test_unknown_words_are_priced_and_cut_but_not_disturbed() -> None:
    effects = [{"type": "noise", "p": 1.0}, {"type": "budget", "symbols": 2}, {"type": "price", "per_symbol": 0.5}]
    here = world(arena={"rounds": 1, "free": 40}, channel=effects)
    episode = one(here, Plan("e", {seat: speaker("good m0 morning") for seat in here.agents}, 1))
    entry = next(e for e in episode.log.entries if e.envelope.kind is Kind.SAY)
    assert entry.envelope.data["price"] == 1.0
    for heard in entry.heard:
        first, second = (heard.body or "").split()
        assert first == "good"
        assert second in ("m1", "m2", "m3")


def test_a_person_may_type_any_short_line() -> None:
    here = world(arena={"rounds": 1, "players": 2, "free": 12})
    lines = iter(["much too long to say", "good morning", "x0"])
    person = Human(lambda heard, spec: next(lines))
    episode = one(here, Plan("e", {"a_0": person, "b_0": speaker("m0")}, 1))
    assert [reply.body for reply in episode.log.replies("a_0")] == ["good morning", "x0"]


def test_the_prompt_says_what_is_legal() -> None:
    assert say(("m0",), 1, free=9).describe() == "says anything of at most 9 characters"
    both = ReplySpec((("public", "side"), ("m0",)), "say", 2, ("public", "side"), 9)
    assert both.describe() == "says anything of at most 9 characters after the name of a channel: public|side"


def test_the_commands_work_with_free_talk(make_run: Callable[..., Path]) -> None:
    run = make_run("negotiation", "scenario.arena.turns=2")
    assert "negotiator_0" in (run / "report.html").read_text()
    line = "I'd like the [b]hats[/b] <eos>"
    played = marl("play", run, "--seat", "negotiator_0=human", "--greedy", stdin=f"{line}\n0 0 0\n")
    assert played.code == 0, played.err
    assert line in played.out
    forked = marl("fork", run, "--say", "I would like the hats")
    assert forked.code == 0, forked.err
    assert "I would like the hats" in forked.out
    long = marl("fork", run, "--say", "hats " * 50)
    assert long.code == 2
    assert "--say: negotiator_0 says anything of at most 200 characters, in one line" in long.err
