"""Errors of Sabir: which exceptions there are, who raises and who catches them, and the exit codes of `marl`.

What a user can fix is one sentence that names the file, field or flag, and the fix. `marl.cli.app.main` prints it as
`error: ...` on stderr and exits with code 2; `--debug` shows the traceback instead.

- `UserError` (here): a wrong setting or flag, a damaged file, an endpoint that fails. Everything in marl and trainers
  raises it.
- `ArenaError` (`arenas/errors.py`): an arena that does not exist, has wrong parameters or breaks its contract.
- `ProtocolError` (`protocols/errors.py`): an envelope, topic, channel, topology, log or broker address that is invalid.
  `marl.settings.check` turns it, and ArenaError, into a UserError that names the configuration.

`marl.cli.errors.sentence` treats alike a wrong command line, an OSError, and a package of one of our extras that is not
installed. Three do not leave the episode; the run goes on:

- `ContextFullError` (here): a transcript does not fit into its policy's context. The inference servers raise it; the
  agent (`marl/rollout/agent.py`) reports it, and the episode ends with `stop = overflow`.
- `ParticipantError` (`marl/rollout/exchange.py`): an agent failed, for instance by an exception of its policy. The
  exchange raises it and the referee catches it; the episode ends with `stop = error` and the reason in
  `Episode.error`.
- `ToolError` (`marl/tools/tool.py`): a tool cannot answer. Tools raise it; `Tool.answer` catches it, and every other
  exception of a tool, and returns the text `error: ...` to the agent that called.

`RetryError` (`marl/policy/endpoint_response.py`) means that a request may be sent again: `Endpoint.ask` catches it, and
raises UserError after the last try. `DeadlockError` (`protocols/clock.py`) means that virtual time stands still for
ever. Only an error in Sabir or in an agent's code causes it; `marl replay` of a log file catches it, as a log may lack
entries.

Exit codes: 0 success; 1 an error in Sabir (with a traceback), a replay that differs, or a failed run of a sweep; 2 an
error that the user can fix; 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """The user can fix the cause: the message names the file, field or flag, and the fix."""


class ContextFullError(UserError):
    """A transcript outgrew the context of its policy: the episode ends, the run goes on."""


@contextmanager
def plain_os_errors(path: Path) -> Iterator[None]:
    """Raise OSError, with the path, where safetensors or tokenizers report one as an exception of their own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # those of Rust have no common type
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
