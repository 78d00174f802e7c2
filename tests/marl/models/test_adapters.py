"""Adapters of every kind of peft: computed as peft does, sampled as scored, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import Tensor

from marl.errors import UserError
from marl.inference.server import ChatServer
from marl.models.adapters import kinds
from marl.models.chat_model import ChatModel
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from tests.marl import chats
from tests.marl.models.adapter_kinds import KINDS, LORAS, OUTSIDE, SIZE, kind, loaded, saved, truth
from tests.marl.worlds import WORLDS, world
from trainers.batch import collate

IDS = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))
EVERY = (*LORAS, *KINDS)
LEAN = {"plain", "every matrix", "gaussian", "rslora", "dropout", "alphas", "one layer", "pissa", "olora"}
ENGINE = (
    "one layer",
    "dora",
    "dora on the head",
    "saved embeddings",
    "tokens of the head",
    "layers twice",
    "VERA",
    "IA3",
)
some_in_ci = [pytest.param(name, marks=[] if name in ENGINE else [pytest.mark.slow]) for name in EVERY]


def logits(lm: ChatModel, ids: Tensor = IDS) -> Tensor:
    return lm.logits(lm.states(ids).flatten(0, 1)).view(*ids.shape, -1)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", EVERY)
def test_an_adapter_computes_what_peft_computes(name: str, tmp_path: Path) -> None:
    base = loaded(saved(tmp_path, name))
    assert base.lean == (name in LEAN)
    with torch.no_grad():
        ours = logits(chats.chat(base, "policy_x"))
        plain = chats.model(SIZE)(IDS).logits
    expected = truth(tmp_path, IDS)
    assert (expected - plain).abs().max() > 0.05, "the adapter changes nothing, so this shows nothing"
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", ["plain", "dora", "head", "saved head", "VERA", "LN_TUNING"])
def test_an_adapter_of_a_model_without_a_lean_pass_computes_what_peft_computes(name: str, tmp_path: Path) -> None:
    base = loaded(saved(tmp_path, name, "qwen3"), "qwen3")
    with torch.no_grad():
        torch.testing.assert_close(
            logits(chats.chat(base, "policy_x")), truth(tmp_path, IDS, "qwen3"), atol=1e-4, rtol=1e-5
        )


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", some_in_ci)
def test_what_is_sampled_is_scored_and_is_what_peft_says(name: str, tmp_path: Path) -> None:
    """Several turns with kept caches, rows of different length; scored in training mode, as an update does."""
    lm = chats.chat(loaded(saved(tmp_path, name)), "policy_x")
    here = world(**WORLDS["chat, anything may be said"])
    episodes = collect(here, [Plan(f"e{i}", dict.fromkeys(here.agents, ChatServer(lm, "a")), seed=3) for i in range(3)])
    assert not [episode.error for episode in episodes if episode.error]
    batch = collate(lm, episodes, here.agents, np.ones((3, max(len(e.turns) for e in episodes))))
    lm.train()
    drawn = lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp
    sampled = batch.behavior_logprobs[batch.trained]
    torch.testing.assert_close(drawn.detach(), sampled, atol=1e-4, rtol=0)
    own = truth(tmp_path, batch.ids)[:, :-1][batch.trained[:, 1:]]
    own = own.masked_fill(~lm.masks[batch.mask_rows[batch.trained]], -torch.inf).log_softmax(-1)
    torch.testing.assert_close(own.gather(1, batch.ids[batch.trained][:, None])[:, 0], sampled, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["plain", "dora", "saved head", "tokens", "VERA", "IA3", "LOHA"])
def test_an_adapter_learns_is_saved_and_copied_whole(name: str, tmp_path: Path) -> None:
    base = loaded(saved(tmp_path / "first", name))
    lm = chats.chat(base, "policy_x")
    before = {path: weight.detach().clone() for path, weight in base.model.named_parameters()}
    logits(lm).square().mean().backward()  # type: ignore[no-untyped-call]
    own = list(lm.learner.parameters())
    assert own
    assert all(p.requires_grad and p.grad is not None for p in own)
    with torch.no_grad():
        for p in own:
            assert p.grad is not None
            p.sub_(0.1 * p.grad.sign())
    base.touch()
    mine = {id(p) for p in own}
    for path, weight in base.model.named_parameters():
        assert torch.equal(weight, before[path]) == (id(weight) not in mine), path
    lm.save(tmp_path / "second")
    expected = truth(tmp_path / "second", IDS)
    copy = lm.frozen()
    assert copy.adapter not in (None, lm.adapter)
    with torch.no_grad():
        torch.testing.assert_close(logits(lm), expected, atol=1e-4, rtol=1e-5)
        for p in own:
            p.add_(0.5)
        base.touch()
        torch.testing.assert_close(logits(copy), expected, atol=1e-4, rtol=1e-5)
        base.take("policy_x", tmp_path / "first")
        torch.testing.assert_close(logits(lm), truth(tmp_path / "first", IDS), atol=1e-4, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing")
@pytest.mark.parametrize("name", ["dora", "saved norm"])
def test_recomputed_passes_use_their_own_adapter_whatever_was_scored_since(name: str, tmp_path: Path) -> None:
    gradients = []
    one, two = saved(tmp_path / "one", name), saved(tmp_path / "two", "ranks", seed=4)
    for recompute in (False, True):
        base = loaded(one)
        base.load("policy_y", two)
        if recompute:
            base.recompute = True
            base.model.gradient_checkpointing_enable({"use_reentrant": False})
        lm, reference = chats.chat(base, "policy_x"), chats.chat(base, "policy_y")
        lm.train()
        loss = logits(lm).square().mean()
        with torch.no_grad():
            logits(reference)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in lm.learner.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed)


@pytest.mark.parametrize("name", ["one layer", "dora", "head", "saved head", "embeddings"])
def test_adapters_of_several_kinds_and_the_model_alone_share_a_batch(name: str, tmp_path: Path) -> None:
    base = loaded(saved(tmp_path / "one", name))
    base.load("policy_y", saved(tmp_path / "two", "every matrix" if name == "one layer" else "ranks", seed=4))
    rows = torch.cat([IDS, IDS[:1]])
    expected = [truth(tmp_path / "one", IDS[:1]), truth(tmp_path / "two", IDS[1:]), chats.model(SIZE)(IDS[:1]).logits]
    names = ["policy_x", "policy_y", None]
    with torch.no_grad():
        states = base.states(rows, names)
        for place in range(rows.shape[1]):
            ours = base.logits(states[:, place], names)
            torch.testing.assert_close(ours, torch.cat(expected)[:, place], atol=1e-4, rtol=1e-5)
    base.drop("policy_x")
    base.drop("policy_y")
    with torch.no_grad():
        torch.testing.assert_close(logits(chats.chat(base)), chats.model(SIZE)(IDS).logits, atol=1e-4, rtol=1e-5)


def test_adapters_that_peft_cannot_keep_together_are_one_sentence(tmp_path: Path) -> None:
    base = loaded(saved(tmp_path / "one", "tokens of the head"))
    with pytest.raises(UserError, match=r"tiny cannot hold .* beside its other adapters"):
        base.load("policy_y", saved(tmp_path / "two", "plain"))


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_adapter_that_acts_outside_of_the_modules_is_refused_by_name(name: str, tmp_path: Path) -> None:
    kind(name, **OUTSIDE[name]).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"is an adapter of the kind {name}, which .*, so it cannot be played") as error:
        loaded(tmp_path)
    assert "\n" not in str(error.value)


def test_every_kind_of_adapter_of_peft_is_computed_or_refused() -> None:
    known = {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    assert known == {*kinds.IN_PLACE, *kinds.REFUSED} | (known & {"ADAMSS"})
    assert {*KINDS, "LORA"} == kinds.IN_PLACE
    assert {*OUTSIDE} == {*kinds.REFUSED}


def edited(folder: Path, **more: object) -> Path:
    file = folder / kinds.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    return folder


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"alora_invocation_tokens": [9, 77]}, "is a LoRA adapter with alora_invocation_tokens"),
        ({"peft_type": "TOMORROW"}, "is an adapter of the kind TOMORROW, which is not known here"),
        ({"task_type": "SEQ_CLS"}, "is an adapter for SEQ_CLS, not CAUSAL_LM"),
        ({"peft_type": None}, "is an adapter of the kind None"),
        ({"r": "many"}, "cannot take the adapter"),
    ],
)
def test_an_adapter_that_cannot_be_played_is_one_sentence(more: dict[str, object], wrong: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=wrong) as error:
        loaded(edited(saved(tmp_path, "plain"), **more))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["all biases", "pissa", "layers twice"])
def test_a_base_that_an_adapter_changes_has_no_other_policy(name: str, tmp_path: Path) -> None:
    base = loaded(saved(tmp_path / "one", name))
    with pytest.raises(UserError, match="changes tiny itself"):
        base.states(IDS, [None, None])
    with pytest.raises(UserError, match="changes tiny itself"):
        base.load("policy_y", saved(tmp_path / "two", "plain"))
    plain = loaded(saved(tmp_path / "three", "plain"))
    with pytest.raises(UserError, match="changes tiny itself"):
        plain.load("policy_y", tmp_path / "one")


def test_embeddings_of_another_model_in_an_adapter_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = saved(tmp_path, "head") / "adapter_model.safetensors"
    weights = load_file(file)
    key = next(key for key in weights if key.endswith("lm_head.base_layer.weight"))
    for other in (weights[key] + 1, weights[key][:-2]):
        save_file(weights | {key: other.contiguous()}, file)
        with pytest.raises(UserError, match=r"brings lm_head.base_layer.weight .* which is not that of tiny"):
            loaded(tmp_path)


def test_a_setting_of_lora_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kinds, "LORA_FIELDS", kinds.LORA_FIELDS - {"use_dora"})
    with pytest.raises(UserError, match="is a LoRA adapter with use_dora, which cannot be played here"):
        loaded(saved(tmp_path, "dora"))
    assert peft.LoraConfig().use_dora is False
