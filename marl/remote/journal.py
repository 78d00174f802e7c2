"""Write-ahead journal of a host: every reply of a seat, written before its episode continues.

A host that was killed replays its episodes from the journal and continues them. The file holds JSON lines: a header
that identifies the run, then one line for each reply. A last line that is cut off is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from marl.episode import Sample
from marl.errors import UserError
from marl.policy.base import Policy
from marl.policy.recorded import Recorded

LISTED: Final = ("text", "tokens", "logprobs", "version", "finish")
"""The fields of a reply in old journals, where it is a list."""
Replies = dict[tuple[str, str], list[Sample | None]]


class Journal:
    """Opens a journal, or creates it; raises UserError if the file belongs to another run.

    Args:
        path: of the file.
        header: the settings that identify the run, as JSON values.
        seats: seat -> name of its policy.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], seats: Mapping[str, str]) -> None:
        self.path = path
        self.replies: Replies = {}
        first = {"journal": 1, **header, "seats": dict(seats)}
        if path.is_file() and path.stat().st_size:
            self._read(first)
            self._file = path.open("ab")
        else:
            self._file = path.open("ab")
            self._write(first)

    def add(self, episode: str, seat: str, sample: Sample | None) -> None:
        """Write one reply (None: it missed the deadline) and flush it to the operating system."""
        line: dict[str, Any] = {"episode": episode, "seat": seat}
        if sample is not None:
            line["reply"] = {"text": sample.text, **sample.to_data()}
        self._write(line)

    def seats(self, episode: str, live: Mapping[str, Policy]) -> dict[str, Policy]:
        """Return policies that repeat an episode's recorded replies, then hand over to the live policies."""
        return {
            seat: Recorded(recorded, policy, policy.name) if (recorded := self.replies.get((episode, seat))) else policy
            for seat, policy in live.items()
        }

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _read(self, expected: Mapping[str, Any]) -> None:
        raw = self.path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        number = 1
        try:
            lines = whole.splitlines()
            header = json.loads(lines[0])
            for number, line in enumerate(lines[1:], 2):  # noqa: B007 - the sentence below needs it
                item = json.loads(line)
                reply = item.get("reply")
                if isinstance(reply, list):  # as older journals have it
                    reply = dict(zip(LISTED, reply, strict=True))
                sample = None if reply is None else Sample.from_data(str(reply["text"]), reply)
                self.replies.setdefault((item["episode"], item["seat"]), []).append(sample)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise UserError(f"{self.path}, line {number}: not a line of a journal ({type(error).__name__})") from None
        if differing := [k for k in {**header, **expected} if header.get(k) != json.loads(json.dumps(expected)).get(k)]:
            raise UserError(
                f"{self.path} belongs to a run with another {differing[0]}: choose another folder with --out, "
                "or ask for the same as before"
            )
        if len(whole) < len(raw):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
