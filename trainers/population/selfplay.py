"""Self-play against a league: seats frozen opponents, rates matches, freezes and prunes weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from arenas.solvers.tree import Floats, Tree
from marl.episode import Episode
from marl.errors import UserError
from marl.evaluation import exploitability as exploit
from marl.inference.server import PolicyServer, serve
from marl.models.language_model import LanguageModel
from marl.policy.base import Policy
from marl.rollout.plan import Plan
from marl.rundir import checkpoints
from marl.rundir.folder import RunDir
from trainers.population.league import League, LeagueConfig, Match, named, outcome
from trainers.trainer import Metrics, Trainer

PART: Final = "part"


class SelfPlay:
    """Frozen versions of a run's policies, as opponents.

    Weights are saved in league/VERSION/POLICY of the run's folder, ordinary Hugging Face folders; memory holds a copy
    of each version that plays in the current update.

    Args:
        config: the league's settings.
        seed: the run's.
        trainer: holds the models in training and the policy of each seat.
        folder: the run's.
        alone: whether all seats are in this process.
    """

    def __init__(
        self, config: LeagueConfig, seed: int, trainer: Trainer, folder: RunDir, *, alone: bool = True
    ) -> None:
        if len(trainer.seats) < 2:
            raise UserError("league: an arena with one seat has no opponents: leave [league] out")
        if not alone:
            raise UserError("league: seats that are elsewhere (host) have no frozen opponents: leave one of them out")
        self.league = League(config, seed)
        self.policies = trainer.policies
        self.names = trainer.seats
        self.dir = folder
        self._met: dict[int, dict[str, PolicyServer]] = {}
        self._matches: list[Match | None] = []
        self._played: dict[int, Floats] = {}
        """Version -> its policy array [A], where the arena is solved exactly."""
        self._needed: set[int] = set()
        """Versions named by the last checkpoint; kept until the next but one."""

    def freeze(self, version: int) -> None:
        """Save the current weights, and add them to the league."""
        self.league.add(version)
        part = self.dir.league / PART
        shutil.rmtree(part, ignore_errors=True)
        for name, lm in self.policies.items():
            lm.save(part / name)
        checkpoints.write_digests(part)
        shutil.rmtree(self.place(version), ignore_errors=True)
        part.rename(self.place(version))

    def place(self, version: int) -> Path:
        """Return the folder of a version's weights."""
        return self.dir.frozen(version)

    def seated(self, plans: Sequence[Plan], version: int) -> list[Plan]:
        """Seat frozen opponents in an update's plans: the learner on one seat, the version on all others.

        Raises UserError if the weights of an opponent are missing or damaged.
        """
        matches = self.league.matches(version, len(plans), list(self.names))
        self._matches = matches
        opponents = {match.opponent for match in matches if match is not None}
        self._met = {v: self._met[v] if v in self._met else self._thaw(v) for v in sorted(opponents)}
        return [
            plan if match is None else replace(plan, seats=self._opposed(plan.seats, match))
            for plan, match in zip(plans, matches, strict=True)
        ]

    def _opposed(self, seats: Mapping[str, Policy], match: Match) -> dict[str, Policy]:
        frozen = self._met[match.opponent]
        return {seat: live if seat == match.learner else frozen[self.names[seat]] for seat, live in seats.items()}

    def _thaw(self, version: int) -> dict[str, PolicyServer]:
        """Load the policies of a version, with weights of their own."""
        servers = {}
        for name, lm in self.policies.items():
            frozen = lm.frozen()
            self.take(frozen, version, name)
            servers[name] = serve(frozen, named(name, version))
            servers[name].publish(version)
        return servers

    def take(self, lm: LanguageModel, version: int, name: str) -> None:
        """Load the weights of one policy of a version; raises UserError if they are missing or damaged."""
        folder = self.place(version) / name
        try:
            if reason := checkpoints.changed(self.place(version)):
                raise RuntimeError(reason)
            lm.restore(folder)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(f"{folder}, of the league, is missing or damaged ({reason}): restore it") from None

    def learned(self, episodes: Sequence[Episode], version: int) -> Metrics:
        """Rate an update's matches, and freeze the new weights when due; return metrics."""
        played = [
            (match.opponent, outcome(episode, match.learner))
            for match, episode in zip(self._matches, episodes, strict=True)
            if match is not None
        ]
        self.league.record(played)
        if version % self.league.config.every == 0:
            self.freeze(version)
        results = [result for _, result in played]
        return {
            "league/rating": self.league.current.mean,
            "league/deviation": self.league.current.deviation,
            "league/share": len(played) / len(episodes),
            "league/win": results.count(1) / len(results),
            "league/draw": results.count(0) / len(results),
            "league/loss": results.count(-1) / len(results),
            "league/members": float(len(self.league.members)),
        }

    def average(self, tree: Tree, version: int, now: Floats) -> Floats:
        """Return the time-averaged policy of the frozen versions and the current policies: [A]."""
        members = set(self.league.members) - {version}
        self._played = {v: policy for v, policy in self._played.items() if v in members}
        for v in sorted(members - self._played.keys()):
            frozen = {name: server.lm for name, server in (self._met.get(v) or self._thaw(v)).items()}
            self._played[v] = exploit.played(tree, {seat: frozen[name] for seat, name in self.names.items()})
        return exploit.average(tree, self._played | {version: now})

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, and delete weights that neither it nor the one before it names."""
        now = set(self.league.members)
        self._keep(now | self._needed)
        self._needed = now
        return self.league.state()

    def _keep(self, versions: Iterable[int]) -> None:
        kept = {self.place(version) for version in versions}
        for path in self.dir.league.glob("[0-9]*"):
            if path not in kept:
                shutil.rmtree(path)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint; raises UserError if it is damaged, or frozen weights are missing."""
        try:
            self.league.restore(state["league"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"the checkpoint's league is damaged ({error!r}): remove it to go on from the one before"
            ) from None
        for version in self.league.members:
            if not self.place(version).is_dir():
                raise UserError(f"{self.place(version)}, frozen weights of the league, is gone: restore it")
        self._needed = set(self.league.members)
        self._met = {}


def distance(tree: Tree, trainer: Trainer, selfplay: SelfPlay | None) -> dict[str, float]:
    """Exploitability of the policies in training, and of their average over a league."""
    now = exploit.played(tree, {seat: trainer.policies[name] for seat, name in trainer.seats.items()})
    return exploit.measure(tree, now, selfplay.average(tree, trainer.version, now) if selfplay else None)
