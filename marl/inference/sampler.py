"""Batched sampling with key-value caches that outlive a turn.

A batch may mix new and long transcripts. Each row's new tokens are written behind its own past, so rows of different
length need no left padding. Every draw has its own coordinates, so the sampled tokens do not depend on which rows share
a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marl.episode import Sample
from marl.errors import UserError
from marl.inference.draws import draw, uniforms
from marl.inference.kv_cache import KVBlock, RowCache, gather_blocks, in_order
from marl.inference.request import GenerationRequest
from marl.models.gpt2 import hidden_states
from marl.models.language_model import LanguageModel

MIN_SAVED_TOKENS: Final = 256
"""The prefix that all new transcripts share gets a pass of its own if that saves at least this many tokens."""


@torch.inference_mode()
def generate(lm: LanguageModel, requests: Sequence[GenerationRequest], version: int = 0) -> list[Sample]:
    """Sample a reply to every request in one batch, append it to its transcript and keep the caches.

    The forward pass over a transcript covers only what its cache does not hold yet; the prefix that several new
    transcripts share is computed once, and so are rows that are still equal after a few drawn tokens. The end of a
    reply of full length is certain (log-probability 0), so it costs no pass.
    """
    for request in requests:
        cache = request.transcript.cache
        if cache is not None and cache[0].version != version:
            request.transcript.cached = 0  # keys and values of older weights
    device = lm.device
    size = len(requests)
    rows = mask_rows(lm, requests)  # [B, steps + 1]
    steps = rows.shape[1] - 1
    cache, hidden, row = prefill(lm, requests, steps)
    prompt = np.array([len(r.transcript.ids) for r in requests])
    draws = torch.from_numpy(uniforms(np.array([r.seed for r in requests], np.uint64), steps)).to(device)  # [B, steps]
    is_greedy = [r.greedy for r in requests]
    greedy = torch.tensor(is_greedy, device=device) if any(is_greedy) else None

    drawn_tokens = np.full((size, steps + 1), lm.eos, np.int64)
    behavior_logprobs = np.zeros((size, steps + 1), np.float32)
    live = np.ones(size, bool)
    for step in range(steps):
        logits = lm.logits(hidden)  # [D, V], D distinct rows
        if not in_order(row, len(logits)):
            logits = logits.index_select(0, torch.from_numpy(row).to(device))  # [B, V]
        logprobs = logits.masked_fill(~lm.masks[rows[:, step]], -torch.inf).log_softmax(-1)
        tokens = draw(logprobs, draws[:, step])
        if greedy is not None:
            tokens = torch.where(greedy, logprobs.argmax(-1), tokens)
        chosen = logprobs.gather(-1, tokens[:, None]).squeeze(-1)
        drawn = tokens.cpu().numpy()
        drawn_tokens[live, step] = drawn[live]
        behavior_logprobs[live, step] = chosen.cpu().numpy()[live]
        live &= drawn != lm.eos
        if step == steps - 1 or not live.any():
            break
        _, first, inverse = np.unique(row * logprobs.shape[1] + drawn, return_index=True, return_inverse=True)
        cache.select(row[first])
        row = inverse
        hidden = _forward(lm, cache, torch.from_numpy(drawn[first, None]).to(device), prompt[first] + step)
    return _finish(lm, requests, drawn_tokens, behavior_logprobs, KVBlock(cache.buffers, version), row, prompt)


def mask_rows(lm: LanguageModel, requests: Sequence[GenerationRequest]) -> Tensor:
    """Return the row of `lm.masks` for each step of each reply and for its end: [B, steps + 1]."""
    specs = {id(request.spec): request.spec for request in requests}
    number = {spec_id: i for i, spec_id in enumerate(specs)}
    spec_of = [number[id(request.spec)] for request in requests]
    grammars = list(map(lm.grammar, specs.values()))
    length = max(map(len, grammars))
    table = np.array([grammar + (grammar[-1],) * (length - len(grammar)) for grammar in grammars])
    return torch.from_numpy(table[spec_of]).to(lm.device)


def prefill(
    lm: LanguageModel, requests: Sequence[GenerationRequest], steps: int
) -> tuple[RowCache, Tensor, NDArray[np.int64]]:
    """Read the tokens that the caches do not hold yet.

    Equal new transcripts are read once, and so is the prefix that all new transcripts share.

    Returns:
        A cache of D distinct rows with room for `steps` more tokens, the states of their last tokens [D, d], and the
        distinct row of each request [B].
    """
    seen: dict[tuple[int, ...] | int, int] = {}
    distinct: list[GenerationRequest] = []
    index = []
    for i, request in enumerate(requests):
        transcript = request.transcript
        row = seen.setdefault(i if transcript.cached else tuple(transcript.ids), len(distinct))
        if row == len(distinct):
            distinct.append(request)
        index.append(row)
    past = np.array([r.transcript.cached for r in distinct])
    new = [r.transcript.ids[r.transcript.cached :] for r in distinct]
    count = np.array([len(ids) for ids in new])
    # One column more than any row needs: the padding of shorter rows that would fall beyond the end goes there.
    cache = RowCache(None, int((past + count).max()) + steps)
    if cache.length > lm.context:
        raise UserError(
            f"a transcript of {cache.length} tokens does not fit the policy's context of {lm.context}: "
            "train one with a larger policy.context"
        )
    cache.buffers = gather_blocks(distinct, cache.length) or []
    common = 0 if past.any() else _common_prefix(new)
    if common * (len(new) - 1) >= MIN_SAVED_TOKENS:
        _forward(lm, cache, torch.tensor([new[0][:common]], device=lm.device), np.zeros(1, np.int64))
        cache.select(np.zeros(len(new), np.int64))
        past, count, new = past + common, count - common, [ids[common:] for ids in new]
    ids = np.zeros((len(new), count.max()), np.int64)
    for padded, own in zip(ids, new, strict=True):
        padded[: len(own)] = own
    hidden = _forward(lm, cache, torch.from_numpy(ids).to(lm.device), past, torch.from_numpy(count - 1).to(lm.device))
    return cache, hidden, np.array(index)


def _common_prefix(rows: Sequence[list[int]]) -> int:
    """Return the length of the prefix that all rows share, leaving each row at least one token of its own."""
    first, last = min(rows), max(rows)
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _forward(
    lm: LanguageModel, cache: RowCache, inputs: Tensor, starts: NDArray[np.int64], last: Tensor | None = None
) -> Tensor:
    """Run new tokens [B, q] that begin at `starts` [B]; return the states [B, d] at `last` [B] (default: token 0)."""
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
    # Rows of one length that are new, or get one token more, need no mask: attention then takes its fast path.
    unmasked = uniform and (width == 1 or cache.start == 0)
    visible = None if unmasked else torch.arange(cache.upto, device=inputs.device) <= positions[:, None, :, None]
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
    requests: Sequence[GenerationRequest],
    tokens: NDArray[np.int64],
    behavior_logprobs: NDArray[np.float32],
    block: KVBlock,
    rows: NDArray[np.int64],
    prompt: NDArray[np.int64],
) -> list[Sample]:
    """Cut each reply at its end, append it to its transcript, and give the transcript its row of the cache."""
    samples = []
    ends = (tokens == lm.eos).argmax(1) + 1
    # The last drawn token, and an end that needed no pass, were not fed back: they are not in the cache.
    cached = prompt + ends - np.where(ends < tokens.shape[1], 1, 2)
    columns = (column.tolist() for column in (tokens, behavior_logprobs, ends, cached, rows))
    for request, drawn, logprobs, end, upto, row in zip(requests, *columns, strict=True):
        reply = tuple(drawn[:end])
        transcript = request.transcript
        transcript.replied(reply)
        transcript.cache, transcript.cached = (block, row), upto
        samples.append(Sample(lm.text(reply), reply, tuple(logprobs[:end]), block.version))
    return samples
