"""Interactions that EGG saved or printed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from marl.errors import UserError
from marl.study.data import foreign, source

INPUTS = [[a, b] for a in range(2) for b in range(2)]
MESSAGES = [[a + 1, b + 5, 0, 9] for a, b in INPUTS]
RIGHT = [(f"{a} {b}", (str(a + 1), str(b + 5)), {"listener": str(2 * a + b)}) for a, b in INPUTS]


@pytest.fixture
def interaction(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class of EGG, under its name."""
    modules = {name: ModuleType(name) for name in ("egg", "egg.core", "egg.core.interaction")}

    class Interaction:
        def __init__(self, **fields: Any) -> None:
            self.__dict__.update(fields)

    Interaction.__module__, Interaction.__qualname__ = "egg.core.interaction", "Interaction"
    modules["egg.core.interaction"].Interaction = Interaction  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return Interaction


def fields(**more: Any) -> dict[str, Any]:
    return {
        "sender_input": torch.tensor(INPUTS).float(),
        "receiver_input": None,
        "labels": torch.arange(4),
        "aux_input": {},
        "message": torch.tensor(MESSAGES),
        "receiver_output": torch.eye(4),
        "message_length": torch.full((4,), 3),
        "aux": {"acc": torch.tensor([[1.0], [1.0], [0.0], [1.0]])},
        **more,
    }


def read(path: Path, *options: str, end: str | None = None) -> list[tuple[str, tuple[str, ...], dict[str, str]]]:
    found = source.read(path, foreign.reading(options, end)).samples
    return [(sample.meaning, sample.message, dict(sample.answers)) for sample in found]


def test_a_saved_interaction_is_read_without_its_class(tmp_path: Path, interaction: type) -> None:
    path = tmp_path / "interaction_gpu0"
    torch.save(interaction(**fields()), path)
    soft = torch.nn.functional.one_hot(torch.tensor(MESSAGES), 10).float()  # Gumbel-Softmax
    torch.save(interaction(**fields(message=soft)), tmp_path / "gs.pt")
    for module in ("egg", "egg.core", "egg.core.interaction"):
        del sys.modules[module]
    for file in (path, tmp_path / "gs.pt"):
        assert read(file) == RIGHT
        assert [sample.score for sample in source.read(file).samples] == [1, 1, 0, 1]


def test_images_are_no_meanings_but_labels_may_be(tmp_path: Path) -> None:
    torch.save(fields(sender_input=torch.rand(4, 1, 8, 8)), tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"there is no meaning, .*add --columns meaning=labels"):
        read(tmp_path / "x.pt")
    assert [meaning for meaning, *_ in read(tmp_path / "x.pt", "meaning=labels")] == ["0", "1", "2", "3"]


class Runs:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_no_code_of_a_saved_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({**fields(), "extra": Runs()}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x.pt is not read: it would run posix.system; save its messages as .jsonl"):
        read(tmp_path / "x.pt")
    assert not Path("ran").exists()


def test_a_tensor_that_says_more_than_it_holds_is_left_out(tmp_path: Path) -> None:
    torch.save(fields(message=torch.zeros(1).as_strided((10**12,), (0,))), tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds no interaction of EGG"):
        read(tmp_path / "x.pt")


ARROWS = "\n".join(f"{x} -> {m[:3]} -> {n} (label={n})" for n, (x, m) in enumerate(zip(INPUTS, MESSAGES, strict=True)))
BLOCKS = f"INPUTS\n{INPUTS}\nLABELS\n[0, 1, 2, 3]\nMESSAGES\n{MESSAGES}\nOUTPUTS\n{torch.eye(4).tolist()}\n"


@pytest.mark.parametrize(
    "text",
    [
        ARROWS,
        '{"loss": 0.5}\n' + ARROWS,
        re.sub(r"(\[[^]]*\])", r"tensor(\1)", ARROWS),
        ARROWS.replace("[", "").replace("]", ""),
        ARROWS.replace("] -> [", "] -> [7, 7] -> ["),
        BLOCKS,
        BLOCKS.replace("], [", "]\n[").replace("[[", "[").replace("]]", "]"),
    ],
)
def test_what_egg_prints_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dump.txt"
    path.write_text(text)
    expected = [(meaning, message) for meaning, message, _ in RIGHT]
    assert [(meaning, message) for meaning, message, _ in read(path, end="0")] == expected
