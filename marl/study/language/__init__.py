"""The language of a run: encoding, informativeness, form."""

from marl.study.language.summary import measure, pairs

__all__ = ["measure", "pairs"]
