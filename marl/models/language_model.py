"""LanguageModel: a Hugging Face causal LM with its tokenizer, and what sampling and training need of the two.

`marl.models.tiny.tiny` makes one from scratch, a GPT-2 over a word-level tokenizer. A saved model is an ordinary folder
of Hugging Face's kind, which `load` reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from arenas.spec import ReplySpec, Words
from marl.context.transcript import PROMPT, Encode, Transcript
from marl.errors import UserError, plain_os_errors
from marl.models.forward.head import head_of
from marl.models.forward.masks import longest_context
from marl.models.gpt2 import hidden_states, plain, states_at
from marl.models.mask_table import MaskTable
from marl.models.masked_softmax import chosen

MAX_CACHED_SPECS: Final = 1 << 16
"""Specs whose grammar is cached; where legal moves change with the state there may be more."""
MAX_LOGITS_PER_PART: Final = 1 << 24
"""Scores are computed for at most this many logits at once; of more, each part is recomputed for the gradient."""


class Scores(NamedTuple):
    """What `score` returns for the N trained tokens of a batch."""

    logp: Tensor  # [N] log-probability of each token under the reply's mask
    entropy: Tensor  # [N] entropy of the masked distribution it was drawn from, nats


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return token ids [R, T], padded on the right with 0: causal attention never looks there."""
    table = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for to, ids in zip(table, rows, strict=True):
        to[: len(ids)] = ids
    return torch.from_numpy(table).to(device)


class LanguageModel(nn.Module):
    """A causal LM that answers reply specs.

    A reply spec becomes one mask over the vocabulary per step: the words allowed there, and the end token where the
    reply may end. Sampling and scoring share the masks, so both see the same distribution.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        if tokenizer.eos_token_id is None:
            raise UserError("the tokenizer has no end-of-sequence token, so replies could not end: set its eos_token")
        self.eos = int(tokenizer.eos_token_id)
        self.encode: Encode = lru_cache(maxsize=1 << 16)(self._encode)
        marks = [*map(re.escape, tokenizer.all_special_tokens), rf"(?<!\S){PROMPT}(?!\S)"]
        self._marks = re.compile("|".join(marks))
        self.plain = plain(model.base_model)
        self.head = head_of(model)
        self.context = longest_context(model.config)
        self._grammars: dict[ReplySpec, tuple[int, ...]] = {}
        self._rows: dict[tuple[Words, bool], int] = {}
        self._words: dict[int, str] = {}
        width = int(model.get_output_embeddings().weight.shape[0])  # may be more than the tokenizer's tokens
        self.mask_table = MaskTable(width)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    @property
    def masks(self) -> Tensor:
        """Masks over the vocabulary [rows, V]: the tokens that are allowed."""
        return self.mask_table.masks

    @property
    def learner(self) -> nn.Module:
        """The module that an optimizer trains."""
        model: nn.Module = self.model
        return model

    @property
    def choices(self) -> Tensor:
        """Number of tokens that each row of `masks` allows [rows]."""
        return self.masks.sum(1)

    def open(self) -> Transcript:
        """Return an empty transcript in this model's tokens."""
        return Transcript(self.encode)

    def frozen(self) -> LanguageModel:
        """Return a copy whose weights stay as they are now."""
        copy = LanguageModel(deepcopy(self.model), self.tokenizer)
        copy.requires_grad_(False)
        return copy.eval()

    def _encode(self, text: str, said: bool = False) -> tuple[int, ...]:
        if said:  # special tokens in an agent's text must not end a reply or begin one
            text = self._marks.sub(f" {self.tokenizer.unk_token or ''} ", text)
        backend = getattr(self.tokenizer, "backend_tokenizer", None)  # a hundred times quicker than the call around it
        if backend is not None:
            ids = tuple(backend.encode(text, add_special_tokens=False).ids)
        else:
            ids = tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not said and self.tokenizer.unk_token_id in ids:
            raise UserError(f"the tokenizer does not know a word of {text!r}: the policy was made for another arena")
        return ids

    def token(self, word: str) -> int:
        """Return the id of a word that is one token; raises UserError if it is not."""
        ids = self.encode(word)
        if len(ids) != 1:
            raise UserError(f"{word!r} is {len(ids)} tokens of this tokenizer; replies need words of one token")
        return ids[0]

    def grammar(self, spec: ReplySpec) -> tuple[int, ...]:
        """Return the row of `masks` for each step of a reply, and for its end as the last step."""
        if (cached := self._grammars.get(spec)) is not None:
            return cached
        grammar = tuple(self._row(step, index >= spec.least) for index, step in enumerate((*spec.steps, ())))
        if len(self._grammars) >= MAX_CACHED_SPECS:
            self._grammars.clear()
        self._grammars[spec] = grammar
        return grammar

    def rows(self, spec: ReplySpec, tokens: Sequence[int]) -> Sequence[int]:
        """Return for each token of a reply the row of `masks` under which it was drawn."""
        return self.grammar(spec)[: len(tokens)]

    def written(self, words: Words) -> tuple[int, ...]:
        """Return a reply of these words as tokens, with its end."""
        return (*map(self.token, words), self.eos)

    def _row(self, step: Words, may_end: bool) -> int:
        """Return the row of `masks` that allows the words of a step, and the end; rows are shared by all specs."""
        if (cached := self._rows.get((step, may_end))) is not None:
            return cached
        words = {self.token(word): word for word in step}
        self._words |= words
        row = self._rows[step, may_end] = self.mask_table.new_row()
        self.mask_table.allow(row, list(words), self.eos, may_end)
        return row

    def trim(self) -> bool:
        """Clear the mask cache above MAX_MASK_BYTES; return whether it was cleared.

        Row indices in a batch then lose their meaning.
        """
        if full := self.mask_table.trim():
            self._grammars, self._rows = {}, {}
        return full

    def text(self, tokens: Sequence[int]) -> str:
        """Return sampled reply tokens as words, without the end of the reply."""
        return " ".join([self._words[token] for token in tokens if token != self.eos])

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the model computes; a model from scratch computes in the dtype of its weights."""
        return nullcontext()

    def logits(self, hidden: Tensor) -> Tensor:
        """Return fp32 logits [N, V] of hidden states [N, d]."""
        return self.head(self.model, hidden)

    def states(self, ids: Tensor) -> Tensor:
        """Return the last hidden states [B, T, d] over token ids [B, T], padded on the right, with gradients."""
        if self.plain:
            return hidden_states(self.model.base_model, ids, torch.arange(ids.shape[1], device=ids.device)[None])
        return self.head.states(self.model, {"input_ids": ids, "use_cache": False})

    def states_at(self, ids: Tensor, at: Tensor) -> Tensor:
        """Return the last hidden states [N, d] of the tokens of ids [B, T] that `at` [B, T] chooses, row by row."""
        return states_at(self.model.base_model, ids, at) if self.plain else self.states(ids)[at]

    def score(self, ids: Tensor, trained: Tensor, mask_rows: Tensor) -> Scores:
        """Score the trained tokens of a batch, with gradients.

        Args:
            ids: [B, T] transcripts, padded on the right (causal attention never looks there).
            trained: [B, T] True where the agent drew the token.
            mask_rows: [N] row of `masks` under which each trained token was drawn, in the order of `ids[trained]`.

        log pi(a_t | s_t) = log softmax(logits within the mask)[a_t]; logits are computed at trained positions only.
        """
        at = self.states_at(ids[:, :-1], trained[:, 1:])  # [N, d]: the state before a token predicts it
        drawn, most = ids[trained], max(MAX_LOGITS_PER_PART // self.masks.shape[1], 1)
        if len(at) <= most:
            return self._select(at, drawn, mask_rows)
        parts = zip(*(torch.split(x, most) for x in (at, drawn, mask_rows)), strict=True)
        scores = [Scores(*checkpoint(self._select, *part, use_reentrant=False)) for part in parts]
        return Scores(torch.cat([part.logp for part in scores]), torch.cat([part.entropy for part in scores]))

    def _select(self, states: Tensor, drawn: Tensor, mask_rows: Tensor) -> Scores:
        """Score tokens [N] after states [N, d]."""
        return Scores(*chosen(self.logits(states), self.masks[mask_rows], drawn))

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights into the model; raises KeyError for weights of another model, RuntimeError for other shapes."""
        keys = self.model.load_state_dict(weights, strict=False)
        if wrong := {*keys.unexpected_keys, *keys.missing_keys} - set(self.model._tied_weights_keys or ()):
            raise KeyError(f"missing or unexpected weights, such as {min(wrong)}")

    def restore(self, folder: Path) -> None:
        """Load what `save` wrote; raises KeyError or RuntimeError for weights of another model, OSError for none."""
        self.take(load_file(folder / "model.safetensors"))

    def save(self, folder: Path) -> None:
        """Write an ordinary Hugging Face folder (safetensors); raises OSError."""
        with without_progress_bars(), plain_os_errors(folder):
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars over ours."""
    enabled = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            enable_progress_bar()


def load(folder: Path, **options: Any) -> LanguageModel:
    """Load a Hugging Face folder; raises UserError when it is not a whole one."""
    try:
        with without_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, **options
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"{folder} is not a whole model folder ({first[:200]}): restore it or train again") from None
    return LanguageModel(model, tokenizer)
