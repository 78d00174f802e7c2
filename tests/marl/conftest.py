from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from marl.cli.app import main

TINY: Sequence[str] = (
    *("policy.width=16", "policy.heads=2", "algorithm.critic_width=16", "algorithm.critic_heads=2", "threads=1"),
    *("episodes=16", "updates=4", "evaluate_every=2", "checkpoint_every=2", "log_episodes=4"),
)
"""Settings under which a run takes a second."""


class Result(NamedTuple):
    code: int
    out: str
    err: str


def marl(*arguments: object, stdin: str = "") -> Result:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "stdin", io.StringIO(stdin)),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return Result(left.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train in an arena, once for all tests that ask for the same."""
    runs: dict[tuple[str, ...], Path] = {}

    def make(arena: str, *settings: str) -> Path:
        key = (arena, *settings)
        if key not in runs:
            folder = tmp_path_factory.mktemp(arena) / "run"
            result = marl("train", arena, f"out={folder}", *TINY, *settings)
            assert result.code == 0, result.err
            runs[key] = folder
        return runs[key]

    return make


@pytest.fixture(scope="session")
def run(make_run: Callable[..., Path]) -> Path:
    """A finished run of lewis: look, do not touch."""
    return make_run("lewis")
