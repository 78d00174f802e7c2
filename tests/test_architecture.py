"""The doors between the packages."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("protocols", "arenas", "marl", "trainers")
HEAVY = {"torch", "transformers", "tokenizers", "safetensors"}
WITH_TORCH = ("marl.models", "marl.inference", "marl.critic", "trainers")
"""Packages whose modules may import torch."""


def modules() -> dict[str, Path]:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    dotted = [file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in files]
    return {name.removesuffix(".__init__"): file for name, file in zip(dotted, files, strict=True)}


def light() -> list[str]:
    return [name for name in modules() if not f"{name}.".startswith(tuple(f"{package}." for package in WITH_TORCH))]


def imported(tree: ast.AST) -> Iterator[str]:
    """What a module imports when it is itself imported; what stands in functions is imported where it is used."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported(node)


def test_the_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("name", light())
def test_only_where_tensors_are_torch_is_imported(name: str) -> None:
    tops = {module.partition(".")[0] for module in imported(ast.parse(modules()[name].read_text()))}
    assert not tops & HEAVY


def test_nothing_else_loads_torch_by_a_detour() -> None:
    """Every module that has no business with tensors is imported, and so is the whole `trainers` package."""
    program = f"""
import importlib, sys
for name in {["trainers", *(name for name in light() if not name.endswith("__main__"))]!r}:
    importlib.import_module(name)
    found = {HEAVY!r} & set(sys.modules)
    assert not found, f"{{name}} loads {{found}}"
print("light")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "light\n", done.stderr


@pytest.mark.slow
def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True
    )
    (wheel,) = tmp_path.glob("sabir-*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == set(PACKAGES)
    shipped = {name for name in names if name.endswith(".py")}
    assert shipped == {file.relative_to(ROOT).as_posix() for file in modules().values()}
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
