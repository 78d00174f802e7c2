"""A slice of the fuzzing of readers; `make fuzz-study` is the whole of it."""

from __future__ import annotations

import signal
from types import FrameType

import pytest

from tests.marl.study.data import fuzz


def hang(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"no end after {fuzz.SECONDS} s")


@pytest.mark.parametrize("name", fuzz.SEEDS)
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_wrong_is_read_or_refused(name: str) -> None:
    before = signal.signal(signal.SIGALRM, hang)
    try:
        count = 8 if name == "m.parquet" else 150  # each takes a process
        outcomes = [outcome for _, outcome in fuzz.cases(name, count)]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [outcome for outcome in outcomes if outcome not in ("read", "refused")] == []
    assert "refused" in outcomes
