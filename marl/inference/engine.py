"""Continuous batching for pretrained models: rows join a running batch when asked, and leave it when they are done.

Keys and values of the running rows lie in one table. A row that leaves takes its own along, so the next turn reads only
what is new. New transcripts of one adapter share the prefix that they have in common, also across batches, and equal
ones are read once. Rows of different adapters share a batch. Every draw has its own coordinates, so the tokens of a row
depend on the other rows only through rounding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from marl.context.transcript import Transcript
from marl.errors import ContextFullError
from marl.inference.active_row import ActiveRow
from marl.inference.draws import draw_blockwise, forbid
from marl.inference.kv_cache import KVRow, RunningCache, common_prefix
from marl.inference.reading import Path, reading_of
from marl.inference.request import GenerationRequest
from marl.models.chat_model import ChatModel
from marl.models.forward.masks import longest_context
from marl.models.language_model import padded
from marl.models.lora_base import Base
from protocols.clock import EpisodeLoop
from protocols.draws import uniform

MAX_PREFILL_TOKENS: Final = 1024
"""Prompt tokens of one pass; with more, activations between two matrices no longer fit a processor's cache."""
MAX_PREFIXES: Final = 8
"""Prefixes of transcripts that are kept for each adapter."""
MIN_PREFIX_TOKENS: Final = 16
"""A prefix is shared from this many tokens on."""
ROWS_PER_PAUSE: Final = 4
"""The batch pauses for the loop when one in this many rows is done."""


class Engine:
    """The sampler of one base model.

    Args:
        base: the model.
        max_rows: the most rows at once.
        keep_bytes: bytes of keys and values kept between turns; above that the least recently used are dropped.
    """

    def __init__(self, base: Base, max_rows: int = 64, keep_bytes: int = 1 << 30) -> None:
        self.base, self.max_rows, self.keep_bytes = base, max_rows, keep_bytes
        self.rows: list[ActiveRow] = []
        self.waiting: list[ActiveRow] = []
        self.read = 0
        """Prompt tokens that went through the model."""
        self.sampled = 0
        self._loop: EpisodeLoop | None = None
        self.reading = reading_of(base.model, base.lean, base.source)
        base.form = self.reading.form
        self.whole = self.reading.path is Path.WHOLE
        self.limit = longest_context(base.model.config)
        layers = getattr(base.model.config.get_text_config(), "num_hidden_layers", 0)
        self.cache = RunningCache(0 if self.whole else int(layers))
        self._held: OrderedDict[int, tuple[Transcript, int]] = OrderedDict()
        self._bytes = 0
        self._prefixes: dict[tuple[str | None, int], list[tuple[tuple[int, ...], Tensor]]] = {}

    def ask(self, lm: ChatModel, request: GenerationRequest, version: int) -> None:
        """Queue a request; its `done` gets the sample, or ContextFullError."""
        grammar = lm.automaton(request.spec)
        kept = request.transcript.cache
        if kept is not None and kept.version != version:
            self.forget(request.transcript)
        self.waiting.append(ActiveRow(lm, request, version, grammar, grammar.start))

    @torch.inference_mode()
    def run(self) -> bool:
        """Admit waiting rows and sample until some are done; return whether there was anything to do."""
        if not self.rows and not self.waiting:
            return False
        with self.base.autocast():
            hidden = self._admit()
            target = len(self.rows) - max(len(self.rows) // ROWS_PER_PAUSE, 1)
            while self.rows:
                self._draw(hidden)
                if len(self.rows) <= target:
                    break
                hidden = self._advance()
        return True

    def attend(self, loop: EpisodeLoop) -> None:
        """Sample whenever this loop is idle; rows that waited on another loop are dropped."""
        if self._loop is not loop:
            self._loop, self.rows, self.waiting = loop, [], []
            loop.on_idle(self.run)

    def forget(self, transcript: Transcript) -> None:
        """Drop the keys and values of a transcript."""
        self._bytes -= self._held.pop(id(transcript), (transcript, 0))[1]
        transcript.cache, transcript.cached = None, 0

    # --- passes ------------------------------------------------------------------------------------------------

    def _advance(self) -> Tensor:
        """Read the last token of every row; return states [B, d]."""
        if self.whole:
            return self._reread(self.rows)
        device = self.base.device
        positions = torch.tensor([[row.length] for row in self.rows], device=device)
        ids = torch.tensor([[row.tokens[-1]] for row in self.rows], device=device)
        hidden = self._pass(ids, self.rows, 0, positions)[:, 0]
        for row in self.rows:
            row.length += 1
        return hidden

    def _pass(self, ids: Tensor, rows: Sequence[ActiveRow], first: int, positions: Tensor, new: bool = False) -> Tensor:
        """Read tokens [B, q] at positions [B, q] into the cache's rows from `first` on; return states [B, q, d].

        `new` says that nothing stands before them.
        """
        self.cache.reserve(first + len(ids), int(positions.max()) + 1)
        self.cache.view_rows(first, positions)
        visible = None if new else torch.arange(self.cache.upto, device=ids.device) <= positions[:, None, :, None]
        adapters = [row.lm.adapter for row in rows]
        positions = positions.clamp(max=self.limit - 1)  # of padding, which may stand beyond
        return self.base.states(ids, adapters, positions, self.cache, visible, sampling=True)

    def _reread(self, rows: Sequence[ActiveRow]) -> Tensor:
        """Read whole transcripts and what was drawn after them, without a cache; return the last states [B, d]."""
        out: list[Tensor] = []
        texts = [[*row.transcript.ids, *row.tokens] for row in rows]
        longest = max(map(len, texts))
        step = max(MAX_PREFILL_TOKENS // longest, 1)
        for first in range(0, len(rows), step):
            part = texts[first : first + step]
            adapters = [row.lm.adapter for row in rows[first : first + step]]
            hidden = self.base.states(padded(part, self.base.device), adapters, sampling=True)
            last = torch.tensor([len(ids) - 1 for ids in part], device=hidden.device)
            out.append(hidden[torch.arange(len(part), device=hidden.device), last])
            self.read += sum(map(len, part))
        return torch.cat(out)

    def _admit(self) -> Tensor:
        """Read the transcripts of waiting rows behind the running ones; return the states [B, d] of all last tokens.

        A running row that paused before its pass takes it here.
        """
        hidden = [self._advance()] if self.rows else []
        joining = [row for row in self.waiting[: self.max_rows - len(self.rows)] if self._fits(row)]
        self.waiting = self.waiting[self.max_rows - len(self.rows) :]
        if joining:
            hidden.append(self._prefill(joining))
        return torch.cat(hidden) if hidden else torch.zeros(0)

    def _fits(self, row: ActiveRow) -> bool:
        length = len(row.transcript.ids)
        need = length + row.grammar.longest
        if need <= row.lm.context:
            return True
        row.request.done(
            ContextFullError(f"the context is full: {length} tokens and a reply need {need} of {row.lm.context}")
        )
        return False

    def _prefill(self, joining: Sequence[ActiveRow]) -> Tensor:
        """Read what is new in transcripts, equal ones once; return the states [J, d] of their last tokens."""
        if self.whole:
            self.rows += joining
            return self._reread(joining)
        seen: dict[Any, int] = {}
        index: list[int] = []
        distinct: list[ActiveRow] = []
        # Rows of similar length stand together, so that little padding is read.
        joining = sorted(joining, key=lambda row: len(row.transcript.ids) - row.transcript.cached)
        for row in joining:
            is_new = not row.transcript.cached
            at = seen.setdefault((*row.weights, tuple(row.transcript.ids)) if is_new else id(row), len(distinct))
            if at == len(distinct):
                distinct.append(row)
            index.append(at)
        first = len(self.rows)
        longest = max(len(row.transcript.ids) for row in joining)
        self.cache.reserve(first + len(joining), longest)
        past = self._restore(distinct, first)
        states = self._read(distinct, past, first)
        table, source = self.cache.table, torch.tensor(index, device=states.device)
        assert table is not None
        if len(distinct) < len(joining):
            table[:, first : first + len(joining)] = table[:, source + first]
        for row in joining:
            row.length = len(row.transcript.ids)
        self.rows += joining
        return states[source]

    def _read(self, distinct: Sequence[ActiveRow], past: Sequence[int], first: int) -> Tensor:
        """Read the new tokens of transcripts, a few rows a pass; return the states of the last tokens [B, d]."""
        new = [row.transcript.ids[start:] for row, start in zip(distinct, past, strict=True)]
        self.read += sum(map(len, new))
        states, begin, device = [], 0, self.base.device
        while begin < len(new):
            width, end = len(new[begin]), begin + 1
            while end < len(new) and (end + 1 - begin) * max(width, len(new[end])) <= MAX_PREFILL_TOKENS:
                width, end = max(width, len(new[end])), end + 1
            part = new[begin:end]
            ids = torch.tensor([[*own, *[0] * (width - len(own))] for own in part], device=device)  # [b, width]
            start = torch.tensor(past[begin:end], device=device)[:, None]
            # The padding of a shorter row is written behind its end, and overwritten by what comes there.
            positions = start + torch.arange(width, device=device)
            hidden = self._pass(ids, distinct[begin:end], first + begin, positions, new=not any(past[begin:end]))
            last = torch.tensor([len(own) - 1 for own in part], device=device)
            states.append(hidden[torch.arange(len(part), device=device), last])
            begin = end
        return torch.cat(states)

    def _restore(self, distinct: Sequence[ActiveRow], first: int) -> list[int]:
        """Copy the cached keys and values of each transcript into its row; return how many tokens they cover."""
        fresh: dict[tuple[str | None, int], list[ActiveRow]] = {}
        for row in distinct:
            if not row.transcript.cached:
                fresh.setdefault(row.weights, []).append(row)
        for weights, rows in fresh.items():
            self._share(weights, rows, first)
        past = []
        for index, row in enumerate(distinct, first):
            kept = row.transcript.cache
            table = kept.table[:, :, : row.transcript.cached] if kept is not None else self._longest_prefix(row)
            if table is not None and table.shape[2]:
                assert self.cache.table is not None
                self.cache.table[:, index, :, : table.shape[2]] = table
            past.append(0 if table is None else table.shape[2])
        return past

    def _longest_prefix(self, row: ActiveRow) -> Tensor | None:
        """Return the longest kept prefix of a new transcript [2 layers, heads, n, d]; never the whole transcript."""
        best, ids = None, row.transcript.ids
        for prefix, table in self._prefixes.get(row.weights, ()):
            length = min(common_prefix(prefix, ids), len(ids) - 1)
            if length >= MIN_PREFIX_TOKENS and (best is None or length > best.shape[2]):
                best = table[:, :, :length]
        return best

    def _share(self, weights: tuple[str | None, int], rows: Sequence[ActiveRow], first: int) -> None:
        """Read the common prefix of new transcripts of one adapter, and keep it for later ones."""
        ids = rows[0].transcript.ids
        limits = [len(row.transcript.ids) - 1 for row in rows]
        common = min([common_prefix(ids, row.transcript.ids) for row in rows] + limits)
        if len(rows) == 1:
            common = len(ids) - 1
        kept = self._longest_prefix(rows[0])
        start = 0 if kept is None else kept.shape[2]
        if common - start < MIN_PREFIX_TOKENS or (len(rows) == 1 and start):
            return
        if kept is not None and self.cache.table is not None:
            self.cache.table[:, first, :, :start] = kept
        tokens = torch.tensor([ids[start:common]], device=self.base.device)
        self._pass(tokens, rows[:1], first, torch.arange(start, common, device=tokens.device)[None])
        self.read += common - start
        assert self.cache.table is not None
        adapter, version = weights
        for stale in [key for key in self._prefixes if key[0] == adapter and key[1] != version]:
            del self._prefixes[stale]
        store = self._prefixes.setdefault(weights, [])
        store.append((tuple(ids[:common]), self.cache.table[:, first, :, :common].clone()))
        del store[:-MAX_PREFIXES]

    # --- drawing -----------------------------------------------------------------------------------------------

    def _draw(self, hidden: Tensor) -> None:
        """Draw the next token of every row from its state [B, d]; rows whose reply ends leave."""
        rows = self.rows
        logits = self.base.logits(hidden, [row.lm.adapter for row in rows])  # [B, V]
        temperatures = [row.lm.settings.temperature for row in rows]
        if set(temperatures) != {1.0}:
            logits /= torch.tensor(temperatures, device=logits.device)[:, None]
        forbid(logits, self._allowed(rows))
        u = torch.tensor([uniform(row.request.seed, len(row.tokens)) for row in rows], dtype=torch.float64)  # [B]
        tokens, logprobs = draw_blockwise(logits, u.to(logits.device))
        if any(row.request.greedy for row in rows):
            greedy = torch.tensor([row.request.greedy for row in rows], device=logits.device)
            best, top = logits.max(-1)[::-1]
            tokens = torch.where(greedy, best, tokens)
            logprobs = torch.where(greedy, top - logits.logsumexp(-1), logprobs)
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            row.tokens.append(token)
            row.behavior_logprobs.append(logprob)
            if token != row.lm.eos:
                row.state = row.grammar.step(row.state, token)
                if row.grammar.options(row.state).only_end:  # certain, so it costs no pass
                    row.tokens.append(row.lm.eos)
                    row.behavior_logprobs.append(0.0)
        self.sampled += len(rows)
        for index in reversed(range(len(rows))):
            if rows[index].tokens[-1] == rows[index].lm.eos:
                self._leave(index)

    def _allowed(self, rows: Sequence[ActiveRow]) -> Tensor:
        """Return the tokens that each row may draw, as a mask [B, V], or [1, V] where it is the same for all."""
        masks = [row.lm.row(row.grammar, row.state) for row in rows]
        models = list(dict.fromkeys(row.lm for row in rows))
        if len(models) == 1:
            return models[0].masks[masks if len(set(masks)) > 1 else masks[:1]]
        out = torch.zeros(len(rows), models[0].masks.shape[1], dtype=torch.bool, device=self.base.device)
        for lm in models:
            mine = [i for i, row in enumerate(rows) if row.lm is lm]
            out[mine] = lm.masks[[masks[i] for i in mine]]
        return out

    def _leave(self, index: int) -> None:
        """Take a row out of the batch with its keys and values; the last row moves into its place."""
        row, table = self.rows[index], self.cache.table
        self.forget(row.transcript)
        row.transcript.replied(row.tokens)
        if table is not None:
            self._hold(row, table[:, index, :, : row.length].clone())
        last = self.rows.pop()
        if last is not row:
            self.rows[index] = last
            if table is not None:
                table[:, index, :, : last.length] = table[:, len(self.rows), :, : last.length]
        row.request.done(row.lm.sample(row.request.spec, row.tokens, row.behavior_logprobs, row.version))

    def _hold(self, row: ActiveRow, table: Tensor) -> None:
        """Keep the keys and values of a row with its transcript; drop others where memory is short."""
        transcript = row.transcript
        transcript.cache, transcript.cached = KVRow(table, row.version), row.length
        self._held[id(transcript)] = (transcript, table.nbytes)
        self._bytes += table.nbytes
        while self._bytes > self.keep_bytes:
            self.forget(next(iter(self._held.values()))[0])


_ENGINES: WeakValueDictionary[int, Engine] = WeakValueDictionary()
"""id of a base model -> its engine. An engine keeps its base alive, so no other base can have the same id."""


def engine_of(base: Base, max_rows: int, keep_bytes: int) -> Engine:
    """Return the engine that all servers of a base model share; the first server's limits hold."""
    engine = _ENGINES.get(id(base))
    if engine is None:
        engine = _ENGINES[id(base)] = Engine(base, max_rows, keep_bytes)
    return engine
