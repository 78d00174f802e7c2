"""Chat template of a tokenizer, checked so that a conversation can be extended turn by turn."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from marl.errors import UserError

Message = dict[str, str]
"""`role` (system, user, assistant) and `content`."""
THOUGHT: Final = ("<think>", "</think>")
PROBES: Final = ("Yes.", "No, two.")
CONTENT: Final = "qzxj"
"""Content by which the text of the template itself is found."""
ASKED: Final[Sequence[Message]] = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
CONTROL: Final = re.compile(r"<[|｜].*[|｜]>")
"""An added token of this shape is a control token, whatever the tokenizer says."""
MARKUP: Final = re.compile(r"[^\w\s].*\w.*[^\w\s]")


def _any(words: set[str], flags: int = 0) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or r"(?!)", flags)


def control_tokens(tokenizer: Any) -> set[str]:
    """Return the tokens that content must not spell: special ones, and those that structure the template.

    Other added tokens are words, such as an alphabet of one's own.
    """
    added = tokenizer.get_added_vocab()
    decoder = getattr(tokenizer, "added_tokens_decoder", {})
    special = {str(token) for token in decoder.values() if token.special} | set(tokenizer.all_special_tokens)
    source = str(tokenizer.chat_template)
    structure = {word for word in added if MARKUP.fullmatch(word) and word in source}
    return special | structure | {word for word in added if CONTROL.fullmatch(word) or word in THOUGHT}


class Template:
    """Chat template of a tokenizer; raises UserError if the template cannot be extended turn by turn."""

    def __init__(self, tokenizer: Any, source: str) -> None:
        self.tokenizer, self.source = tokenizer, source
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(
                f"{source}: its tokenizer has no chat template, so it cannot take turns: use a model tuned for chat"
            )
        control = control_tokens(tokenizer)
        self._marks, self._turns, self._headers = _any(control), _any(control - set(THOUGHT)), _any(set())
        self.special = frozenset(tokenizer.convert_tokens_to_ids(sorted(control)))
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        self.encode = lru_cache(maxsize=1 << 14)(self._encode)
        self.clean = lru_cache(maxsize=1 << 14)(self._clean)
        self.parts = False
        """Whether the template wants content as a list of parts."""
        self.system = True
        self._find_form()
        self.end, self.ending = self._end()
        self._check()
        self._headers = self._find_headers()
        self.clean.cache_clear()
        first = tokenizer.convert_ids_to_tokens(list(self.encode("a"))[:1])
        self._spaced = bool(first) and str(first[0]).startswith("▁")

    def render(self, conversation: Sequence[Message], prompt: bool = True) -> str:
        """Return a conversation as text, up to the beginning of the next reply."""
        shown = [message | {"content": self.clean(message["content"], message["role"])} for message in conversation]
        if not self.system and shown and shown[0]["role"] == "system":
            first, *shown = shown
            content = f"{first['content']}\n\n{shown[0]['content']}" if shown else first["content"]
            shown = [{"role": "user", "content": content}, *shown[1:]]
        turns: Sequence[Any] = shown
        if self.parts:
            turns = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in shown]
        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt))
        except Exception as error:  # templates raise what they like
            raise UserError(f"{self.source}: its chat template rejects a conversation: {error}") from None

    def _clean(self, text: str, role: str = "user") -> str:
        """Return text without control tokens and roles, so that no message can end a turn or begin one.

        Marks of thought stay in the assistant's own turns, because templates look for them.
        """
        marks = self._turns if role == "assistant" else self._marks
        text = self._without(text, marks)
        flat = self._normalized(text)
        if flat != text and (marks.search(flat) or self._headers.search(flat)):
            text = self._without(flat, marks)
        text = self._blank(text, role)
        if role != "assistant" and text and unicodedata.category(text[0])[0] == "M":
            text = f" {text}"  # a combining character would change the character of the template before it
        return text

    def _without(self, text: str, marks: re.Pattern[str]) -> str:
        while True:
            cleaned = self._headers.sub(" ", marks.sub(" ", text))
            if cleaned == text:
                return text
            text = cleaned

    def _normalized(self, text: str) -> str:
        """Return text as the tokenizer's normalizer makes it, with spaces."""
        normalizer = getattr(self._backend, "normalizer", None)
        return text if normalizer is None else str(normalizer.normalize_str(text)).replace("▁", " ")

    def _blank(self, text: str, role: str) -> str:
        """Return text with spaces in place of all that the tokenizer still reads as control tokens."""
        if self._backend is None:
            return text
        forbidden = self.special - {self.tokenizer.unk_token_id}  # unknown characters are no attempt at anything
        if role == "assistant":
            forbidden -= frozenset(self.tokenizer.convert_tokens_to_ids(list(THOUGHT)))
        while True:
            encoding = self._backend.encode(text, add_special_tokens=False)
            spans = [span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token in forbidden]
            if not spans:
                return text
            if not text.strip():
                return ""
            for begin, stop in reversed(spans):
                text = f"{text[:begin]} {text[max(stop, begin + 1) :]}"

    def decode(self, ids: Sequence[int]) -> str:
        """Return ids as text, special tokens included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of text that may contain special tokens."""
        if self._backend is not None:
            return tuple(self._backend.encode(text, add_special_tokens=False).ids)
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode_turn(self, text: str) -> tuple[int, ...]:
        """Return the ids of text behind the end of a turn: some tokenizers put a space before text that begins."""
        return self._behind(self.ending, text)

    def encode_reply(self, text: str) -> tuple[int, ...]:
        """Return the ids of a reply where it stands in a conversation."""
        return self._behind(self.render(ASKED), text) if self._spaced else self.encode(text)

    def _behind(self, before: str, text: str) -> tuple[int, ...]:
        if not self._spaced:
            return self.encode(text)
        lead, whole = self.encode(before), self.encode(before + text)
        return whole[len(lead) :] if whole[: len(lead)] == lead else self.encode(text)

    # --- what the template does ----------------------------------------------------------------------------------

    def _find_form(self) -> None:
        """Find whether the template wants content in parts, and whether it shows a system turn."""
        user: Message = {"role": "user", "content": CONTENT}
        if not self._shows([user]):
            self.parts = True
            if not self._shows([user]):
                self.parts = False
                self.render([user])  # raises what the template raises
        self.system = self._shows([{"role": "system", "content": CONTENT}, {"role": "user", "content": "u"}])

    def _shows(self, conversation: Sequence[Message]) -> bool:
        try:
            return CONTENT in self.render(conversation)
        except UserError:
            return False

    def _reply(self) -> tuple[str, str]:
        """Return what the template writes before and after a reply, behind the turns that asked for it."""
        shown = self.render([*ASKED, {"role": "assistant", "content": CONTENT}], prompt=False)
        before, _, after = shown.rpartition(CONTENT)
        asked = self.render(ASKED, prompt=False)
        return before.removeprefix(asked), after

    def _end(self) -> tuple[int, str]:
        """Return the token that ends an assistant turn, as id and text."""
        begin, after = self._reply()
        if begin.strip() and self.render(ASKED) == self.render(ASKED, prompt=False):
            raise UserError(
                f"{self.source}: its chat template begins no assistant turn, so a model could not tell that it is to "
                f"reply: let it write {begin!r} where add_generation_prompt is set"
            )
        end = self._marks.match(after.lstrip())
        if end:
            return int(self.tokenizer.convert_tokens_to_ids(end[0])), end[0]
        if self.tokenizer.eos_token_id is None:
            raise UserError(f"{self.source}: neither its chat template nor its tokenizer says how a turn ends")
        if after:
            raise UserError(
                f"{self.source}: its chat template ends a turn with {after[:20]!r} and no special token, so the end of "
                "a reply could not be told: let it write the tokenizer's eos_token there"
            )
        return int(self.tokenizer.eos_token_id), str(self.tokenizer.eos_token)

    def _find_headers(self) -> re.Pattern[str]:
        """Return the lines that the template writes between contents in plain text, such as <|user|> or ### Response:.

        What is a word alone, such as user, begins a turn only behind a special token, which content cannot spell.
        """
        turns: list[Message] = [{"role": role, "content": CONTENT} for role in ("system", *("user", "assistant") * 2)]
        pieces = self._marks.split("\n".join(self.render(turns).split(CONTENT)))
        lines = {line.strip() for piece in pieces for line in piece.splitlines()}
        headers = {line for line in lines if re.search(r"\w", line) and re.search(r"[^\w\s]", line)}
        return _any(headers, re.IGNORECASE if self._normalized("A") == "a" else 0)

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
