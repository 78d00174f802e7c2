"""Which way a pretrained model is sampled: with a KV cache where that is proven equal, else by reading all again.

The proof is made when a model is loaded, on its twin (marl/models/forward/twin.py): tokens that are read into a cache,
in rows of different length, one by one and several at a time, must get the logits of the model's own pass over the row.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from marl.errors import UserError
from marl.inference.kv_cache import RunningCache
from marl.models.forward.head import head_of, trunk_of
from marl.models.forward.masks import MaskForm, longest_context, masks
from marl.models.forward.twin import VOCABULARY, twin

TOLERANCE: Final = 1e-4
LOOSE: Final = 0.03
CUTS: Final = (14, 75, 152)
"""Lengths at which a model is asked whether later tokens matter; models that compress keys do so at such lengths."""
UNSHRUNK: Final = "its configuration cannot be shrunk"
LENGTH: Final = 28
"""Tokens of a row of the proof: several windows of a twin."""


class Path(Enum):
    """How a model is read while sampling."""

    LEAN = "lean"
    CACHED = "cached"
    WHOLE = "whole"


class Reading(NamedTuple):
    """The way a model is sampled; why there is no quicker one."""

    path: Path
    form: MaskForm | None = None
    why: str = ""


def reading_of(model: PreTrainedModel, lean: bool, source: str) -> Reading:
    """Return the way a model is sampled; raises UserError for a model that is not causal."""
    if lean:
        return Reading(Path.LEAN)
    reading = _proven(type(model).__name__, model.config.to_json_string(use_diff=False), Config(model.config))
    if reading is None or (reading.why.startswith(UNSHRUNK) and not is_causal(model)):
        raise UserError(
            f"{source}: {type(model).__name__} with this configuration is not a causal language model, its logits at a "
            "token depend on later tokens: name a model that is one (some need is_decoder = true in config.json)"
        )
    return reading


class Config:
    """A configuration that does not count for a cache's key: its JSON does."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=64)
def _proven(name: str, settings: str, config: Config) -> Reading | None:
    """Return the way for a configuration; None where the model is not causal."""
    try:
        model = twin(config.config)
        rows = torch.randint(5, VOCABULARY, (2, LENGTH), generator=torch.Generator().manual_seed(0))
        truth = own_logits(model, rows)
    except Exception as error:  # what cannot be shrunk raises what it likes
        return Reading(Path.WHOLE, why=f"{UNSHRUNK} ({str(error).strip().partition(chr(10))[0][:120]})")
    if not all(_is_prefix(model, cut) for cut in CUTS):
        return None
    why = "its cache is no table of keys and values"
    for form in MaskForm:
        try:
            apart = difference(cached_logits(model, rows, form), truth)
        except Exception as error:
            why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}"
            continue
        if apart <= TOLERANCE:
            return Reading(Path.CACHED, form)
        why = f"with a cache its logits are {apart:.1g} off"
    return Reading(Path.WHOLE, why=why)


def _is_prefix(model: Any, cut: int) -> bool:
    """Whether the first tokens of a long row get the log-probabilities that they get alone."""
    length = max(min(max(CUTS) + 8, longest_context(model.config) - 8), 8)
    row = torch.randint(5, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))
    cut = min(cut, length - 4)
    return difference(own_logits(model, row[:, :cut]), own_logits(model, row)[:, :cut]) <= TOLERANCE


@torch.no_grad()
def is_causal(model: Any) -> bool:
    """Whether the logits of a few tokens stay as they are when others follow, within the rounding of a model."""
    ids = torch.arange(1, 9, device=model.device)[None]
    short, long = (model(input_ids=part, use_cache=False).logits.float() for part in (ids[:, :4], ids))
    return difference(short, long[:, :4]) <= LOOSE * float(long.abs().max())


def difference(one: Tensor, two: Tensor) -> float:
    """Return the largest difference of two tensors; infinite where one is NaN."""
    return float((one - two).abs().max().nan_to_num(nan=float("inf")))


@torch.no_grad()
def own_logits(model: Any, rows: Tensor) -> Tensor:
    """Return log-probabilities [B, T, V] of a model's own pass, row by row."""
    parts = [model(input_ids=row[None], use_cache=False).logits.float().log_softmax(-1) for row in rows]
    return torch.cat(parts)


@torch.no_grad()
def cached_logits(model: Any, rows: Tensor, form: MaskForm) -> Tensor:
    """Return log-probabilities [B, T, V] with a cache: each row at its own position, in passes of several widths."""
    cache = RunningCache(int(model.config.get_text_config().num_hidden_layers))
    head, length = head_of(model), rows.shape[1]
    done = torch.zeros(len(rows), dtype=torch.int64)
    logits = torch.zeros(*rows.shape, int(model.get_output_embeddings().weight.shape[0]))
    if not head.split:
        raise ValueError("its forward pass cannot be split into states and logits")
    for width, counts in _plan(len(rows), length):
        positions = done[:, None] + torch.arange(width)
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        for row, count in enumerate(counts):
            ids[row, :count] = rows[row, done[row] : done[row] + count]
        cache.reserve(len(rows), int(positions.max()) + 1)
        cache.view_rows(0, positions)
        visible = torch.arange(cache.upto) <= positions[:, None, :, None]
        mask = masks(model.config.get_text_config(), form, visible, positions, torch.float32)
        if not int(done.max()):
            mask = None
        states = trunk_of(model)(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        here = head(model, states).log_softmax(-1)
        for row, count in enumerate(counts):
            logits[row, done[row] : done[row] + count] = here[row, :count]
        done += torch.tensor(counts)
    return logits


def _plan(rows: int, length: int) -> list[tuple[int, list[int]]]:
    """Return passes: the width of each, and how many tokens of it are a row's; the last row lags behind."""
    lag = [0] * (rows - 1) + [3]
    plan = [(7, [7 - own for own in lag]), (5, [5] * rows)]
    plan += [(1, [1] * rows)] * (length - 12 - max(lag))
    return [*plan, (2 * max(lag), [max(lag) + own for own in lag])]
