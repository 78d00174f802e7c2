"""Python tool: runs code in a sandbox."""

from __future__ import annotations

from marl.tools.sandbox import Limits, check, run
from marl.tools.tool import Tool, ToolError


def python(seconds: float = 5.0, memory: int = 256, processes: int = 0) -> Tool:
    """Return a tool that runs Python code. Raises ValueError where this machine does not allow a sandbox.

    Args:
        seconds: real time of a program.
        memory: MiB of each process.
        processes: how many more processes or threads a program may start.
    """
    limits = Limits(seconds, memory, processes)
    check(limits)

    async def python(code: str) -> str:
        """Run Python code and return what it prints. It has the standard library, and neither files nor network.

        Args:
            code: a program; its output is the answer
        """
        done = await run(code, limits)
        if done.error:
            raise ToolError(f"{done.error}\n{done.output}".strip())
        return done.output.strip() or "(it printed nothing)"

    return Tool.of(python)
