"""Text encoding of gymnasium observations, in a finite vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces

from arenas.errors import ArenaError
from arenas.spec import Words

MOST: Final = 1024
"""Integers in a range up to which they are written out; larger ranges are binned like real numbers."""
ENDLESS: Final = 1e6
"""Magnitude beyond which a bound counts as infinite."""
DENSE: Final = 8
"""Minimum size of arrays between 0 and 1 that are written sparsely, as the positions that are not 0."""


class Rendering(NamedTuple):
    """Text encoding of a space: text of a value, vocabulary, and maximum length in words."""

    text: Callable[[Any], str]
    words: Words
    length: int


def rendering(space: spaces.Space[Any], bins: int, limit: float) -> Rendering:
    """Choose the text encoding of a space; raises ArenaError for an unsupported one.

    Integers are written out. Real numbers are rounded to `bins` values over their range, and clipped to -limit and
    limit where it has no end. Arrays between 0 and 1 are the positions that are not 0: `x3` is 1 at position 3 of the
    flattened array, `x3 0.5` is 0.5, and `none` is 0 everywhere.
    """
    match space:
        case spaces.Discrete():
            words = tuple(str(int(space.start) + i) for i in range(int(space.n)))
            return Rendering(lambda value: str(int(value)), words, 1)
        case spaces.MultiDiscrete():
            return _integers(np.zeros(space.shape, int), space.nvec - 1)
        case spaces.MultiBinary():
            size = int(np.prod(space.shape))
            return _places(size, None) if size >= DENSE else _integers(np.zeros(size), np.ones(size))
        case spaces.Box():
            return _box(space, bins, limit)
        case spaces.Dict():
            return _several({name: rendering(part, bins, limit) for name, part in space.spaces.items()})
        case spaces.Tuple():
            parts = [rendering(part, bins, limit) for part in space.spaces]
            return Rendering(
                lambda value: " ".join(part.text(element) for part, element in zip(parts, value, strict=True)),
                tuple(word for part in parts for word in part.words),
                sum(part.length for part in parts),
            )
    raise ArenaError(
        f"observations of {space} cannot be written as words: Discrete, MultiDiscrete, MultiBinary, Box, and Dict and "
        "Tuple of these can; give it an environment that observes one of them"
    )


def _several(parts: dict[str, Rendering]) -> Rendering:
    names = {name: name.replace(" ", "_") for name in parts}
    return Rendering(
        lambda value: " ".join(f"{names[name]} {part.text(value[name])}" for name, part in parts.items()),
        tuple(word for name, part in parts.items() for word in (names[name], *part.words)),
        sum(1 + part.length for part in parts.values()),
    )


def _box(space: spaces.Box, bins: int, limit: float) -> Rendering:
    whole = np.issubdtype(space.dtype, np.integer) or space.dtype == np.bool_
    low, high = space.low.astype(float), space.high.astype(float)
    whole = whole and bool((low >= -ENDLESS).all() and (high <= ENDLESS).all())
    low, high = np.where(low < -ENDLESS, -limit, low), np.where(high > ENDLESS, limit, high)
    size = int(np.prod(space.shape))
    if size >= DENSE and (low == 0).all() and (high == 1).all():
        return _places(size, None if whole else _grid(0.0, 1.0, bins))
    if whole and high.max() - low.min() < MOST:
        return _integers(low, high)
    grids = {ends: _grid(*ends, bins) for ends in dict.fromkeys(zip(low.flat, high.flat, strict=True))}
    mine = [grids[ends] for ends in zip(low.flat, high.flat, strict=True)]

    def text(value: Any) -> str:
        return " ".join(_nearest(grid, x) for grid, x in zip(mine, np.ravel(value), strict=True))

    return Rendering(text, tuple(word for _, words in grids.values() for word in words), size)


def _integers(low: Any, high: Any) -> Rendering:
    words = tuple(str(i) for i in range(int(np.min(low)), int(np.max(high)) + 1))
    return Rendering(lambda value: " ".join(str(int(x)) for x in np.ravel(value)), words, int(np.size(low)))


Grid = tuple[np.ndarray[Any, Any], Words]


def _places(size: int, grid: Grid | None) -> Rendering:
    def text(value: Any) -> str:
        flat = np.ravel(value)
        shown = []
        for i in np.flatnonzero(flat):
            number = "1" if grid is None else _nearest(grid, flat[i])
            shown += [] if number == "0" else [f"x{i}"] if number == "1" else [f"x{i}", number]
        return " ".join(shown) or "none"

    places = tuple(f"x{i}" for i in range(size))
    return Rendering(text, ("none", *places, *(grid[1] if grid else ())), size * (2 if grid else 1))


def _grid(low: float, high: float, bins: int) -> Grid:
    """Return `bins` values from low to high, and the word for each."""
    values = np.linspace(low, high, bins)
    values[np.abs(values) < 1e-12 * (high - low)] = 0.0  # no -0
    digits = 1
    while True:  # as few digits as a tenth of a bin allows
        words = tuple(f"{x:.{digits}g}" for x in values)
        if digits == 17 or np.abs(np.array(words, float) - values).max() <= 0.1 * (high - low) / (bins - 1):
            return values, words
        digits += 1


def _nearest(grid: Grid, x: float) -> str:
    values, words = grid
    low, high = values[0], values[-1]
    share = 0.0 if high == low else (min(max(float(np.nan_to_num(x)), low), high) - low) / (high - low)
    return words[round(share * (len(words) - 1))]
