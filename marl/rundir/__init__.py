"""Run folders: what a run leaves on disk, and loading it."""

from marl.rundir.folder import KEEP, RunDir

__all__ = ["KEEP", "RunDir"]
