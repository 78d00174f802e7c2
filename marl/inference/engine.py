"""Sampling with a pretrained model: rows join a running batch when they are asked and leave it when they are done.

Keys and values of the rows in progress lie in one block; a row that leaves takes its own along, so that the next turn
reads only what is new. New transcripts of one adapter share what they begin with, which also lasts between batches, and
equal ones are read once. Rows of different adapters stand in one batch. Every draw has its own coordinates, so what is
drawn depends on the company of a row only as far as rounding does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.errors import ContextFullError
from marl.grammar.automaton import Grammar, State
from marl.inference.kv_cache import Kept, Slots, draw, forbid
from marl.models.base_model import Base
from marl.models.chat_model import ChatModel
from protocols.clock import EpisodeLoop
from protocols.draws import uniform

PASS: Final = 1024
"""Prompt tokens of one pass: of more, what lies between two matrices no longer fits a processor's cache."""
PREFIXES: Final = 8
"""Beginnings of transcripts kept for each adapter."""
WORTH: Final = 16
"""A beginning is shared from so many tokens on."""
LEAVE: Final = 4
"""The batch pauses for the loop when one in so many rows is done."""


@dataclass(slots=True)
class Row:
    """A reply in progress."""

    lm: ChatModel
    transcript: Transcript
    spec: ReplySpec
    seed: int
    greedy: bool
    version: int
    done: Callable[[Sample | Exception], None]
    grammar: Grammar
    state: State
    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    length: int = 0
    """Tokens whose keys and values are there."""

    @property
    def beginning(self) -> tuple[str | None, int]:
        """Whose keys and values these are."""
        return self.lm.adapter, self.version


class Engine:
    """The sampler of one base model.

    Args:
        base: the model.
        rows: the most rows at once.
        keep: bytes of keys and values kept between turns; beyond that the longest unused go.
    """

    def __init__(self, base: Base, rows: int = 64, keep: int = 1 << 30) -> None:
        self.base, self.most, self.keep = base, rows, keep
        self.rows: list[Row] = []
        self.waiting: list[Row] = []
        self.read = 0
        """Prompt tokens that went through the model."""
        self.sampled = 0
        self._loop: EpisodeLoop | None = None
        config = base.model.config.get_text_config()
        self.slots = Slots(int(config.num_hidden_layers))
        self._held: OrderedDict[int, tuple[Transcript, int]] = OrderedDict()
        self._bytes = 0
        self._prefixes: dict[tuple[str | None, int], list[tuple[tuple[int, ...], Tensor]]] = {}

    def ask(
        self,
        lm: ChatModel,
        transcript: Transcript,
        spec: ReplySpec,
        seed: int,
        greedy: bool,
        version: int,
        done: Callable[[Sample | Exception], None],
    ) -> None:
        """Queue a transcript for a reply; `done` gets the sample, or ContextFullError."""
        grammar = lm.automaton(spec)
        row = Row(lm, transcript, spec, seed, greedy, version, done, grammar, grammar.start)
        kept = transcript.cache
        if kept is not None and kept.version != version:
            self.forget(transcript)
        self.waiting.append(row)

    @torch.inference_mode()
    def run(self) -> bool:
        """Take rows in, and sample until some are done; say whether there was anything to do."""
        if not self.rows and not self.waiting:
            return False
        with self.base.autocast():
            hidden = self._admit()
            target = len(self.rows) - max(len(self.rows) // LEAVE, 1)
            while self.rows:
                self._draw(hidden)
                if len(self.rows) <= target:
                    break
                hidden = self._advance()
        return True

    def attend(self, loop: EpisodeLoop) -> None:
        """Sample whenever this loop is idle; what waited on another one is given up."""
        if self._loop is not loop:
            self._loop, self.rows, self.waiting = loop, [], []
            loop.on_idle(self.run)

    def forget(self, transcript: Transcript) -> None:
        """Give up what is kept of a transcript."""
        self._bytes -= self._held.pop(id(transcript), (transcript, 0))[1]
        transcript.cache, transcript.cached = None, 0

    # --- passes ------------------------------------------------------------------------------------------------

    def _advance(self) -> Tensor:
        """Read the last token of every row; return states [B, d]."""
        device = self.base.device
        positions = torch.tensor([[row.length] for row in self.rows], device=device)
        ids = torch.tensor([[row.tokens[-1]] for row in self.rows], device=device)
        hidden = self._pass(ids, self.rows, 0, positions)[:, 0]
        for row in self.rows:
            row.length += 1
        return hidden

    def _pass(self, ids: Tensor, rows: Sequence[Row], first: int, positions: Tensor, new: bool = False) -> Tensor:
        """Read tokens [B, q] at positions [B, q] into the slots from `first` on; `new`: nothing is there yet."""
        self.slots.reserve(first + len(ids), int(positions.max()) + 1)
        self.slots.see(first, positions)
        visible = None if new else torch.arange(self.slots.upto, device=ids.device) <= positions[:, None, :, None]
        adapters = [row.lm.adapter for row in rows]
        return self.base.states(ids, adapters, positions, self.slots, visible, sampling=True)

    def _admit(self) -> Tensor:
        """Read the transcripts of rows that wait behind those in progress; return the states of all rows' last tokens.

        A row in progress that stopped before its pass takes it here.
        """
        hidden = [self._advance()] if self.rows else []
        joining = [row for row in self.waiting[: self.most - len(self.rows)] if self._fits(row)]
        self.waiting = self.waiting[self.most - len(self.rows) :]
        if joining:
            hidden.append(self._prefill(joining))
        return torch.cat(hidden) if hidden else torch.zeros(0)

    def _fits(self, row: Row) -> bool:
        need = len(row.transcript.ids) + row.grammar.longest
        if need <= row.lm.context:
            return True
        row.done(
            ContextFullError(
                f"the context is full: {len(row.transcript.ids)} tokens and a reply need {need} of {row.lm.context}"
            )
        )
        return False

    def _prefill(self, joining: Sequence[Row]) -> Tensor:
        """Read what is new in transcripts; equal ones are read once."""
        distinct: dict[Any, int] = {}
        index: list[int] = []
        chosen: list[Row] = []
        # Rows of like length stand together, so that little is read of what pads them.
        joining = sorted(joining, key=lambda row: len(row.transcript.ids) - row.transcript.cached)
        for row in joining:
            fresh = not row.transcript.cached
            place = distinct.setdefault((*row.beginning, tuple(row.transcript.ids)) if fresh else id(row), len(chosen))
            if place == len(chosen):
                chosen.append(row)
            index.append(place)
        first = len(self.rows)
        longest = max(len(row.transcript.ids) for row in joining)
        self.slots.reserve(first + len(joining), longest)
        past = self._begin(chosen, first)
        states = self._read(chosen, past, first)
        table, at = self.slots.table, torch.tensor(index, device=states.device)
        assert table is not None
        if len(chosen) < len(joining):
            table[:, first : first + len(joining)] = table[:, at + first]
        for row in joining:
            row.length = len(row.transcript.ids)
        self.rows += joining
        return states[at]

    def _read(self, chosen: Sequence[Row], past: Sequence[int], first: int) -> Tensor:
        """Read what is new in each transcript, some rows at a time; return the states of the last tokens [B, d]."""
        new = [row.transcript.ids[start:] for row, start in zip(chosen, past, strict=True)]
        self.read += sum(map(len, new))
        found, begin, device = [], 0, self.base.device
        while begin < len(new):
            width, end = len(new[begin]), begin + 1
            while end < len(new) and (end + 1 - begin) * max(width, len(new[end])) <= PASS:
                width, end = max(width, len(new[end])), end + 1
            part = new[begin:end]
            ids = torch.tensor([[*own, *[0] * (width - len(own))] for own in part], device=device)
            start = torch.tensor(past[begin:end], device=device)[:, None]
            # What pads a shorter row is written behind its end, and overwritten by what comes there.
            positions = start + torch.arange(width, device=device)
            hidden = self._pass(ids, chosen[begin:end], first + begin, positions, new=not any(past[begin:end]))
            last = torch.tensor([len(own) - 1 for own in part], device=device)
            found.append(hidden[torch.arange(len(part), device=device), last])
            begin = end
        return torch.cat(found)

    def _begin(self, chosen: Sequence[Row], first: int) -> list[int]:
        """Put in place what is known of each transcript, and return how much that is."""
        fresh: dict[tuple[str | None, int], list[Row]] = {}
        for row in chosen:
            if not row.transcript.cached:
                fresh.setdefault(row.beginning, []).append(row)
        for whose, rows in fresh.items():
            self._share(whose, rows, first)
        past = []
        for place, row in enumerate(chosen, first):
            kept = row.transcript.cache
            table = kept.table[:, :, : row.transcript.cached] if kept is not None else self._known(row)
            if table is not None and table.shape[2]:
                assert self.slots.table is not None
                self.slots.table[:, place, :, : table.shape[2]] = table
            past.append(0 if table is None else table.shape[2])
        return past

    def _known(self, row: Row) -> Tensor | None:
        """Return the longest beginning of a new transcript that is kept, but not all of it."""
        best, ids = None, row.transcript.ids
        for known, table in self._prefixes.get(row.beginning, ()):
            length = min(alike(known, ids), len(ids) - 1)
            if length >= WORTH and (best is None or length > best.shape[2]):
                best = table[:, :, :length]
        return best

    def _share(self, whose: tuple[str | None, int], rows: Sequence[Row], first: int) -> None:
        """Read what new transcripts of one adapter have in common, and keep it for those that come later."""
        ids = rows[0].transcript.ids
        common = min([alike(ids, row.transcript.ids) for row in rows] + [len(row.transcript.ids) - 1 for row in rows])
        if len(rows) == 1:
            common = len(ids) - 1
        known = self._known(rows[0])
        start = 0 if known is None else known.shape[2]
        if common - start < WORTH or (len(rows) == 1 and start):
            return
        if known is not None and self.slots.table is not None:
            self.slots.table[:, first, :, :start] = known
        tokens = torch.tensor([ids[start:common]], device=self.base.device)
        self._pass(tokens, rows[:1], first, torch.arange(start, common, device=tokens.device)[None])
        self.read += common - start
        assert self.slots.table is not None
        for stale in [key for key in self._prefixes if key[0] == whose[0] and key[1] != whose[1]]:
            del self._prefixes[stale]
        store = self._prefixes.setdefault(whose, [])
        store.append((tuple(ids[:common]), self.slots.table[:, first, :, :common].clone()))
        del store[:-PREFIXES]

    # --- drawing -----------------------------------------------------------------------------------------------

    def _draw(self, hidden: Tensor) -> None:
        """Draw the next token of every row from its state [B, d]; rows whose reply ends leave."""
        rows = self.rows
        logits = self.base.logits(hidden)
        heat = [row.lm.settings.temperature for row in rows]
        if set(heat) != {1.0}:
            logits /= torch.tensor(heat, device=logits.device)[:, None]
        forbid(logits, self._allowed(rows))
        u = torch.tensor([uniform(row.seed, len(row.tokens)) for row in rows], dtype=torch.float64)
        tokens, logp = draw(logits, u.to(logits.device))
        if any(row.greedy for row in rows):
            greedy = torch.tensor([row.greedy for row in rows], device=logits.device)
            best, likely = logits.max(-1)[::-1]
            tokens = torch.where(greedy, best, tokens)
            logp = torch.where(greedy, likely - logits.logsumexp(-1), logp)
        for row, token, chance in zip(rows, tokens.tolist(), logp.tolist(), strict=True):
            row.tokens.append(token)
            row.logp.append(chance)
            if token != row.lm.eos:
                row.state = row.grammar.step(row.state, token)
                if row.grammar.options(row.state).only_end:  # certain, so it costs no pass
                    row.tokens.append(row.lm.eos)
                    row.logp.append(0.0)
        self.sampled += len(rows)
        for place in reversed(range(len(rows))):
            if rows[place].tokens[-1] == rows[place].lm.eos:
                self._leave(place)

    def _allowed(self, rows: Sequence[Row]) -> Tensor:
        """Return which tokens [B, V] each row may draw, or [1, V] where it is the same for all."""
        places = [row.lm.row(row.grammar, row.state) for row in rows]
        models = list(dict.fromkeys(row.lm for row in rows))
        if len(models) == 1:
            return models[0].masks[places if len(set(places)) > 1 else places[:1]]
        out = torch.zeros(len(rows), models[0].masks.shape[1], dtype=torch.bool, device=self.base.device)
        for lm in models:
            mine = [i for i, row in enumerate(rows) if row.lm is lm]
            out[mine] = lm.masks[[places[i] for i in mine]]
        return out

    def _leave(self, place: int) -> None:
        """Take a row out of the batch; the last one moves up."""
        row, table = self.rows[place], self.slots.table
        assert table is not None
        transcript = row.transcript
        self.forget(transcript)
        transcript.replied(row.tokens)
        transcript.cache = Kept(table[:, place, :, : row.length].clone(), row.version)
        transcript.cached = row.length
        self._held[id(transcript)] = (transcript, transcript.cache.table.nbytes)
        self._bytes += transcript.cache.table.nbytes
        while self._bytes > self.keep:
            self.forget(next(iter(self._held.values()))[0])
        last = self.rows.pop()
        if last is not row:
            self.rows[place] = last
            table[:, place, :, : last.length] = table[:, len(self.rows), :, : last.length]
        row.done(row.lm.sample(row.spec, row.tokens, row.logp, row.version))


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return with how many equal tokens two transcripts begin."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
