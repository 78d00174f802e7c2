"""The envelope: the only thing that crosses an agent boundary, in memory, on a wire or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocols.errors import ProtocolError

SCHEMA: Final = 1
MAX_BYTES: Final = 1 << 20
REFEREE: Final = "referee"
EVERYONE: Final = "*"
NOBODY: Final = ""
NO_DATA: Final[Mapping[str, Any]] = MappingProxyType({})
COPY: Final = 1 << 32
"""Copy k of a message that a channel doubled has k times this added to its count."""
BORROWED: Final = 1 << 48
"""A message that is heard as another sender's has this plus its place in the log for its count."""


class Kind(StrEnum):
    """What an envelope is for."""

    VIEW = "view"  # the referee shows an agent its observation and asks for a reply
    SAY = "say"  # an agent speaks on the channel
    MOVE = "move"  # an agent makes a move of the arena's rules
    CALL = "call"  # an agent says something to a tool, which alone hears it
    RESULT = "result"  # a tool answers the agent that called it
    NOTE = "note"  # an agent writes its memory anew; nobody hears it
    WORLD = "world"  # the arena's hidden state; no agent sees it, the critic may
    REWARD = "reward"  # what the last stage paid; no agent sees it
    END = "end"  # the episode is over, and why
    JOIN = "join"  # in the lobby: a seat or its host is there
    LEAVE = "leave"  # in the lobby: it went, or its broker found it dead; to a seat: it was not let in, and why


KINDS: Final = {kind.value: kind for kind in Kind}


class Envelope(NamedTuple):
    """One message. `(episode, sender, n)` is its identity; `seq` and `time` are the referee's stamp.

    `to` is an agent, everyone (`*`: whoever the topology lets hear), a channel beside the public one, or nobody (the
    empty string: kept in the log only). `data` holds what programs need beside the text, as JSON values. Within a
    process an envelope is trusted; what comes from a wire or a file is checked by `from_json` and `checked`.
    """

    episode: str
    sender: str
    n: int  # the sender's own count of what it sent in this episode
    kind: Kind
    to: str = EVERYONE
    seq: int = -1  # place in the log; -1 until the referee stamped it
    time: float = 0.0  # seconds of the episode's clock
    body: str = ""
    data: Mapping[str, Any] = NO_DATA
    reply_to: int | None = None

    @property
    def id(self) -> str:
        """The identity as one string, for people and for wires that want one."""
        return f"{self.episode}/{self.sender}/{self.n}"

    def as_heard(self, body: str, copy: int = 0, sender: str = "") -> Envelope:
        """Return the message as a listener received it, from `sender` if it seemed to come from another one.

        A further copy of it has an identity of its own, and so has one under another name: an inbox drops what the bus
        brings twice, not what the channel doubled or what two were made to say.
        """
        if "thought" in self.data:  # what its sender thought to itself stays with it
            return self._replace(data=NO_DATA).as_heard(body, copy, sender)
        if sender:
            return self._replace(body=body, sender=sender, n=BORROWED + self.seq + copy * COPY)
        if copy:
            return self._replace(body=body, n=self.n + copy * COPY)
        return self if body == self.body else self._replace(body=body)

    def to_json(self) -> bytes:
        """Serialise; raises ProtocolError beyond `MAX_BYTES`, and for `data` or text that JSON cannot hold."""
        wire = _Wire.model_construct(**self._asdict() | {"data": dict(self.data)})
        try:
            raw = wire.model_dump_json(exclude_defaults=True).encode()
        except ValueError as error:
            raise ProtocolError(f"envelope {self.id!r} does not fit into JSON: {error}") from None
        if len(raw) > MAX_BYTES:
            raise ProtocolError(f"envelope {self.id} has {len(raw)} bytes; the limit is {MAX_BYTES}")
        return raw

    @classmethod
    def from_json(cls, raw: bytes | str) -> Envelope:
        """Parse what `to_json` wrote; raises ProtocolError on anything else."""
        if isinstance(raw, str):
            raw = raw.encode("utf-8", "surrogatepass")  # half a surrogate pair is refused below, in a sentence
        if len(raw) > MAX_BYTES:
            raise ProtocolError(f"an envelope of {len(raw)} bytes was refused; the limit is {MAX_BYTES}")
        try:
            return _Wire.model_validate_json(raw).envelope()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise ProtocolError(f"not an envelope: {where}: {first['msg']}") from None

    def __reduce__(self) -> tuple[type[Envelope], tuple[Any, ...]]:
        return Envelope, (
            *self[:-2],
            dict(self.data),
            self.reply_to,
        )  # a mapping proxy can be neither copied nor pickled

    @classmethod
    def checked(cls, **fields: Any) -> Envelope:
        """Make an envelope of fields that may be wrong; raises pydantic's ValidationError, a ValueError."""
        return _Wire(**fields).envelope()


class _Wire(BaseModel):
    """The form of an envelope on a wire: what is checked of one that comes from outside."""

    # A number that is not finite stays what it was on the wire, as it does in a log file, instead of becoming null.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    v: Literal[1] = SCHEMA
    episode: str
    sender: str
    n: int = Field(ge=0)
    kind: Kind
    to: str = EVERYONE
    seq: int = Field(default=-1, ge=-1)
    time: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    body: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
    reply_to: int | None = None

    def envelope(self) -> Envelope:
        """Return the checked fields as an envelope."""
        return Envelope(
            self.episode,
            self.sender,
            self.n,
            self.kind,
            self.to,
            self.seq,
            self.time,
            self.body,
            self.data or NO_DATA,
            self.reply_to,
        )
