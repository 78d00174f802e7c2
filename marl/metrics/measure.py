"""`Measure`: a value with its unit, null distribution and interval, or the reason why it is undefined.

Nothing here is ever nan: a `Measure` has a value, or the reason why it has none.
"""

from __future__ import annotations

from math import isfinite
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """Base of frozen pydantic models that are written to JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Null(Frozen):
    """The permutation null of a measure: its distribution when one side is shuffled."""

    mean: float
    low: float
    high: float
    """Its 5 % and 95 % quantiles: chance alone is rarely beyond them."""
    p: float
    """The chance of reaching what was found: (1 + #{shuffled >= found}) / (1 + permutations)."""
    q: float | None = None
    """p adjusted for all the tests made of this run (Benjamini & Hochberg 1995); None until they are known."""
    permutations: int


class Interval(Frozen):
    """An interval: its ends, its level, and the source of uncertainty it covers."""

    low: float
    high: float
    level: float = 0.95
    of: str
    """What was drawn anew to get it, such as "bootstrap over 5 runs"."""


class Measure(Frozen):
    """A measured value. `value` is None exactly when `undefined` gives the reason."""

    name: str
    value: float | None = None
    undefined: str = ""
    unit: str = ""
    """bits, share, rho (a rank correlation), symbols, score ...; empty for a plain number."""
    n: int
    """How many samples it was counted from: messages, contexts, episodes or runs."""
    correction: str = ""
    """How its bias was corrected, such as "Miller-Madow"; `plug_in` is what was counted before."""
    plug_in: float | None = None
    null: Null | None = None
    interval: Interval | None = None
    parts: dict[str, float | None] = Field(default_factory=dict)
    """What it is made of: by position, by attribute, by place."""
    note: str = ""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Self:
        if (self.value is None) != bool(self.undefined):
            raise ValueError(f"{self.name}: a measure has either a value, or the reason why it has none")
        return self


def measured(name: str, value: float, *, unit: str = "", n: int, **more: object) -> Measure:
    """Return a measure; a value that is not finite becomes undefined."""
    if not isfinite(value):
        return undefined(name, f"it came out as {value}", unit=unit, n=n)
    return Measure.model_validate({"name": name, "value": float(value), "unit": unit, "n": n, **more})


def undefined(name: str, why: str, *, unit: str = "", n: int = 0) -> Measure:
    """Return a measure without a value, and the reason."""
    return Measure(name=name, undefined=why, unit=unit, n=n)
