"""Checks of episodes, arrays and metrics: finite numbers, episodes that were played."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from marl.episode import Episode, Stop
from marl.errors import UserError

SMALLER_STEPS: Final = "a smaller algorithm.lr may help"
REWARDS: Final = "the arena pays NaN or infinity, so correct its rewards"
SAMPLES: Final = "tokens outside the reply spec, or log-probabilities of no weights: correct what sampled them"


class NotFiniteError(FloatingPointError):
    """NaN or inf where training needs numbers; `remedy` says what the user can do."""

    def __init__(self, text: str, remedy: str = SMALLER_STEPS) -> None:
        super().__init__(text)
        self.remedy = remedy


def remedy(error: FloatingPointError) -> str:
    """Return what the user can do; algorithms of others may raise a plain FloatingPointError."""
    return error.remedy if isinstance(error, NotFiniteError) else SMALLER_STEPS


def check_finite(
    array: NDArray[np.float64], what: str, episodes: Sequence[Episode], remedy: str = SMALLER_STEPS
) -> None:
    """Raise NotFiniteError naming the first episode with NaN or inf in an array [E, ...].

    NaN must not pass for "not scored".
    """
    finite = np.isfinite(array).reshape(len(array), -1).all(1)
    if not finite.all():
        raise NotFiniteError(f"{what} are not finite in episode {episodes[int(finite.argmin())].log.episode}", remedy)


def check_played(episodes: Sequence[Episode]) -> None:
    """Raise UserError if an episode failed, or ended before anyone replied: nothing can be learned from it."""
    failed = [episode.error for episode in episodes if episode.stop is Stop.ERROR]
    if failed:
        raise UserError(f"{len(failed)} of {len(episodes)} episodes failed; the first: {failed[0]}")
    empty = [episode for episode in episodes if not episode.turns]
    if empty:
        end = empty[0].log.entries[-1].envelope
        raise UserError(
            f"{len(empty)} of {len(episodes)} episodes ended before anyone replied ({end.body}); the first: "
            f"{end.data.get('reason', 'nobody was asked')}"
        )


def json_value(value: Any) -> Any:
    """Return a value of metrics or of a summary as JSON has it: null for NaN and infinity, which JSON lacks."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: json_value(inner) for name, inner in value.items()}
    return [json_value(inner) for inner in value] if isinstance(value, list | tuple) else value
