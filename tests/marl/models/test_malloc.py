"""The allocator's settings: what is freed stays with the process."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import pytest

from marl.models.malloc import keep_freed_memory

FAULTS = """
import json, resource
from marl.models.malloc import keep_freed_memory

def faults():  # pages that the system gives while 64 MB are taken, touched and given back, ten times over
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        bytearray(b"1") * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
kept = keep_freed_memory()
print(json.dumps([first, kept, faults()]))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_freed_memory_is_taken_again_without_new_pages() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    first, kept, second = json.loads(done.stdout)
    assert kept
    assert second < first / 2


def test_a_c_library_without_the_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
