"""The one error of this package: a request that cannot be met, in a sentence that names its cause and its fix."""

from __future__ import annotations


class ProtocolError(ValueError):
    """Something crossed a boundary in a form that cannot be accepted; the message says what and how to mend it."""
