"""Batched sampling with key-value caches that outlive a turn.

A batch may mix new and long transcripts; each row's new tokens are written behind its own past, so rows of different
length need no left padding. Every draw has its own coordinates, so tokens do not depend on which rows share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.errors import UserError
from marl.models.gpt2 import hidden_states
from marl.models.language_model import LanguageModel
from protocols.draws import GAMMA

WORTH_A_PASS: Final = 256
"""A beginning that new transcripts share is read by itself when that saves at least so many tokens."""


@dataclass(slots=True)
class Request:
    """A transcript that waits for a reply. `seed` has the coordinates of the decision."""

    transcript: Transcript
    spec: ReplySpec
    seed: int
    greedy: bool = False


class Block(NamedTuple):
    """Keys and values of one sampled batch: per layer [B, heads, T, d]. A transcript keeps its row of it."""

    layers: list[tuple[Tensor, Tensor]]
    version: int


class RowCache(Cache):  # type: ignore[misc]
    """transformers' cache interface over buffers [B, heads, T, d] that are written at each row's own positions."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]] | None, length: int) -> None:
        super().__init__(layers=[])
        self.buffers = layers or []
        self.length = length
        self.positions: Tensor | None = None
        self.start: int | None = None
        self.upto = 0

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new keys and values [B, heads, q, d] and return all up to the furthest one."""
        if layer_idx == len(self.buffers):
            batch, heads, _, width = keys.shape
            shape = (batch, heads, self.length, width)
            self.buffers.append((keys.new_zeros(shape), values.new_zeros(shape)))
        for buffer, new in zip(self.buffers[layer_idx], (keys, values), strict=True):
            if self.start is not None:
                buffer[:, :, self.start : self.upto] = new
            else:
                assert self.positions is not None
                rows = torch.arange(len(buffer), device=buffer.device)[:, None]
                buffer[rows, :, self.positions] = new.transpose(1, 2)
        k, v = self.buffers[layer_idx]
        return k[:, :, : self.upto], v[:, :, : self.upto]

    def pick(self, rows: NDArray[np.int64]) -> None:
        """Go on with these rows; one may be taken several times."""
        if _all_in_order(rows, len(self.buffers[0][0])):
            return
        at = torch.from_numpy(rows).to(self.buffers[0][0].device)
        self.buffers = [(keys.index_select(0, at), values.index_select(0, at)) for keys, values in self.buffers]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens came before the new ones, if that is the same for all rows."""
        return self.start or 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the number of keys and the position of the first."""
        return self.upto, 0


def _all_in_order(rows: NDArray[np.int64], count: int) -> bool:
    return len(rows) == count and bool((rows == np.arange(count)).all())


def uniforms(seeds: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """Return the first draws of each seed [B, count], equal to `protocols.draws.uniform`, vectorised."""
    with np.errstate(over="ignore"):
        x = seeds[:, None] + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    draws: NDArray[np.float64] = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return draws


def draw(logp: Tensor, u: Tensor) -> Tensor:
    """Invert the cumulative distribution at u: [B, V] log-probabilities and [B] uniforms to [B] tokens."""
    cdf = logp.exp().cumsum(-1, dtype=torch.float64)
    tokens = torch.searchsorted(cdf, (u * cdf[:, -1])[:, None], right=True).squeeze(-1)
    past = tokens == logp.shape[-1]
    return torch.where(past, logp.argmax(-1), tokens) if past.any() else tokens  # u so near 1 that rounding passed it


def gather(requests: Sequence[Request], length: int) -> list[tuple[Tensor, Tensor]] | None:
    """Bring the caches of the batch's transcripts into one block of the given length; None if all are new."""
    blocks: dict[int, Block] = {}
    rows: dict[int, list[tuple[int, int]]] = {}  # of each block: row of the batch, row of the block
    for i, request in enumerate(requests):
        if request.transcript.cached:
            block, row = request.transcript.cache
            blocks[id(block)] = block
            rows.setdefault(id(block), []).append((i, row))
    if not blocks:
        return None
    sample = next(iter(blocks.values())).layers
    places = {key: torch.tensor(pairs, device=sample[0][0].device).unbind(1) for key, pairs in rows.items()}
    layers = []
    for layer, pair in enumerate(sample):
        merged = []
        for side, like in enumerate(pair):
            buffer = like.new_zeros((len(requests), like.shape[1], length, like.shape[3]))
            for key, block in blocks.items():
                to, taken = places[key]
                old = block.layers[layer][side]
                upto = min(length, old.shape[2])
                buffer[to, :, :upto] = old[taken, :, :upto]
            merged.append(buffer)
        layers.append((merged[0], merged[1]))
    return layers


@torch.inference_mode()
def generate(lm: LanguageModel, requests: Sequence[Request], version: int = 0) -> list[Sample]:
    """Sample a reply for every request at once, append it to its transcript and keep the caches.

    The forward pass over a transcript covers only what the cache does not hold yet, and what several new transcripts
    have in common is computed once, also while they go on alike. The end of a reply that has used all its places is
    certain (log-probability 0), so it costs no pass.
    """
    for request in requests:
        cache = request.transcript.cache
        if cache is not None and cache[0].version != version:
            request.transcript.cached = 0  # keys and values of older weights
    device = lm.device
    size = len(requests)
    rows = mask_rows(lm, requests)
    places = rows.shape[1] - 1
    kept, hidden, row = prefill(lm, requests, places)
    prompt = np.array([len(r.transcript.ids) for r in requests])
    draws = torch.from_numpy(uniforms(np.array([r.seed for r in requests], np.uint64), places)).to(device)
    likeliest = [r.greedy for r in requests]
    greedy = torch.tensor(likeliest, device=device) if any(likeliest) else None

    tokens_out = np.full((size, places + 1), lm.eos, np.int64)
    logp_out = np.zeros((size, places + 1), np.float32)
    live = np.ones(size, bool)
    for place in range(places):
        logits = lm.logits(hidden)
        if not _all_in_order(row, len(logits)):
            logits = logits.index_select(0, torch.from_numpy(row).to(device))
        logp = logits.masked_fill(~lm.masks[rows[:, place]], -torch.inf).log_softmax(-1)
        tokens = draw(logp, draws[:, place])
        if greedy is not None:
            tokens = torch.where(greedy, logp.argmax(-1), tokens)
        chosen = logp.gather(-1, tokens[:, None]).squeeze(-1)
        drawn = tokens.cpu().numpy()
        tokens_out[live, place] = drawn[live]
        logp_out[live, place] = chosen.cpu().numpy()[live]
        live &= drawn != lm.eos
        if place == places - 1 or not live.any():
            break
        _, first, alike = np.unique(row * logp.shape[1] + drawn, return_index=True, return_inverse=True)
        kept.pick(row[first])
        row = alike
        hidden = _forward(lm, kept, torch.from_numpy(drawn[first, None]).to(device), prompt[first] + place)
    return _finish(lm, requests, tokens_out, logp_out, Block(kept.buffers, version), row, prompt)


def mask_rows(lm: LanguageModel, requests: Sequence[Request]) -> Tensor:
    """Return the rows of `masks` that hold at each place of a reply and at its end: [B, places + 1]."""
    specs = {id(request.spec): request.spec for request in requests}
    number = {known: i for i, known in enumerate(specs)}
    asked = [number[id(request.spec)] for request in requests]
    grammars = list(map(lm.grammar, specs.values()))
    length = max(map(len, grammars))
    table = np.array([grammar + (grammar[-1],) * (length - len(grammar)) for grammar in grammars])
    return torch.from_numpy(table[asked]).to(lm.device)


def prefill(lm: LanguageModel, requests: Sequence[Request], places: int) -> tuple[RowCache, Tensor, NDArray[np.int64]]:
    """Read what the caches do not hold yet; return a cache with `places` further columns, and last states [D, d].

    Equal new transcripts are read once, so there may be fewer rows than requests, and [B] says which row is whose. The
    beginning that all new transcripts share is read once too.
    """
    known: dict[tuple[int, ...] | int, int] = {}
    different: list[Request] = []
    index = []
    for i, request in enumerate(requests):
        transcript = request.transcript
        place = known.setdefault(i if transcript.cached else tuple(transcript.ids), len(different))
        if place == len(different):
            different.append(request)
        index.append(place)
    past = np.array([r.transcript.cached for r in different])
    new = [r.transcript.ids[r.transcript.cached :] for r in different]
    count = np.array([len(ids) for ids in new])
    # One column more than any row needs: there the padding of shorter rows goes that would fall beyond the end.
    kept = RowCache(None, int((past + count).max()) + places)
    if kept.length > lm.context:
        raise UserError(
            f"a transcript of {kept.length} tokens does not fit the policy's context of {lm.context}: "
            "train one with a larger policy.context"
        )
    kept.buffers = gather(different, kept.length) or []
    common = 0 if past.any() else _common(new)
    if common * (len(new) - 1) >= WORTH_A_PASS:
        _forward(lm, kept, torch.tensor([new[0][:common]], device=lm.device), np.zeros(1, np.int64))
        kept.pick(np.zeros(len(new), np.int64))
        past, count, new = past + common, count - common, [ids[common:] for ids in new]
    ids = np.zeros((len(new), count.max()), np.int64)
    for row, fresh in zip(ids, new, strict=True):
        row[: len(fresh)] = fresh
    hidden = _forward(lm, kept, torch.from_numpy(ids).to(lm.device), past, torch.from_numpy(count - 1).to(lm.device))
    return kept, hidden, np.array(index)


def _common(rows: Sequence[list[int]]) -> int:
    """Return how many tokens all rows begin with, leaving each at least one of its own."""
    first, last = min(rows), max(rows)
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _forward(
    lm: LanguageModel, cache: RowCache, inputs: Tensor, starts: NDArray[np.int64], last: Tensor | None = None
) -> Tensor:
    """Run [B, q] new tokens that begin at each row's `starts`; return the states [B, d] at `last` (default: 0)."""
    width, first, last_start = inputs.shape[1], int(starts.min()), int(starts.max())
    uniform = first == last_start
    cache.start = first if uniform else None
    cache.upto = min(last_start + width, cache.length)
    if uniform:
        cache.positions = positions = torch.arange(first, first + width, device=inputs.device)[None]
    else:
        begin = torch.from_numpy(starts).to(inputs.device)
        positions = begin[:, None] + torch.arange(width, device=inputs.device)
        # Padding of shorter rows may lie beyond the end: what it writes is overwritten, or never attended to.
        cache.positions = positions.clamp(max=cache.length - 1)
    # Rows of one length that are new, or get one token more, need no mask: attention then takes its quick path.
    quick = uniform and (width == 1 or cache.start == 0)
    visible = None if quick else torch.arange(cache.upto, device=inputs.device) <= positions[:, None, :, None]
    trunk = lm.model.base_model
    if lm.plain:
        wanted = None if last is None else last[:, None]
        return hidden_states(trunk, inputs, cache.positions, cache, visible, wanted)[:, 0]
    hidden: Tensor = trunk(
        input_ids=inputs, attention_mask=visible, position_ids=cache.positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    return hidden[:, 0] if last is None else hidden[torch.arange(len(inputs), device=inputs.device), last]


def _finish(
    lm: LanguageModel,
    requests: Sequence[Request],
    tokens: NDArray[np.int64],
    logp: NDArray[np.float32],
    block: Block,
    rows: NDArray[np.int64],
    prompt: NDArray[np.int64],
) -> list[Sample]:
    """Cut each reply at its end, append it to its transcript, and leave it its row of the cache."""
    samples = []
    ends = (tokens == lm.eos).argmax(1) + 1
    # Not fed back, so not in the cache: the last token drawn, and an end that needed no pass.
    cached = prompt + ends - np.where(ends < tokens.shape[1], 1, 2)
    columns = (each.tolist() for each in (tokens, logp, ends, cached, rows))
    for request, drawn, logprobs, end, upto, row in zip(requests, *columns, strict=True):
        sampled = tuple(drawn[:end])
        transcript = request.transcript
        transcript.replied(sampled)
        transcript.cache, transcript.cached = (block, row), upto
        samples.append(Sample(lm.text(sampled), sampled, tuple(logprobs[:end]), block.version))
    return samples
