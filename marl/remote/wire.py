"""Validation of envelope data from the wire: replies, joins and leaves.

docs/wire.md describes the format for people who write a client of their own.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from marl.episode import Sample
from protocols.envelope import Envelope
from protocols.errors import ProtocolError

MOST_TOKENS: Final = 65_536
_Name = Annotated[str, Field(max_length=128, pattern=r"^[\x20-\x7e]*$")]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


M = TypeVar("M", bound=_Data)


class ReplyData(_Data):
    """Data of a reply, as `Sample.to_data` writes it. All fields are optional."""

    token: _Name = ""
    tokens: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(default_factory=list, max_length=MOST_TOKENS)
    logprobs: list[Annotated[float, Field(le=0)]] = Field(default_factory=list, max_length=MOST_TOKENS)
    version: int = Field(default=0, ge=0, lt=2**31)
    finish: Literal["stop", "length"] = "stop"
    usage: dict[_Name, Annotated[float, Field(ge=0)]] = Field(default_factory=dict, max_length=8)
    thought: Annotated[str, Field(max_length=1 << 16)] = ""
    thinking: int = Field(default=0, ge=0, le=MOST_TOKENS)


class JoinData(_Data):
    """Data of a seat's join or leave."""

    agent: _Name = "by hand"  # identity of the agent's process
    token: _Name = ""
    policy: _Name = "remote"
    version: int = Field(default=0, ge=-1, lt=2**31)  # of its weights; -1: it has none yet
    lead: _Name = ""
    """Seat of the same agent whose last will speaks for this one too."""
    have: dict[str, Annotated[int, Field(ge=0)]] | None = Field(default=None, max_length=4096)
    """Episode -> number of envelopes received: only these episodes are sent again, from there on."""


def join(envelope: Envelope) -> JoinData:
    """Return the data of a join or leave; raises ProtocolError."""
    return _checked(JoinData, envelope)


def reply(envelope: Envelope) -> Sample:
    """Return the sample of a reply as its seat tells it; raises ProtocolError. `reply_checks` compares it."""
    data = _checked(ReplyData, envelope)
    if data.logprobs and len(data.logprobs) != len(data.tokens):
        raise ProtocolError(f"{len(data.logprobs)} logprobs for {len(data.tokens)} tokens")
    return Sample.from_data(envelope.body, dict(data))


def _checked(model: type[M], envelope: Envelope) -> M:
    try:
        return model.model_validate(dict(envelope.data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:2])
        raise ProtocolError(f"data.{where}: {first['msg']}") from None
