"""The envelope: the only thing that agents and the referee exchange, in memory, over a wire or in files."""

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

# Counts `n` that no sender reaches. An inbox drops an envelope whose identity (episode, sender, n) it has seen, so a
# further copy of a message, and a message heard under another sender's name, need counts of their own.
COPY_STEP: Final = 1 << 32
"""Copy k of a message has `n + k * COPY_STEP`."""
RENAMED_START: Final = 1 << 48
"""A message heard under another sender's name has `RENAMED_START + seq`, as the log has each `seq` once."""


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
    empty string: only the log has it). `data` holds JSON values for programs, beside the text for agents. Envelopes
    made in this process are trusted; `from_json` and `checked` validate those from wires and files.
    """

    episode: str
    sender: str
    n: int  # the sender's own count of what it sent in this episode
    kind: Kind
    to: str = EVERYONE
    seq: int = -1  # index in the log; -1 until the referee stamps it
    time: float = 0.0  # seconds of the episode's clock
    body: str = ""
    data: Mapping[str, Any] = NO_DATA
    reply_to: int | None = None

    @property
    def id(self) -> str:
        """The identity as one string."""
        return f"{self.episode}/{self.sender}/{self.n}"

    def as_heard(self, body: str, copy: int = 0, sender: str = "") -> Envelope:
        """Return the message as a listener received it, from `sender` if it seemed to come from another one.

        It has neither `data` nor `reply_to`: the sampled tokens, the thought and the view that was answered stay with
        the sender, whatever the channel made of the words. Further copies, and messages under another name, have
        identities of their own (see `COPY_STEP`), so that inboxes drop only what the bus delivers twice.
        """
        n = (RENAMED_START + self.seq if sender else self.n) + copy * COPY_STEP
        return Envelope(self.episode, sender or self.sender, n, self.kind, self.to, self.seq, self.time, body)

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
            raw = raw.encode("utf-8", "surrogatepass")  # half a surrogate pair is rejected below
        if len(raw) > MAX_BYTES:
            raise ProtocolError(f"an envelope of {len(raw)} bytes is too long; the limit is {MAX_BYTES}")
        try:
            return _Wire.model_validate_json(raw).envelope()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise ProtocolError(f"not an envelope: {where}: {first['msg']}") from None

    def __reduce__(self) -> tuple[type[Envelope], tuple[Any, ...]]:
        fields = (*self[:-2], dict(self.data), self.reply_to)  # a mapping proxy can be neither copied nor pickled
        return Envelope, fields

    @classmethod
    def checked(cls, **fields: Any) -> Envelope:
        """Return an envelope of validated fields; raises pydantic's ValidationError, a ValueError."""
        return _Wire(**fields).envelope()


class _Wire(BaseModel):
    """Schema of an envelope on a wire, for validation."""

    # NaN and infinity are written as such, as in log files, not as null.
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
        """Return the envelope of these fields."""
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
