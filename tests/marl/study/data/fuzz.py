"""Fuzzing of what reads strangers' files: `python -m tests.marl.study.data.fuzz CASES [READER]`.

Files that are right are changed at random: bytes flipped, cut, doubled, replaced by what is odd. A reader may return or
raise its error, within `SECONDS`; anything else fails. It prints a line for each reader.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from marl.errors import UserError
from marl.study.data import foreign
from protocols import ProtocolError
from protocols.topology import read_graphml

SECONDS: Final = 5
MEGABYTES: Final = 500
ODD: Final = (
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b'"', b"'", b",", b"\t"),
    *(b"[", b"]" * 50, b"[" * 2000, b"{" * 500, b'{"a":' * 2000, b"\\ud800", b"\xed\xa0\x80", b"NaN", b"Infinity"),
    *(
        b"1e999",
        b"9" * 5000,
        b"-1",
        b"1.0",
        b"null",
        b"true",
        b"\r",
        b"\n",
        b"\xc2\xa0",
        b"\xe3\x80\x80",
        b" -> ",
        b"...",
    ),
    *(
        b"array([",
        b"tensor(",
        b"np.int64(",
        b"&lt;",
        b"<!DOCTYPE x>",
        b"<node/>",
        b"</graph>",
        b"INPUTS\n",
        b"e" * 9000,
    ),
)
ROWS: Final = [{"meaning": ["a0", 1.0], "message": ["m0", 2], "act": "x", "score": 1, "place": 0, "held_out": False}]
CSV: Final = (
    b'meaning,message,act,score,place,held_out\n"[\'a0\', \'b1\']","[0, 1]",x,1,0,1.0\n"a,b",m1 m2,y,nan,1,no\n'
)
GRAPH: Final = b"""<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="n" for="node"
attr.name="name" attr.type="string"/><key id="w" for="edge" attr.name="w" attr.type="double"/><graph id="g"
edgedefault="undirected"><node id="0"><data key="n">a_0</data></node><node id="1"/><edge source="0" target="1"><data
key="w">1.5</data></edge></graph></graphml>"""


def _parquet() -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    file = io.BytesIO()
    write_table(
        pyarrow.table({"meaning": [["a", "b"], ["c"]] * 3, "message": ["m0 m1", "m2"] * 3, "score": [1.0] * 6}), file
    )
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, meaning=np.arange(6).reshape(3, 2), message=np.array([["a", "b"]] * 3))
    return file.getvalue()


def _torch() -> bytes:
    import torch

    file = io.BytesIO()
    fields = {"sender_input": torch.eye(3), "message": torch.ones(3, 2).long(), "aux": {"acc": torch.ones(3)}}
    torch.save(fields, file)
    return file.getvalue()


LINES: Final = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS * 3)
SEEDS: Final[dict[str, Callable[[], bytes]]] = {
    "m.csv": lambda: CSV,
    "m.tsv": lambda: CSV.replace(b",", b"\t"),
    "m.jsonl": lambda: LINES,
    "m.json": lambda: json.dumps(ROWS * 3).encode(),
    "m.txt": lambda: b"[0, 1] -> tensor([3, 0]) -> 1 (label=1)\nINPUTS\n[[0, 1]]\nMESSAGES\n[[3, 0]]\n",
    "m.csv.gz": lambda: gzip.compress(CSV),
    "m.npz": _npz,
    "m.parquet": _parquet,
    "m.pt": _torch,
    "m.graphml": lambda: GRAPH,
}


def changed(seed: bytes, draw: random.Random) -> bytes:
    """Change a file at random, up to eight times."""
    raw = bytearray(seed)
    for _ in range(draw.randrange(1, 9)):
        at, to = sorted((draw.randrange(len(raw) + 1), draw.randrange(len(raw) + 1)))
        what = draw.randrange(6)
        if what == 0 and raw:
            raw[min(at, len(raw) - 1)] = draw.randrange(256)
        elif what == 1:
            raw[at:at] = draw.choice(ODD)
        elif what == 2:
            raw[at : at + draw.randrange(20)] = draw.choice(ODD)
        elif what == 3:
            del raw[at : at + draw.randrange(40)]
        elif what == 4 and len(raw) < 2**17:
            raw[at:at] = raw[at:to]
        elif draw.random() < 0.2:
            del raw[at:]
    return bytes(raw)


def cases(name: str, count: int, seed: int = 0) -> Iterator[tuple[bytes, str]]:
    """Give a reader this many files; yields each file and what came of it: read, refused, or an exception."""
    draw, whole = random.Random(f"{name} {seed}"), SEEDS[name]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        for _ in range(count):
            raw = changed(whole, draw)
            path.write_bytes(raw)
            signal.alarm(SECONDS)
            try:
                read_graphml(str(path)) if name.endswith(".graphml") else foreign.read(path)
                outcome = "read"
            except (UserError, ProtocolError) as error:
                outcome = "refused"
                str(error).encode()  # half of a surrogate pair in it could not be printed
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"[:200]
            finally:
                signal.alarm(0)
            yield raw, outcome


def main(count: int, names: list[str]) -> int:
    """Fuzz the readers and print what came of it; returns how many failed."""
    failures = 0
    for name in names:
        start, outcomes = time.monotonic(), Counter(outcome for _, outcome in cases(name, count))
        failed = {outcome: n for outcome, n in outcomes.items() if outcome not in ("read", "refused")}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        failures += bool(failed) + (memory > MEGABYTES)
        row = {
            "reader": name,
            "cases": count,
            "read": outcomes["read"],
            "refused": outcomes["refused"],
            "failed": failed,
        }
        print(json.dumps(row | {"megabytes": memory, "seconds": round(time.monotonic() - start)}), flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:] or list(SEEDS)))
