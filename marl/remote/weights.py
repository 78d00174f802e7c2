"""Remote policies whose weights follow a trainer: they are loaded from the folders that the host announces."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from marl.context.transcript import Transcript
from marl.errors import UserError
from marl.policy.base import Policy

FOLLOW: Final = "follow"
_LOADING: Final = threading.Lock()  # transformers cannot load on two threads at once


class WeightFollower:
    """Policy of one seat. It has no weights until the host announces a folder."""

    name = FOLLOW

    def __init__(self, seat: str) -> None:
        self.seat = seat
        self.server: Any = None

    def load(self, folder: Path, version: int) -> None:
        """Load weights (a Hugging Face folder of safetensors); raises UserError if the folder is incomplete."""
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
        """Sample with the latest weights."""
        return await self._there().reply(transcript, **asked)

    def close(self, transcript: Transcript) -> None:
        """Release the transcript's row of the KV cache."""
        self._there().close(transcript)

    def _there(self) -> Any:
        if self.server is None:
            raise UserError(
                f"the host named no weights for {self.seat}: it does not train (--policy random or trained:RUN)"
            )
        return self.server


class WeightFollowers:
    """The policies of one process, by seat."""

    def __init__(self, seats: Sequence[str]) -> None:
        self.followers = {seat: WeightFollower(seat) for seat in seats}

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Seat -> policy."""
        return self.followers

    def renew(self, seat: str, weights: dict[str, Any]) -> int:
        """Load the weights that the host announced, and return their version."""
        try:
            folder, version = Path(str(weights["folder"])), int(weights["version"])
        except (KeyError, ValueError, TypeError):
            raise UserError(f"the host named no weights for {seat} that could be read: {weights}") from None
        with _LOADING:
            self.followers[seat].load(folder, version)
        return version
