"""Layers of the packages, import circles, sizes of folders, and what the documents say of them."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import networkx as nx
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


def contract(name: str) -> dict[str, Any]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["name"] == name)


def test_no_import_circle_also_not_inside_functions() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    edges = [(name, target) for name in graph.modules for target in graph.find_modules_directly_imported_by(name)]
    circles = [sorted(part) for part in nx.strongly_connected_components(nx.DiGraph(edges)) if len(part) > 1]
    assert circles == []


def test_no_folder_has_more_than_15_files() -> None:
    folders = {file.parent for file in modules().values()}
    sizes = {folder.relative_to(ROOT).as_posix(): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: size for folder, size in sizes.items() if size > 15} == {}


def test_contributing_lists_the_layers_of_marl_in_order() -> None:
    layers = [layer.split(" | ") for layer in contract("layers of marl")["layers"]]
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("| package | what it holds |") :].partition("\n\n")[0]
    order = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    height = {name: i for i, layer in enumerate(layers) for name in layer}
    assert set(order) == set(height) - {"__main__"}
    assert [height[name] for name in order] == sorted(height[name] for name in order)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md"])
def test_documents_name_the_packages_that_may_import_torch(page: str) -> None:
    """And the contract forbids torch in packages that lie outside of these."""
    text = (ROOT / page).read_text()
    assert all(package.removeprefix("marl.") in text for package in WITH_TORCH)
    free = contract("packages without tensors reach no torch")["source_modules"]
    assert not set(free) & set(WITH_TORCH)


@pytest.mark.parametrize("line", (ROOT / "tests/golden/imports_of_0.1.txt").read_text().splitlines())
def test_documented_import_lines_of_0_1_still_work(line: str) -> None:
    program = f"import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n{line}"
    exec(program, {})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("marl.chat", "Template"),
        ("marl.chat", "ChatTranscript"),
        ("marl.config", "HfPolicy"),
        ("marl.config", "check"),
        ("marl.base_model", "Base"),
        ("marl.chat_model", "ChatModel"),
        ("marl.pretrained", "seat"),
        ("marl.server", "ChatServer"),
        ("marl.batch", "collate"),
    ],
)
def test_modules_that_were_split_or_moved_are_found_under_their_old_names(old: str, name: str) -> None:
    assert hasattr(importlib.import_module(old), name)


def test_a_module_under_its_old_name_is_the_module_and_says_where_it_went() -> None:
    sys.modules.pop("arenas.commons", None)
    with pytest.warns(DeprecationWarning, match=r"arenas\.commons is now arenas\.games\.social\.commons"):
        importlib.import_module("arenas.commons")
    assert sys.modules["arenas.commons"] is sys.modules["arenas.games.social.commons"]
