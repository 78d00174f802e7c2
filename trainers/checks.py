"""Checks of episodes and arrays before an update: finite numbers, episodes that were played."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marl.episode import Episode, Stop
from marl.errors import UserError


def check_finite(array: NDArray[np.float64], what: str, episodes: Sequence[Episode]) -> None:
    """Raise FloatingPointError naming the first episode with NaN or inf in an array [E, ...].

    NaN must not pass for "not scored".
    """
    finite = np.isfinite(array).reshape(len(array), -1).all(1)
    if not finite.all():
        raise FloatingPointError(f"{what} are not finite in episode {episodes[int(finite.argmin())].log.episode}")


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
