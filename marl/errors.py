"""The error for what a user can mend: a wrong setting, a damaged file, a missing package. Shown as one sentence."""

from __future__ import annotations


class UserError(ValueError):
    """The message names the file, field or flag, and the fix."""


class ContextFullError(UserError):
    """A transcript outgrew the context of its policy: the episode ends here, the run does not."""
