"""The HTML report of a run."""

from marl.report.report import gather, write

__all__ = ["gather", "write"]
