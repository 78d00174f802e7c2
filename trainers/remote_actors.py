"""Remote actors: seats played by other processes over a broker, with the weights of every update.

A host (`marl.remote.host`) runs as long as the run. After each update it sends the folder of the new weights to the
seats that follow, and waits until all of them sample with these, so that episodes stay on-policy. Before each update
it scores their replies itself: of what a seat says of a reply, only the words are used.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from marl.episode import Episode, Turn
from marl.errors import UserError
from marl.models.language_model import LanguageModel
from marl.policy.base import Policy
from marl.remote.reply_checks import ReplyChecks, ReplyRecord
from marl.remote.weights import FOLLOW
from trainers.rescoring import MAX_DISTANCE, MAX_SHIFT, UNTRAINED, ScoredReply, score_replies

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
        self.checks = ReplyChecks({seat: policies[name].written for seat, name in self.names.items()})
        self.undrawn: Counter[str] = Counter()
        """Seat -> replies whose words are not those that its weights draw; they are not trained on."""
        self._counted: Counter[str] = Counter()  # `untrue` up to the last update
        self.host = Host(
            config.url,
            config.run,
            list(self.names),
            tokens={seat: config.tokens.get(seat, "") for seat in self.names} if config.tokens else None,
            patience=config.patience,
            checks=self.checks,
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

    def rescored(self, episodes: Sequence[Episode]) -> tuple[list[Episode], dict[str, float]]:
        """Return the episodes with log-probabilities of the weights that played them, and counts of each seat's lies.

        Call it before these weights change. A reply whose words are not those that its seed draws is not trained on.
        """
        undrawn = Counter(dict.fromkeys(self.names, 0))
        turns = [list(episode.turns) for episode in episodes]
        for name, lm in self.policies.items():
            seats = [seat for seat in self.names if self.names[seat] == name]
            for reply in score_replies(lm, episodes, seats, self._seed):
                turn = turns[reply.episode][reply.decision]
                is_drawn = reply.shift <= MAX_SHIFT
                undrawn[turn.agent] += not is_drawn
                self._compare(episodes[reply.episode], turn, reply)
                sample = turn.sample._replace(behavior_logprobs=reply.logprobs)
                turns[reply.episode][reply.decision] = turn._replace(
                    sample=sample if is_drawn else sample._replace(version=UNTRAINED)
                )
        self.checks.records.clear()
        self.undrawn += undrawn
        untrue = self.checks.untrue.copy()
        metrics = {f"actors/{seat}/untrue": float(untrue[seat] - self._counted[seat]) for seat in self.names}
        metrics |= {f"actors/{seat}/undrawn": float(undrawn[seat]) for seat in self.names}
        self._counted = untrue
        return [replace(e, turns=tuple(own)) for e, own in zip(episodes, turns, strict=True)], metrics

    def _record(self, episode: Episode, turn: Turn) -> ReplyRecord | None:
        view = episode.log.entries[turn.seq].envelope.reply_to
        return None if view is None else self.checks.records.get((episode.log.episode, turn.agent, view))

    def _seed(self, episode: Episode, turn: Turn) -> int | None:
        record = self._record(episode, turn)
        return None if record is None else record.seed

    def _compare(self, episode: Episode, turn: Turn, reply: ScoredReply) -> None:
        """Count a reply whose seat's log-probabilities are not those of the weights."""
        record = self._record(episode, turn)
        pairs = zip(record.logprobs, reply.logprobs, strict=True) if record is not None and record.logprobs else ()
        distance = max((abs(said - own) for said, own in pairs), default=0.0)
        if distance > MAX_DISTANCE:
            where = f"episode {episode.log.episode}, entry {turn.seq}"
            self.checks.count(turn.agent, f"log-probabilities {distance:.3g} nats from those of the weights ({where})")

    def summary(self) -> dict[str, Any]:
        """Return for each seat how often it said of its replies what is not so, as JSON values."""
        return {
            seat: {"untrue": self.checks.untrue[seat], "undrawn": self.undrawn[seat]}
            | ({"first": self.checks.first[seat]} if seat in self.checks.first else {})
            for seat in self.names
        }
