"""Tiny language models from scratch: a GPT-2 over a word-level tokenizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedTokenizerFast,
)

from arenas.spec import UNKNOWN
from marl.context.transcript import BOS, EOS, PAD, PROMPT
from marl.models.language_model import LanguageModel


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a word; the special tokens come first."""
    vocabulary = list(dict.fromkeys([PAD, BOS, EOS, UNKNOWN, PROMPT, *words]))
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN, padding_side="right"
    )


def tiny(
    words: Sequence[str], *, width: int, layers: int, heads: int, context: int, init: float, seed: int
) -> LanguageModel:
    """Make a GPT-2 from scratch over a word-level tokenizer; the weights depend on `seed` alone."""
    tokenizer = word_tokenizer(words)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **shape(width, layers, heads, context, init),
    )
    model = seeded(lambda: GPT2LMHeadModel(config), seed)
    level(model.transformer)
    return LanguageModel(model, tokenizer)


def level(trunk: GPT2Model) -> None:
    """Undo GPT-2's down-scaling of weights that write to the residual stream: it is meant for deep models."""
    with torch.no_grad():
        for name, weight in trunk.named_parameters():
            if name.endswith("c_proj.weight"):
                weight *= math.sqrt(2 * trunk.config.n_layer)


def shape(width: int, layers: int, heads: int, context: int, init: float) -> dict[str, Any]:
    """Return the GPT-2 settings that tiny policies and critics share.

    GPT-2 learns its position embeddings, which tell the symbols of a short message apart better than rotary ones do.
    Initial weights of 0.15 instead of 0.02: with 0.02 so little of the context reaches the last
    token's state that two agents need ten times the games before their replies depend on anything.
    """
    return {
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": context,
        "initializer_range": init,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def seeded(make: Any, seed: int) -> Any:
    """Call a constructor with torch's global generator seeded, and restore the generator afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
