"""ChatModel: a policy that is a pretrained chat model, or one LoRA on it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from arenas.spec import ReplySpec, Words
from marl.context.chat import ChatTranscript
from marl.episode import Sample
from marl.errors import UserError
from marl.grammar.automaton import OPENING, TALK, THOUGHT, Grammar, Options, State
from marl.models.language_model import MAX_CACHED_SPECS, LanguageModel, Scores
from marl.models.lora_base import Base
from marl.policy.config import HfPolicy

_COPIES: Final = count(1)
NO_PAUSE: Final = -1
"""The token that ends thought, where there is none."""
MIN_SHARED_TOKENS: Final = 32
"""The common prefix of a batch is read once from this many tokens on."""


class Read(NamedTuple):
    """A reply decoded to text."""

    text: str
    thought: str
    thinking: int
    """Tokens of thought, with the one that ended it."""


class ChatModel(LanguageModel):
    """A language model whose words are several tokens, and whose context is a chat.

    Args:
        base: the weights; several policies may share them.
        adapter: which LoRA of the base this policy is; None for the base as it is.
        about: what the system prompt tells a seat, after who it is.
        settings: budgets of talk and thought.
    """

    def __init__(self, base: Base, adapter: str | None, about: Callable[[str], str], settings: HfPolicy) -> None:
        super().__init__(base.model, base.tokenizer)
        self.base, self.adapter, self.about, self.settings = base, adapter, about, settings
        self.eos = base.template.end
        limits = (settings.context or self.context, self.context)
        self.context = min(limits)
        self.plain = False
        self._learner = base.model if adapter is None else nn.ParameterList(base.parameters_of(adapter))
        self._options: dict[Options, int] = {}
        self._grammar: dict[ReplySpec, Grammar] = {}
        self._walked: dict[tuple[Grammar, State], int] = {}
        self._classes: dict[str, Tensor] = {}
        self.encode = lru_cache(maxsize=1 << 14)(
            lambda text, said=False: base.template.encode(base.template.clean(text))
        )

    @property
    def learner(self) -> nn.Module:
        """The module that an optimizer trains: the adapter, or all weights."""
        return self._learner

    def open(self) -> ChatTranscript:
        """Return an empty chat."""
        return ChatTranscript(self.base.template, self.about)

    @override
    def train(self, mode: bool = True) -> ChatModel:
        super().train(mode)
        self.base.settle()
        return self

    def frozen(self) -> ChatModel:
        """Return a copy whose weights stay as they are now; of an adapter it is a further adapter."""
        if self.adapter is None:
            base = Base(deepcopy(self.base.model), self.tokenizer, self.base.source, self.base.compute)
            model = ChatModel(base, None, self.about, self.settings)
            model.requires_grad_(False)
            return model.eval()
        if self.base.is_void(self.adapter):
            return ChatModel(self.base, None, self.about, self.settings)
        return self.copied()

    def copied(self) -> ChatModel:
        """Return a frozen copy of an adapter as a further adapter, which goes when the copy does."""
        assert self.adapter is not None
        name = f"{self.adapter}_copy{next(_COPIES)}"
        self.base.copy(self.adapter, name)
        model = ChatModel(self.base, name, self.about, self.settings)
        weakref.finalize(model, self.base.drop, name)
        return model

    def automaton(self, spec: ReplySpec) -> Grammar:
        """Return the grammar of a spec."""
        if spec not in self._grammar:
            talk = max(self.settings.talk, 1)
            if len(self._grammar) >= MAX_CACHED_SPECS:
                self._grammar.clear()
            form = self.base.forms.of(spec) if spec.pattern or spec.schema else None
            self._grammar[spec] = Grammar(
                spec, self.base.spell, talk, self.settings.think, self._pause if self.settings.think else NO_PAUSE, form
            )
        return self._grammar[spec]

    @property
    def _pause(self) -> int:
        """The token that ends thought: </think> where the tokenizer has it as one, else a new line."""
        template = self.base.template
        for ids in (template.encode("</think>"), template.encode("\n"), template.encode_reply("\n")):
            if len(ids) == 1:
                return ids[0]
        raise UserError(
            f"{self.base.source}: its tokenizer has no one token for </think> or a new line: leave think out"
        )

    def row(self, grammar: Grammar, state: State) -> int:
        """Return the row of `masks` that holds in a state."""
        if state.drawn is not None:  # of these there is no end; the form remembers the last ones
            return self._place(grammar.options(state))
        cached = self._walked.get((grammar, state))
        if cached is None:
            cached = self._walked[grammar, state] = self._place(grammar.options(state))
            if len(self._walked) > 1 << 16:
                self._walked.clear()
        return cached

    def _place(self, options: Options) -> int:
        cached = self._options.get(options)
        if cached is not None:
            return cached
        row = self._options[options] = self.mask_table.new_row()
        if options.any:
            self.masks[row] = self.of_class(options.any)
        if options.bits:
            bits = np.unpackbits(np.frombuffer(options.bits, np.uint8), bitorder="little")
            self.masks[row] = torch.from_numpy(bits[: self.masks.shape[1]]).bool()
        self.mask_table.allow(row, list(options.tokens), self.eos, options.end)
        return row

    def of_class(self, kind: str) -> Tensor:
        """Return which tokens [V] are of a class."""
        if not self._classes:
            size = len(self.tokenizer)
            pieces = self.tokenizer.batch_decode([[i] for i in range(size)])
            special, pause = self.base.template.special, self._pause if self.settings.think else NO_PAUSE
            lines = pause != NO_PAUSE and pieces[pause] != "\n"
            by_class: dict[str, list[int]] = {TALK: [], OPENING: [], THOUGHT: []}
            for token, piece in enumerate(pieces):
                if token in special or not piece:
                    continue
                if piece.isprintable():
                    by_class[TALK].append(token)
                    if piece.strip():
                        by_class[OPENING].append(token)
                if token != pause and (lines or piece.isprintable()):
                    by_class[THOUGHT].append(token)
            for name, tokens in by_class.items():
                mask = torch.zeros(self.masks.shape[1], dtype=torch.bool, device=self.masks.device)
                mask[tokens] = True
                self._classes[name] = mask
        return self._classes[kind]

    def trim(self) -> bool:
        """Clear the mask cache above its limit; see LanguageModel."""
        if full := super().trim():
            self._options.clear()
            self._walked.clear()
        return full

    def rows(self, spec: ReplySpec, tokens: Sequence[int]) -> Sequence[int]:
        """Return for each token of a reply the row of `masks` under which it was drawn."""
        grammar = self.automaton(spec)
        state, rows = grammar.start, []
        for token in tokens:
            rows.append(self.row(grammar, state))
            if token != self.eos:
                state = grammar.step(state, token)
        return rows

    def written(self, words: Words) -> tuple[int, ...]:
        """Return a reply of these words as tokens, with its end and without thought."""
        spell = self.base.spell
        return (*(token for place, word in enumerate(words) for token in spell(word, place == 0)), self.eos)

    def read(self, spec: ReplySpec, tokens: Sequence[int]) -> Read:
        """Return what was drawn as text: the thought, and the reply in the form of its spec."""
        decode = self.base.template.decode
        own = [token for token in tokens if token != self.eos]
        thinking, thought = 0, ""
        if self.settings.think:
            pause = self._pause
            thinking = own.index(pause) + 1 if pause in own else len(own)
            thought, own = decode(own[:thinking]), own[thinking:]
        if not spec.free:
            return Read(decode(own), thought, thinking)
        channel = ""
        if len(spec.channels) > 1 and own:
            spelled = {self.base.spell(name, True): name for name in spec.channels}
            length = next((n for n in range(1, len(own) + 1) if tuple(own[:n]) in spelled), 0)
            channel, own = spelled.get(tuple(own[:length]), ""), own[length:]
        text = "".join(c if c.isprintable() else " " for c in decode(own)).strip()
        return Read(f"{channel} {text}".strip()[: spec.free].strip(), thought, thinking)

    def sample(
        self, spec: ReplySpec, tokens: Sequence[int], behavior_logprobs: Sequence[float], version: int
    ) -> Sample:
        """Return the sample of a drawn reply."""
        read = self.read(spec, tokens)
        return Sample(
            read.text, tuple(tokens), tuple(behavior_logprobs), version, thought=read.thought, thinking=read.thinking
        )

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the dtype asked for where the weights are kept in a wider one."""
        return self.base.autocast()

    def logits(self, hidden: Tensor) -> Tensor:
        """Return fp32 logits [N, V] of hidden states [N, d], by the temperature of this policy."""
        with self.base.heading(self.adapter):
            logits = super().logits(hidden)
        return logits if self.settings.temperature == 1 else logits / self.settings.temperature

    def states(self, ids: Tensor) -> Tensor:
        """Return the last hidden states [B, T, d] over token ids [B, T], padded on the right, with gradients."""
        with self.autocast():
            common = self._common(ids)
            if common < MIN_SHARED_TOKENS:
                return self.base.states(ids, [self.adapter] * len(ids))
            return self.base.shared_states(ids, self.adapter, common)

    def _common(self, ids: Tensor) -> int:
        """Return how many tokens all rows begin with, where reading them once is possible and leaves each its own."""
        if len(ids) < 2 or not self.base.lean or self.base.recompute:
            return 0
        same = (ids == ids[:1]).all(0).long().cumprod(0)
        return min(int(same.sum()), ids.shape[1] - 1)

    @override
    def score(self, ids: Tensor, trained: Tensor, mask_rows: Tensor) -> Scores:
        with self.autocast():
            return super().score(ids, trained, mask_rows)

    @override
    def restore(self, folder: Path) -> None:
        if self.adapter is None:
            super().restore(folder)
        else:
            self.base.take(self.adapter, folder)

    @override
    def save(self, folder: Path) -> None:
        if self.adapter is None:  # all weights, as an ordinary Hugging Face folder; else an adapter folder of peft
            super().save(folder)
        else:
            self.base.save(self.adapter, folder)
