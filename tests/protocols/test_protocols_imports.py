from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import protocols, protocols.channel, protocols.clock, protocols.draws, protocols.topology
shape = protocols.topology.build(protocols.topology.Named(type="ring"), ["a", "b", "c"])
assert shape.audience("a") == ("b", "c")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_protocols_loads_neither_numpy_nor_torch() -> None:
    """Also when a topology was built: networkx knows numpy, and must not have needed it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert {"protocols", "networkx", "pydantic"} <= loaded
    assert not loaded & {
        "numpy",
        "scipy",
        "torch",
        "transformers",
        "gymnasium",
        "pettingzoo",
        "arenas",
        "marl",
        "trainers",
    }
