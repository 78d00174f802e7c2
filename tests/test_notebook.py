"""Sabir in a real Jupyter kernel, whose cells run inside an event loop."""

from __future__ import annotations

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs a Jupyter kernel: pip install 'sabir[dev]'")
nbformat = pytest.importorskip("nbformat")
README = Path(__file__).parents[1] / "README.md"


def readme_code() -> str:
    """Return the example of "In Python", with fewer updates."""
    code = README.read_text(encoding="utf-8").partition("## In Python\n\n```python\n")[2].partition("```")[0]
    assert '"updates": 20, "episodes": 128' in code
    return code.replace('"updates": 20, "episodes": 128', '"updates": 2, "episodes": 16')


CELLS = (
    "import asyncio\nasyncio.get_running_loop()",
    readme_code(),
    "from marl.rollout import Plan, collect, fork, replay\n"
    "from marl.rundir import load\n"
    "trained = load.trained('runs/noisy')\n"
    "(episode,) = collect(trained.world, [Plan('e', trained.seats, 1)])\n"
    "again, forked = collect(trained.world, [replay(episode.log), fork(episode.log, 2, trained.seats)])\n"
    "assert again.log.to_bytes() == episode.log.to_bytes()",
    "from marl.study.pipeline import study\nassert study(['runs/noisy'], permutations=20).runs",
    "from marl.rollout.pettingzoo_environment import AecEnvironment\n"
    "env = AecEnvironment({'arena': {'name': 'lewis'}})\n"
    "env.reset(seed=1)\n"
    "env.step(env.action_space(env.agent_selection).sample())",
)


@pytest.mark.timeout(240)
def test_every_call_works_in_a_notebook(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises CellExecutionError, with the traceback of the cell
    assert (tmp_path / "runs/noisy/summary.json").is_file()
