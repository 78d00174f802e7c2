"""Grammars: constrained decoding of replies."""
