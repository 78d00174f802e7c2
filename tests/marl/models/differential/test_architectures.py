"""Sampled = scored = the model's own logits, for a dozen kinds of causal LMs; `make models` tries all of them."""

from __future__ import annotations

import warnings

import pytest
import torch
from transformers import CONFIG_MAPPING

from marl.errors import UserError
from marl.inference.engine import Engine
from marl.inference.reading import cached_logits, difference, own_logits
from marl.models.forward.masks import MaskForm, longest_context
from marl.models.forward.twin import twin
from tests.marl import chats
from tests.marl.models.differential.architectures import build
from tests.marl.models.differential.examine import chat_model, examine

KINDS = {
    ("llama", "default"): "lean",
    ("mistral", "default"): "cached",  # one window for all layers
    ("gemma3_text", "default"): "cached",  # windows on some layers
    ("gemma2", "default"): "cached",  # capped logits and scores, eager attention
    ("gpt_oss", "default"): "cached",  # sinks, eager attention, windows, experts
    ("qwen3", "eager"): "cached",
    ("granite", "scaled"): "cached",
    ("cohere2", "scaled"): "cached",
    ("bloom", "default"): "whole",  # distances instead of positions
    ("roberta", "default"): "whole",  # positions that begin at 2
    ("mamba", "default"): "whole",  # a state instead of keys and values
    ("qwen3_5_text", "default"): "whole",  # a hybrid
}


@pytest.mark.parametrize(("name", "variant"), KINDS, ids=map(" ".join, KINDS))
def test_sampled_and_scored_are_the_models_own_logits(name: str, variant: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(name, variant, len(chats.tokenizer()))
        assert model is not None
        outcome = examine(model)
    assert outcome.path == KINDS[name, variant]
    assert outcome.tokens > 8
    assert max(outcome.logits, outcome.sampled, outcome.scored) <= 1e-4


def test_a_model_that_looks_ahead_is_refused_when_it_is_loaded() -> None:
    config = CONFIG_MAPPING["bert"](is_decoder=False)
    config._attn_implementation = "sdpa"
    lm = chat_model(twin(config, 1, len(chats.tokenizer())))
    with pytest.raises(UserError, match=r"tiny: BertLMHeadModel .* is not a causal language model"):
        Engine(lm.base)


def test_a_context_ends_where_rotary_embeddings_turn_otherwise() -> None:
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 64, "rope_theta": 1e4}
    rope |= {"short_factor": [1.0] * 48, "long_factor": [4.0] * 48}
    sizes = {"max_position_embeddings": 256, "original_max_position_embeddings": 64}
    assert longest_context(CONFIG_MAPPING["phi3"](rope_parameters=rope, **sizes)) == 64
    assert longest_context(CONFIG_MAPPING["mamba"]()) == 1 << 30


def test_a_wrong_mask_would_be_noticed() -> None:
    """The suite's own check: with a full mask in place of windows, the cached path is off."""
    model = build("gemma3_text", "default", 64)
    assert model is not None
    rows = torch.randint(5, 60, (2, 28), generator=torch.Generator().manual_seed(0))
    truth = own_logits(model, rows)
    assert difference(cached_logits(model, rows, MaskForm.BY_LAYER), truth) < 1e-4
    assert difference(cached_logits(model, rows, MaskForm.FULL), truth) > 1e-2
