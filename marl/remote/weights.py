"""Policies elsewhere that follow a trainer: their weights lie where the host says, and are loaded as they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from marl.context.transcript import Transcript
from marl.errors import UserError
from marl.policy.base import Policy

FOLLOW: Final = "follow"


class Follower:
    """One seat's policy. It has no weights until the host names a folder of them."""

    name = FOLLOW

    def __init__(self, seat: str) -> None:
        self.seat = seat
        self.server: Any = None

    def load(self, folder: Path, version: int) -> None:
        """Take up weights (safetensors, in a Hugging Face folder); raises UserError if they are not whole."""
        from marl.inference.server import PolicyServer
        from marl.models.language_model import load

        lm = load(folder)
        if self.server is None:
            self.server = PolicyServer(lm, self.seat)
        else:
            self.server.lm = lm
        self.server.publish(version)

    def open(self) -> Transcript:
        """Return a transcript in the model's tokens."""
        transcript: Transcript = self._there().open()
        return transcript

    async def reply(self, transcript: Transcript, **asked: Any) -> Any:
        """Sample with the newest weights."""
        return await self._there().reply(transcript, **asked)

    def close(self, transcript: Transcript) -> None:
        """Give up the transcript's row of the cache."""
        self._there().close(transcript)

    def _there(self) -> Any:
        if self.server is None:
            raise UserError(
                f"the host named no weights for {self.seat}: it does not train (--policy random or trained:RUN)"
            )
        return self.server


class Followers:
    """The followers of one process."""

    def __init__(self, seats: Sequence[str]) -> None:
        self.followers = {seat: Follower(seat) for seat in seats}

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Seat -> policy."""
        return self.followers

    def renew(self, seat: str, weights: dict[str, Any]) -> int:
        """Load what the host named; returns the version."""
        try:
            folder, version = Path(str(weights["folder"])), int(weights["version"])
        except (KeyError, ValueError, TypeError):
            raise UserError(f"the host named no weights for {seat} that could be read: {weights}") from None
        self.followers[seat].load(folder, version)
        return version
