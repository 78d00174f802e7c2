"""Tool call metrics: calls per episode and the share that succeeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from marl.tools.toolbox import ERROR
from protocols.envelope import Kind
from protocols.log import Log


def metrics(logs: Iterable[Log]) -> dict[str, float]:
    """Return calls per episode, and the share of them that were answered without an error, over all tools and by tool.

    Without any call there are no shares. Nothing at all comes back for logs of scenarios without tools.
    """
    episodes, calls, worked = 0, Counter[str](), Counter[str]()
    for log in logs:
        episodes += bool(log.scenario.get("tools"))
        for envelope, _ in log.entries:
            if envelope.kind is Kind.RESULT:
                calls[envelope.sender] += 1
                worked[envelope.sender] += not envelope.body.startswith(ERROR)
    if not episodes:
        return {}
    metrics = {"tools/calls": calls.total() / episodes}
    if calls:
        metrics["tools/worked"] = worked.total() / calls.total()
    return metrics | {f"tools/{name}/worked": worked[name] / calls[name] for name in calls}
