"""The HTML page of a study."""

from marl.study.page.page import gather, write

__all__ = ["gather", "write"]
