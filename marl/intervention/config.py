"""Interventions in configurations and in the headers of logs."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from marl.intervention.base import Intervention
from marl.intervention.inject import Inject
from marl.intervention.message import Close, Drop, Replace, Rewrite, Shuffle, Swap
from protocols.errors import ProtocolError
from protocols.log import Log

InterventionConfig = Annotated[Drop | Close | Replace | Rewrite | Swap | Shuffle | Inject, Field(discriminator="type")]
_INTERVENTIONS: Final[TypeAdapter[tuple[Any, ...]]] = TypeAdapter(tuple[InterventionConfig, ...])


def parse(log: Log) -> tuple[Intervention, ...]:
    """Return the interventions of a log's header; raises ProtocolError for an invalid one."""
    try:
        return _INTERVENTIONS.validate_python(log.do) if log.do else ()
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['loc'][-1]}: " if first["type"] == "missing" else ""
        reason = where + first["msg"].removeprefix("Value error, ")
        raise ProtocolError(f"the interventions of episode {log.episode}: {reason}") from None
