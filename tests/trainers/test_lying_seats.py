"""A seat that lies about its own replies changes nothing in an update, and every lie is counted under its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainers.lying import WORLDS, lie_until

DISTANCE = 1e-3
"""Of the gradient, as a share of its norm: the sampler and the scoring pass round differently."""


def lies(payloads: int, out: Path, world: str) -> None:
    torch.set_num_threads(1)
    tally = lie_until(payloads, out, world)
    print(world, tally)
    assert tally.payloads >= payloads
    assert tally.distance < DISTANCE
    assert min(tally.rejected, tally.untrue, tally.scored + tally.superseded, tally.undrawn, tally.true) > 0
    assert tally.untrue > tally.payloads / 3


@pytest.mark.parametrize("world", WORLDS)
def test_lies_change_no_update_and_are_counted(tmp_path: Path, world: str) -> None:
    lies(1000, tmp_path, world)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("world", WORLDS)
def test_a_hundred_thousand_lies_change_no_update(tmp_path: Path, world: str) -> None:
    lies(34_000, tmp_path, world)
