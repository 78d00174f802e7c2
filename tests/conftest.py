from __future__ import annotations

import os

from hypothesis import settings

# One thread: sums come out the same everywhere, and two cores can run two tests. Read when torch is first imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

# The same modest examples in every run: a failure here is a failure everywhere.
settings.register_profile("sabir", max_examples=40, derandomize=True, database=None, deadline=None)
settings.load_profile("sabir")
