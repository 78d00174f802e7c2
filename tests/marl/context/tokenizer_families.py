"""Tokenizers of every family, each with a template like ChatML, trained on a page of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.marl import chats

MARKS: Final = ("<|im_start|>", "<|im_end|>")
ZEPHYR: Final = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
"""Roles in plain text, as those of Zephyr and TinyLlama."""


def _finished(backend: Tokenizer, template: str = chats.CHATML, marks: Sequence[Any] = MARKS) -> Any:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", unk_token="<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": [mark for mark in marks if str(mark) != "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer


def byte_level(normalizer: Any = None, normalized: bool = False, template: str = chats.CHATML) -> Any:
    """GPT-2, Llama 3, Qwen."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([chats.CORPUS] * 4, trainer)
    marks = [AddedToken(mark, special=True, normalized=normalized) for mark in MARKS]
    backend.add_special_tokens(marks)
    return _finished(backend, template, marks)


def unigram(scheme: str) -> Any:
    """SentencePiece's Unigram, as T5 and Gemma's kind: a space is ▁, and stands before text that begins."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    strip = decoders.Strip(" ", 1, 0)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    trainer = trainers.UnigramTrainer(
        vocab_size=500,
        special_tokens=["<unk>", *MARKS, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=["\n", "▁", "_", ":", "(", ")", "|", "."],
        show_progress=False,
        unk_token="<unk>",
    )
    backend.train_from_iterator([f"{line}\n" for line in chats.CORPUS.split(". ")] * 4, trainer)
    return _finished(backend)


def with_words(words: Sequence[Any]) -> Any:
    """A tokenizer to which words were added."""
    tokenizer = byte_level()
    tokenizer.add_tokens(list(words))
    return tokenizer


FAMILIES: Final[dict[str, Callable[[], Any]]] = {
    "byte level": byte_level,
    "byte level, NFKC": lambda: byte_level(normalizers.NFKC()),
    "byte level, NFKC, normalized marks": lambda: byte_level(normalizers.NFKC(), True),
    "byte level, lower case, normalized marks": lambda: byte_level(normalizers.Lowercase(), True),
    "roles in plain text": lambda: byte_level(template=ZEPHYR),
    "roles in plain text, NFKC": lambda: byte_level(normalizers.NFKC(), template=ZEPHYR),
    "unigram, first": lambda: unigram("first"),
    "unigram, always": lambda: unigram("always"),
    "plain words added": lambda: with_words(["m0", "m1", "state", "<m2>", "[go]", "\n\n", "\t"]),
    "words added that strip": lambda: with_words(
        [
            AddedToken("m0", lstrip=True, rstrip=True),
            AddedToken("s1", normalized=False),
            AddedToken("m1", single_word=True),
        ]
    ),
    "control tokens that are not special": lambda: with_words(["<|fim_prefix|>", "<｜User｜>"]),
}
