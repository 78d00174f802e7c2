"""The log of an episode: all envelopes in the order in which the referee stamped them.

An entry has an envelope as it was *sent* and, for a message, what each listener *heard* and when. An agent's context is
a view of the log; the centralized critic reads the whole log; replay and fork feed its replies back.

On disk (schema 1) a log file is JSON lines, gzipped when its name ends in `.gz`: a `{"sabir": 1, "scenario": ...}`
line, then per episode a header line and one line per entry.
"""

from __future__ import annotations

import gzip
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from protocols.envelope import EVERYONE, REFEREE, SCHEMA, Envelope, Kind
from protocols.errors import ProtocolError

REPLIES: Final = (Kind.SAY, Kind.MOVE, Kind.CALL, Kind.NOTE)
_HEADER_FIELDS: Final = {"episode", "seed", "seats", "deal", "greedy", "do"}


class Heard(NamedTuple):
    """What one listener received of a message, and when (seconds); `body` is None if it was lost.

    `sender` is the apparent sender, if it is not the true one.
    """

    to: str
    time: float
    body: str | None
    sender: str = ""


class Entry(NamedTuple):
    """An envelope as sent, and what each listener heard."""

    envelope: Envelope
    heard: tuple[Heard, ...] = ()


@dataclass(slots=True)
class Log:
    """The log of one episode. `scenario` and `seats` suffice to replay it; `seed` and `episode` key every draw."""

    episode: str
    seed: int
    scenario: dict[str, Any]
    seats: dict[str, str]  # seat -> the policy that sat there
    deal: dict[str, Any] = field(default_factory=dict)  # the arena's reset options
    greedy: bool = False  # replies were the most probable ones, not drawn
    do: list[dict[str, Any]] = field(default_factory=list)  # interventions beside those of the scenario
    entries: list[Entry] = field(default_factory=list)

    def view(self, agent: str) -> list[Envelope]:
        """Return what `agent` received, in order, with its own replies at the point where it was asked for them."""
        return self.views((agent,))[agent]

    def views(self, agents: Iterable[str]) -> dict[str, list[Envelope]]:
        """Return the views of several agents, in one pass over the log."""
        received: dict[str, list[_Received]] = {agent: [] for agent in agents}
        replies: dict[str, list[Envelope]] = {agent: [] for agent in received}
        for seq, (envelope, heard) in enumerate(self.entries):
            own = replies.get(envelope.sender)
            if own is not None:
                own.append(envelope)
            if envelope.kind is Kind.SAY:
                for to, time, body, sender in heard:
                    queue = received.get(to)
                    if queue is not None and body is not None and to != envelope.sender:
                        copy = 0
                        while copy < len(queue) and queue[-1 - copy][1] == seq:
                            copy += 1
                        queue.append((time, seq, envelope.as_heard(body, copy, sender)))
            elif envelope.to == EVERYONE:
                for agent, queue in received.items():
                    if agent != envelope.sender:
                        queue.append((envelope.time, seq, envelope))
            elif (queue := received.get(envelope.to)) is not None and envelope.to != envelope.sender:
                queue.append((envelope.time, seq, envelope))
        return {agent: _interleaved(received[agent], replies[agent]) for agent in received}

    def prefix(self, seq: int) -> Log:
        """Return the log before entry `seq`."""
        return replace(self, entries=self.entries[:seq])

    def replies(self, agent: str | None = None) -> Iterator[Envelope]:
        """Yield the replies of all agents (or of one), in order, without injected messages."""
        for envelope, _ in self.entries:
            if envelope.kind in REPLIES and agent in (None, envelope.sender) and envelope.sender != REFEREE:
                yield envelope

    def to_bytes(self) -> bytes:
        """Return header and entries as in a file, for comparing episodes byte by byte."""
        header: dict[str, Any] = {"episode": self.episode, "seed": self.seed, "seats": self.seats}
        if self.deal:
            header["deal"] = self.deal
        if self.greedy:
            header["greedy"] = True
        if self.do:
            header["do"] = self.do
        return "".join(_line(item) for item in (header, *map(_entry_to_dict, self.entries))).encode()


_Received = tuple[float, int, Envelope]
"""(time of arrival, index in the log, the envelope as received)."""


def _interleaved(received: list[_Received], replies: list[Envelope]) -> list[Envelope]:
    """Merge an agent's replies into what it received, each at the point where the agent was asked for it."""
    received.sort(key=lambda item: item[:2])
    view: list[Envelope] = []
    taken = 0
    for reply in replies:
        seen = int(reply.data.get("seen", 0))
        view += [item[2] for item in received[taken:seen]]
        taken = max(taken, seen)
        view.append(reply)
    return view + [item[2] for item in received[taken:]]


def _line(item: dict[str, Any]) -> str:
    return json.dumps(item, separators=(",", ":"), ensure_ascii=False) + "\n"


def _entry_to_dict(entry: Entry) -> dict[str, Any]:
    envelope, heard = entry
    item: dict[str, Any] = {"kind": envelope.kind.value, "from": envelope.sender, "n": envelope.n}
    if envelope.to != EVERYONE:
        item["to"] = envelope.to
    if envelope.time:
        item["time"] = envelope.time
    if envelope.body:
        item["body"] = envelope.body
    if envelope.data:
        item["data"] = envelope.data
    if envelope.reply_to is not None:
        item["reply_to"] = envelope.reply_to
    if heard:
        plain = all(h.body == envelope.body and h.time == envelope.time and not h.sender for h in heard)
        item["heard"] = [h.to for h in heard] if plain else [list(h if h.sender else h[:3]) for h in heard]
    return item


def _entry_from_dict(item: dict[str, Any], episode: str, seq: int) -> Entry:
    item = dict(item)
    heard = item.pop("heard", ())
    envelope = Envelope.checked(episode=episode, seq=seq, sender=item.pop("from"), **item)
    return Entry(
        envelope,
        tuple(
            Heard(h, envelope.time, envelope.body)
            if isinstance(h, str)
            else Heard(str(h[0]), float(h[1]), h[2], *map(str, h[3:4]))
            for h in heard
        ),
    )


def _header(item: dict[str, Any], scenario: dict[str, Any]) -> Log:
    """Return an empty log from an episode's header.

    In headers of old forks `do` is one message, `{"seq": 4, "body": "m1"}`, with null for a lost one.
    """
    fields = {k: v for k, v in item.items() if k in _HEADER_FIELDS}
    if isinstance(do := fields.get("do"), dict):
        instead = {"p": 1.0} if do["body"] is None else {"body": do["body"]}
        fields["do"] = [{"type": "drop" if do["body"] is None else "replace", "seq": do["seq"], **instead}]
    return Log(scenario=scenario, **fields)


def dump(logs: Iterable[Log]) -> bytes:
    """Return logs as the lines of a file, with a scenario line wherever the scenario changes."""
    lines: list[bytes] = []
    scenario: dict[str, Any] | None = None
    for log in logs:
        if log.scenario != scenario:
            scenario = log.scenario
            lines.append(_line({"sabir": SCHEMA, "scenario": scenario}).encode())
        lines.append(log.to_bytes())
    return b"".join(lines)


def save(path: Path, logs: Iterable[Log], *, append: bool = False) -> None:
    """Write logs to a file; raises OSError. A failed append leaves the file as it was."""
    raw = dump(logs)
    if path.suffix == ".gz":
        raw = gzip.compress(raw, compresslevel=6, mtime=0)
    before = path.stat().st_size if append and path.is_file() else 0
    try:
        with path.open("ab" if append else "wb") as file:
            file.write(raw)
    except OSError:
        if append and path.is_file():
            with path.open("r+b") as file:
                file.truncate(before)
        raise


def load(path: Path) -> Iterator[Log]:
    """Read the episodes of a log file one by one; raises ProtocolError for what is not a log of this schema."""
    opener = gzip.open if path.suffix == ".gz" else open
    scenario: dict[str, Any] | None = None
    log: Log | None = None
    number = 0
    try:
        with opener(path, "rb") as file:  # bytes, so that an error names the line that is not UTF-8
            for number, line in enumerate(file, 1):
                raw = line.removeprefix(BOM_UTF8) if number == 1 else line
                if not raw.strip():
                    continue
                item = json.loads(raw.decode())
                if not isinstance(item, dict):
                    raise TypeError
                if "sabir" in item:
                    if item["sabir"] != SCHEMA:
                        raise ProtocolError(
                            f"{path}: a log of schema {item['sabir']}, this program reads schema {SCHEMA}: "
                            "use the version of sabir that wrote it"
                        )
                    scenario = item["scenario"]
                elif "kind" in item:
                    if log is None:
                        raise ProtocolError(f"{path}, line {number}: an entry before any episode header")
                    log.entries.append(_entry_from_dict(item, log.episode, len(log.entries)))
                else:
                    if log is not None:
                        yield log
                    if scenario is None:
                        raise ProtocolError(f"{path} is not a log file: its first line names no schema")
                    log = _header(item, scenario)
        if log is not None:
            yield log
    except ProtocolError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ProtocolError(f"{path}, line {number}: not a log entry ({type(error).__name__})") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ProtocolError(f"{path}: the file is damaged or cut off after line {number} ({error})") from None
