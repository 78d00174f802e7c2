"""Remote actors: seats played by other processes over a broker, with the weights of every update.

A host (`marl.remote.host`) runs as long as the run. After each update it sends the folder of the new weights to the
seats that follow, and waits until all of them sample with these, so that episodes stay on-policy.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field

from marl.errors import UserError
from marl.models.language_model import LanguageModel
from marl.policy.base import Policy
from marl.remote.weights import FOLLOW

KEEP: Final = 2
"""Folders of weights kept: the newest, and the one before, which a slow actor may still read."""


class HostConfig(BaseModel):
    """Broker, seats and patience of remote actors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="the broker")
    run: str = Field(default="train", description="the name under which actors find this run")
    seats: tuple[str, ...] = Field(default=(), description="which seats are elsewhere; none named: all")
    tokens: dict[str, str] = Field(default={}, description="seat -> what its actor must show; none: anyone may come")
    patience: float = Field(default=60.0, gt=0, description="real seconds that a seat has for a reply")
    wait: float = Field(default=300.0, gt=0, description="real seconds to wait for all actors, also after each update")


class Actors:
    """The remote seats of a run.

    Args:
        config: broker and seats.
        policies: the models in training, by name.
        names: seat -> name of the policy that plays it.
        folder: weights are written there; actors must be able to read it.
    """

    def __init__(
        self, config: HostConfig, policies: Mapping[str, LanguageModel], names: Mapping[str, str], folder: Path
    ) -> None:
        from marl.remote.host import Host

        self.config, self.policies, self.folder = config, policies, folder.resolve()
        for seat in config.seats:
            if seat not in names:
                raise UserError(f"host.seats: no seat {seat!r}; the seats are {', '.join(names)}")
        self.names = {seat: name for seat, name in names.items() if seat in (config.seats or names)}
        self.host = Host(
            config.url,
            config.run,
            list(self.names),
            tokens={seat: config.tokens.get(seat, "") for seat in self.names} if config.tokens else None,
            patience=config.patience,
            vocabulary={seat: len(policies[name].tokenizer) for seat, name in self.names.items()},
        )

    def __enter__(self) -> Self:
        self.host.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.host.__exit__(kind, error, trace)

    def seats(self) -> dict[str, Policy]:
        """Wait for every actor, and return a policy for each of their seats."""
        self.host.ready(self.config.wait)
        seats = self.host.seats()
        for seat, policy in seats.items():
            if policy.name != FOLLOW:
                raise UserError(
                    f"the actor on {seat} is {policy.name} and cannot be trained: start it with "
                    f"marl agent {self.host.address.shown} --run {self.config.run} --seat {seat} --policy {FOLLOW}"
                )
            policy.name = self.names[seat]  # logs name the weights that played
        return seats

    def publish(self, version: int) -> None:
        """Send the weights of a version, and wait until every actor has them; raises UserError if one does not."""
        target = self.folder / f"{version:06d}"
        part = self.folder / "part"
        shutil.rmtree(part, ignore_errors=True)
        for name in dict.fromkeys(self.names.values()):
            self.policies[name].save(part / name)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        self.host.publish({seat: (str(target / name), version) for seat, name in self.names.items()}, self.config.wait)
        for old in sorted(self.folder.glob("[0-9]*"))[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)
