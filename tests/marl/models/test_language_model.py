"""A tiny model is an ordinary Hugging Face model, and its masks are the reply's grammar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from arenas.spec import ReplySpec, choose, say, symbols
from marl.context.transcript import BOS, EOS, PAD, PROMPT
from marl.errors import UserError
from marl.models.language_model import LanguageModel, load
from marl.models.tiny import tiny, word_tokenizer
from tests.marl.worlds import lm_for, world

WORDS = ("state", "which", *symbols("m", 4))


def make(seed: int = 1, words: tuple[str, ...] = WORDS) -> LanguageModel:
    return tiny(words, width=16, layers=2, heads=2, context=64, init=0.3, seed=seed)


def test_a_saved_model_is_one_that_transformers_loads(tmp_path: Path) -> None:
    lm = make()
    lm.save(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = f"{BOS} state m3 {PROMPT} m1 {EOS}"
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert ids.tolist() == [list(lm.encode(text))]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, lm.model(ids).logits, atol=0, rtol=0)
    assert tokenizer.eos_token_id == lm.eos == model.config.eos_token_id
    assert tokenizer.decode(ids[0]) == text
    assert (tmp_path / "model.safetensors").is_file()
    assert not list(tmp_path.glob("*.bin"))


def test_what_was_saved_is_loaded_and_answers_the_same(tmp_path: Path) -> None:
    lm = make()
    lm.save(tmp_path)
    again = load(tmp_path)
    assert again.grammar(choose(symbols("m", 4))) == lm.grammar(choose(symbols("m", 4)))
    for one, two in zip(lm.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = make(1), make(1), make(2)
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's numbers were used up
    pairs = list(zip(one.parameters(), two.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


def test_one_word_is_one_token() -> None:
    tokenizer = word_tokenizer(["hello", "m1", "m1", "m10"])
    ids = tokenizer("m10 m1 hello", add_special_tokens=False)["input_ids"]
    assert len(ids) == 3
    assert tokenizer.convert_ids_to_tokens(ids) == ["m10", "m1", "hello"]
    assert tokenizer.pad_token_id == 0
    assert [tokenizer.convert_ids_to_tokens(i) for i in range(5)] == [PAD, BOS, EOS, "<unk>", PROMPT]
    assert len(tokenizer) == 8


@pytest.mark.parametrize("text", ["state s9", "States", "state, m1", "m1m2"])
def test_a_word_that_the_tokenizer_does_not_know_is_a_users_error(text: str) -> None:
    with pytest.raises(UserError, match="does not know a word"):
        make().encode(text)


def test_a_spec_with_unknown_words_is_a_users_error() -> None:
    with pytest.raises(UserError, match="does not know a word of 'x7'"):
        make().grammar(choose(("m1", "x7")))


def test_a_reply_word_of_two_tokens_is_a_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make()
    monkeypatch.setattr(lm, "encode", lambda text: (5, 6))
    with pytest.raises(UserError, match="2 tokens"):
        lm.token("m1")


def test_a_tokenizer_without_an_end_is_a_users_error() -> None:
    lm = make()
    lm.tokenizer.eos_token = None
    with pytest.raises(UserError, match="end-of-sequence"):
        LanguageModel(lm.model, lm.tokenizer)


def allowed(lm: LanguageModel, spec: ReplySpec) -> list[set[str]]:
    return [set(lm.tokenizer.convert_ids_to_tokens(lm.masks[row].nonzero()[:, 0])) for row in lm.grammar(spec)]


def test_masks_allow_what_the_spec_allows_and_nothing_else() -> None:
    lm = make()
    assert allowed(lm, say(("m0", "m1"), 3, 1)) == [{"m0", "m1"}, {"m0", "m1", EOS}, {"m0", "m1", EOS}, {EOS}]
    assert allowed(lm, ReplySpec((("m2",), ("m0", "m3")))) == [{"m2"}, {"m0", "m3"}, {EOS}]
    assert allowed(lm, say(("m0",), 1, 0)) == [{"m0", EOS}, {EOS}]
    rows = len(lm.masks)
    lm.grammar(say(("m0", "m1"), 3, 1))
    assert len(lm.masks) == rows  # a known spec takes no more room


def test_every_arena_speaks_words_its_model_knows() -> None:
    for name in ("lewis", "matrix", "reconstruction", "reference", "chat"):
        here = world(name)
        lm = lm_for(here)
        for specs in here.arena.replies.values():
            for spec in specs:
                lm.grammar(spec)


def test_scores_are_those_of_the_whole_model_within_the_mask() -> None:
    lm = make()
    spec = say(("m0", "m1", "m2"), 2, 1)
    ids = torch.tensor([[*lm.encode(f"{BOS} state {PROMPT} m1 {EOS}")], [*lm.encode(f"{BOS} {PROMPT} m2 m0 {EOS}")]])
    trained = torch.tensor([[False, False, False, True, True], [False, False, True, True, True]])
    rows = lm.grammar(spec)
    with torch.no_grad():
        scores = lm.score(ids, trained, torch.tensor([rows[0], rows[1], rows[0], rows[1], rows[2]]))
        logits = lm.model(ids).logits
    names = [symbols("m", 3), (*symbols("m", 3), EOS), symbols("m", 3), (*symbols("m", 3), EOS), (EOS,)]
    places = [(0, 3), (0, 4), (1, 2), (1, 3), (1, 4)]
    for n, ((row, column), options) in enumerate(zip(places, names, strict=True)):
        among = torch.tensor([lm.token(word) for word in options])
        p = logits[row, column - 1, among].softmax(0)
        said = options.index(lm.tokenizer.convert_ids_to_tokens(int(ids[row, column])))
        torch.testing.assert_close(scores.logp[n], p[said].log())
        torch.testing.assert_close(scores.entropy[n], -(p * p.log()).sum())


def test_gradients_of_entropy_and_log_probability_are_finite_under_any_mask() -> None:
    lm = make()
    (row, end) = lm.grammar(choose(("m0",)))
    ids = torch.tensor([lm.encode(f"{BOS} {PROMPT} m0 {EOS}")])
    trained = torch.tensor([[False, False, True, True]])
    scores = lm.score(ids, trained, torch.tensor([row, end]))
    (scores.logp.sum() + scores.entropy.sum()).backward()  # type: ignore[no-untyped-call]
    for parameter in lm.model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert scores.entropy.tolist() == [0.0, 0.0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_shape(path: Path) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"hidden_size": 32}))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", cut),
        ("model.safetensors", Path.unlink),
        ("tokenizer.json", cut),
        ("tokenizer.json", Path.unlink),
        ("config.json", cut),
        ("config.json", Path.unlink),
        ("config.json", other_shape),
    ],
)
def test_a_damaged_folder_is_a_users_error_of_one_sentence(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    make().save(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(UserError, match="is not a whole model folder") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_masks_that_grew_while_sampling_can_be_written_to_while_scoring() -> None:
    lm = make(words=symbols("w", 40))
    with torch.inference_mode():
        for n in range(2, 30):
            lm.grammar(choose(symbols("w", n)))
    row = lm.grammar(choose(symbols("w", 35)))[0]
    assert int(lm.masks[row].sum()) == 35
