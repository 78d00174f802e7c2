"""A model whose layers accelerate has put in several places. Where there is one device, the other place is the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model  # type: ignore[import-untyped]

from arenas.spec import say
from marl.inference.server import ChatServer
from marl.models.lora_base import Base
from marl.models.pretrained import load_base
from marl.policy.config import HfPolicy, LoraSettings
from tests.marl import chats
from tests.marl.models.test_chat_model import answers, scored

PLACES = {
    **dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.norm", "lm_head"), "cpu"),
    "model.layers.1": "disk",
}


def spread(kind: str, folder: Path) -> Base:
    words = chats.tokenizer()
    model = dispatch_model(chats.model(len(words) + 5, kind), PLACES, offload_dir=str(folder))
    return Base(model, words, "tiny", torch.float32)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_model_in_several_places_samples_and_scores_as_a_whole_one(kind: str, tmp_path: Path) -> None:
    whole, parts = chats.chat(chats.base(kind=kind)), chats.chat(spread(kind, tmp_path))
    assert whole.base.lean == (kind == "llama")
    assert parts.base.sharded
    assert not parts.base.lean
    spec = say(("red", "reddish", "blue"), 3, 1)
    expected, actual = (answers(ChatServer(lm, "one"), spec, ["x", "y y"]) for lm in (whole, parts))
    for one, other in zip(expected, actual, strict=True):
        assert one.tokens == other.tokens
        assert one.behavior_logprobs == pytest.approx(other.behavior_logprobs, abs=1e-4)
        mine, theirs = (scored(lm, [5, 9], spec, one.tokens) for lm in (whole, parts))
        assert mine == pytest.approx(theirs, abs=1e-4)


def test_where_there_is_one_device_to_shard_over_the_model_is_whole(tmp_path: Path) -> None:
    settings = HfPolicy(hf=str(chats.folder(tmp_path)), shard=True, lora=LoraSettings(rank=4))
    base = load_base(settings.hf, settings)
    assert (base.sharded, base.lean, base.device.type) == (False, True, "cpu")
