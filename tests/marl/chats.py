"""Tiny chat models: a Llama of random weights, a BPE tokenizer trained on a page of text, a template like ChatML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from marl.models.chat_model import ChatModel
from marl.models.lora_base import Base
from marl.models.tiny import seeded
from marl.policy.config import HfPolicy, LoraSettings

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
THINKING = CHATML.replace(
    "message['content'] + '<|im_end|>",
    "(message['content'].split('</think>')[-1] if message['role'] == 'assistant' else message['content'])"
    " + '<|im_end|>",
)
"""A template that leaves old thoughts out."""
CORPUS = (
    "Two negotiators divide books, hats and balls that they value differently. i want you to give no deal, yes or no. "
    "You are asker_0. Say anything in one line of at most 200 characters, or nothing. Answer with one of: m0, m1, m2. "
    "Guess who: one agent sees a character, the other finds out by questions that are answered with yes or no. "
    "secret x0 x1 pick round t0 t1 character red black blue green hat cap 0 1 2 3 4 5 6 7 8 9 10 Ünïcödé ñandú "
)


def tokenizer(template: str = CHATML, thinking: bool = False) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(["<think>", "</think>"] if thinking else [])]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [CORPUS] * 4,
        trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    pretrained = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    pretrained.chat_template = template
    return pretrained


def model(size: int, kind: str = "llama", context: int = 2048, head: int = 8) -> Any:
    shape: dict[str, Any] = {
        "vocab_size": size,
        "hidden_size": 4 * head,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": head,
        "max_position_embeddings": context,
        "initializer_range": 0.3,
    }
    if kind == "llama":
        return seeded(lambda: LlamaForCausalLM(LlamaConfig(**shape)), 7)
    return seeded(lambda: Qwen3ForCausalLM(Qwen3Config(**shape)), 7)


def base(
    dtype: torch.dtype = torch.float32, kind: str = "llama", template: str = CHATML, context: int = 2048, **more: Any
) -> Base:
    words = tokenizer(template, **more)
    return Base(model(len(words) + 5, kind, context).to(dtype), words, "tiny", dtype)


def chat(on: Base | None = None, adapter: str | None = None, **settings: Any) -> ChatModel:
    policy = HfPolicy(hf="tiny", **({"talk": 12} | settings))
    return ChatModel(on or base(), adapter, lambda seat: "Be brief.", policy).eval()


def adapted(on: Base, *names: str, seed: int = 1, **settings: Any) -> dict[str, ChatModel]:
    """Adapters that change something: their second matrices are drawn too."""
    for number, name in enumerate(names):
        on.add(name, LoraSettings(rank=4), seed + number)
        generator = torch.Generator().manual_seed(seed + number)
        for weight in on.parameters_of(name)[1::2]:
            weight.data.normal_(0, 0.2, generator=generator)
    on.touch()
    return {name: chat(on, name, **settings) for name in names}


def folder(path: Path, kind: str = "llama", head: int = 8) -> Path:
    """Save a tiny chat model as an ordinary folder."""
    words = tokenizer()
    model(len(words), kind, head=head).save_pretrained(path)
    words.save_pretrained(path)
    return path
