"""Chat template of a tokenizer, checked so that a conversation can be extended turn by turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from marl.errors import UserError

Message = dict[str, str]
"""`role` (system, user, assistant) and `content`."""
THOUGHT: Final = ("<think>", "</think>")
PROBES: Final = ("Yes.", "No, two.")


def _any(words: set[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or r"(?!)")


class Template:
    """Chat template of a tokenizer; raises UserError if the template cannot be extended turn by turn."""

    def __init__(self, tokenizer: Any, source: str) -> None:
        self.tokenizer, self.source = tokenizer, source
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(
                f"{source}: its tokenizer has no chat template, so it cannot take turns: use a model tuned for chat"
            )
        named = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        self._marks, self._turns = _any(named), _any(named - set(THOUGHT))
        self.special = frozenset(tokenizer.convert_tokens_to_ids(sorted(named)))
        self.system = True
        try:
            self.render([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
        except UserError:
            self.system = False  # without system turns in the template, their text is put before the first user turn
        self.end, self.ending = self._end()
        self._check()
        self.encode = lru_cache(maxsize=1 << 14)(self._encode)

    def render(self, conversation: Sequence[Message], prompt: bool = True) -> str:
        """Return a conversation as text, up to the beginning of the next reply."""
        shown = [message | {"content": self.clean(message["content"], message["role"])} for message in conversation]
        if not self.system and shown and shown[0]["role"] == "system":
            first, *shown = shown
            content = f"{first['content']}\n\n{shown[0]['content']}" if shown else first["content"]
            shown = [{"role": "user", "content": content}, *shown[1:]]
        try:
            return str(self.tokenizer.apply_chat_template(shown, tokenize=False, add_generation_prompt=prompt))
        except Exception as error:  # templates raise what they like
            raise UserError(f"{self.source}: its chat template rejects a conversation: {error}") from None

    def clean(self, text: str, role: str = "user") -> str:
        """Return text without special tokens, so that no message can end a turn or begin one.

        Marks of thought stay in the assistant's own turns, because templates look for them.
        """
        marks = self._turns if role == "assistant" else self._marks
        while True:
            cleaned = marks.sub(" ", text)
            if cleaned == text:
                return text
            text = cleaned

    def decode(self, ids: Sequence[int]) -> str:
        """Return ids as text, special tokens included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of text that may contain special tokens."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            return tuple(backend.encode(text, add_special_tokens=False).ids)
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _end(self) -> tuple[int, str]:
        """Return the token that ends an assistant turn, as id and text."""
        asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
        shown = self.render([*asked, {"role": "assistant", "content": "qzxj"}], prompt=False)
        end = self._marks.match(shown.rpartition("qzxj")[2].lstrip())
        if end:
            return int(self.tokenizer.convert_tokens_to_ids(end[0])), end[0]
        if self.tokenizer.eos_token_id is None:
            raise UserError(f"{self.source}: neither its chat template nor its tokenizer says how a turn ends")
        return int(self.tokenizer.eos_token_id), str(self.tokenizer.eos_token)

    def _check(self) -> None:
        """Raise UserError unless longer conversations begin with the text of shorter ones."""
        dialogue: list[Message] = [{"role": "system", "content": "s"}]
        before = ""
        for reply in (*PROBES, ""):
            dialogue.append({"role": "user", "content": "u"})
            now = self.render(dialogue)
            if not now.startswith(before):
                raise UserError(
                    f"{self.source}: its chat template renders earlier turns differently in longer conversations, so "
                    "a transcript cannot be extended: give its tokenizer a template that does not"
                )
            dialogue.append({"role": "assistant", "content": reply})
            before = now + reply + self.ending
