"""Training run: collect -> update -> publish -> evaluate -> checkpoint, in a folder, resumable."""

from __future__ import annotations

import gc
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from marl.errors import UserError
from marl.evaluation import evaluate, traffic
from marl.evaluation import exploitability as exploit
from marl.evaluation import tool_calls as calls
from marl.policy.base import Policy
from marl.policy.config import TinyPolicy
from marl.rollout.collect import collect
from marl.rollout.gc_threshold import raised_gc_threshold
from marl.rollout.plan import Plan
from marl.rundir.folder import RunDir
from marl.rundir.provenance import record
from marl.scenario.world import World
from marl.settings import write_toml
from trainers.checks import check_played, json_value
from trainers.factory import make_policy, make_server, make_trainer
from trainers.population.curriculum import Curriculum
from trainers.population.newcomers import Newcomers
from trainers.population.selfplay import SelfPlay, distance
from trainers.remote_actors import Actors
from trainers.run_config import RunConfig
from trainers.trainer import Trainer

EXAMINED: Final = 128
"""Episodes of an update that the trainer examines at a checkpoint."""


Watch = Callable[[str, int, int], None]
"""Told what is being done, how many episodes of it are over, and of how many."""


class Progress(NamedTuple):
    """Progress after an update, for a progress bar."""

    update: int
    updates: int
    score: float
    communication_gain: float | None
    success: float | None


class Run:
    """A run in a folder. `train()` starts it, or resumes it from its newest checkpoint."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.dir = RunDir(config.out)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.world = World(config.scenario)
        if config.stop_at is not None and self.world.anchors.full is None:
            raise UserError(f"stop_at: the optimum of {self.world.arena.name} is not known, so leave stop_at out")
        self._played = self.world
        self.curriculum = Curriculum(config.curriculum, self.world) if config.curriculum else None
        words = self.curriculum.words if self.curriculum else self.world.vocabulary
        self.trainer: Trainer = make_trainer(config, self.world, words)
        self.servers = {name: make_server(config, lm, name) for name, lm in self.trainer.policies.items()}
        self.seats: dict[str, Policy] = {seat: self.servers[name] for seat, name in self.trainer.seats.items()}
        self.trainer.bind(lambda plans: collect(self._played, plans, concurrency=config.episodes), self.seats)
        self.selfplay: SelfPlay | None = None
        if config.league:
            self.selfplay = SelfPlay(config.league, config.seed, self.trainer, self.dir, alone=config.host is None)
        self.newcomers: Newcomers | None = None
        if config.newcomers:
            if not isinstance(config.policy, TinyPolicy):
                raise UserError("newcomers are made from scratch: leave out newcomers, or policy.hf")
            fresh = partial(make_policy, config.policy, words)
            self.newcomers = Newcomers(config.newcomers, config.seed, self.trainer, fresh)
        self.seconds = 0.0
        self.result: dict[str, Any] = {}
        self.tree = exploit.solvable(self.world) if isinstance(config.policy, TinyPolicy) else None
        self.distance: dict[str, float] = {}
        """Distance of the policies from an equilibrium, where it can be computed."""
        self._stop = threading.Event()
        self._watch: Watch = lambda what, done, total: None
        self.actors: Actors | None = None
        self.checked: dict[str, Any] = {}
        """What the actors said of their replies that is not so, by seat."""

    def train(
        self, report: Callable[[Progress], None] = lambda _: None, watch: Watch = lambda what, done, total: None
    ) -> dict[str, Any]:
        """Train to the end and return the summary; an interrupted run can be resumed.

        Raises UserError while another process trains in the folder.

        Args:
            report: is called after each update.
            watch: is called as episodes end: what is being done, how many are over, of how many.
        """
        self._watch = watch
        gc.collect()
        gc.freeze()  # modules and models stay: collecting them again and again costs a tenth of a rollout
        with raised_gc_threshold(), self.dir.locked():
            return self._train(report)

    def _train(self, report: Callable[[Progress], None]) -> dict[str, Any]:
        config = self.config
        if self.dir.exists:
            self._resume()
        else:
            write_toml(self.dir.config, config)
            if config.host is not None:
                self.dir.config.chmod(0o600)  # it holds the seats' tokens
            if self.selfplay:
                self.selfplay.freeze(0)
        record(self.dir.provenance, self.trainer.version)
        for server in self.servers.values():
            server.publish(self.trainer.version)
        with SummaryWriter(str(self.dir.tensorboard)) as board, self._actors(), self._finishing_updates():
            while self.trainer.version < config.updates and not self._stop.is_set():
                row = self._update()
                update = self.trainer.version
                last = update == config.updates
                if update % config.evaluate_every == 0 or last:
                    row |= self.evaluate()
                reached = self._reached(row)
                self.dir.append_metrics(json_value(row))
                for name, value in row.items():
                    if isinstance(value, float):
                        board.add_scalar(name, value, update)
                if update % config.checkpoint_every == 0 or last or reached or self._stop.is_set():
                    self._checkpoint()
                report(Progress(update, config.updates, row["train/score"], self._gain(row), row.get("eval/success")))
                if reached:
                    break
        if self._stop.is_set():
            raise KeyboardInterrupt
        return self._summarise()

    def _update(self) -> dict[str, Any]:
        """Play, learn and publish once; return the row of metrics."""
        config, trainer = self.config, self.trainer
        self._played = world = self.curriculum.world if self.curriculum else self.world
        level = (
            {f"curriculum/{self.curriculum.config.parameter}": float(self.curriculum.level)} if self.curriculum else {}
        )
        began = time.perf_counter()
        plans = self._plans()
        if self.selfplay:
            plans = self.selfplay.seated(plans, trainer.version)
        over = evaluate.counter(partial(self._watch, "playing"), len(plans))
        episodes = collect(world, plans, concurrency=config.episodes, done=over)
        played = time.perf_counter()
        check_played(episodes)
        checked: dict[str, float] = {}
        if self.actors is not None:
            episodes, checked = self.actors.rescored(episodes)
        metrics = trainer.update(episodes) | checked
        if self.selfplay:
            metrics |= self.selfplay.learned(episodes, trainer.version)
        if self.newcomers:
            metrics |= self.newcomers.arrive(trainer.version)
        for server in self.servers.values():
            server.publish(trainer.version)
        if self.actors is not None:
            self.actors.publish(trainer.version)
        learned = time.perf_counter()
        self.dir.append_logs(episode.log for episode in episodes[: config.log_episodes])
        said = traffic.count(world, episodes)
        if self.curriculum:
            self.curriculum.observe(episodes)
        examined = trainer.examine(episodes[:EXAMINED]) if trainer.version % config.checkpoint_every == 0 else {}
        self.seconds += time.perf_counter() - began
        tokens = sum(len(turn.sample.tokens) for episode in episodes for turn in episode.turns)
        score = sum(episode.score for episode in episodes) / len(episodes)
        return {
            "update": trainer.version,
            "episodes": trainer.version * config.episodes,
            "train/score": score,
            **level,
            **metrics,
            **examined,
            "rollout/illegal": sum(not turn.legal for episode in episodes for turn in episode.turns) / len(episodes),
            "rollout/drift": float(sum(episode.drift for episode in episodes)),
            **said.metrics(),
            **calls.metrics(episode.log for episode in episodes),
            "time/collect": played - began,
            "time/update": learned - played,
            "time/tokens_per_second": tokens / (played - began),
            "time/seconds": self.seconds,
        }

    def _plans(self) -> list[Plan]:
        """Plan the episodes of the next update, several per deal if the algorithm compares them."""
        config, version = self.config, self.trainer.version
        group = config.algorithm.deal_group
        names = [f"train-{version}-{i}" for i in range(config.episodes)]
        first = [names[i - i % group] for i in range(config.episodes)]  # of each episode's group: it sets the deal
        deals: list[dict[str, Any]] = [
            {} if name == leader else {"like": leader} for leader, name in zip(first, names, strict=True)
        ]
        return [Plan(name, self.seats, config.seed, deal) for name, deal in zip(names, deals, strict=True)]

    def evaluate(self) -> dict[str, float]:
        """Evaluate greedily, keep the log, and return the figures as metrics."""
        config = self.config
        watch = partial(self._watch, "evaluating")
        episodes = evaluate.run(self.world, self.seats, config.seed, most=config.evaluate_episodes, watch=watch)
        self.dir.write_eval(episode.log for episode in episodes)
        self.result = evaluate.summarise(self.world, episodes)
        flat: dict[str, float] = {}
        for split, figures in evaluate.splits(self.result).items():
            prefix = "eval" if split == "train" else f"eval/{split}"
            flat |= {f"{prefix}/{k}": v for k, v in figures.items() if isinstance(v, float)}
            flat |= {f"{prefix}/return/{seat}": value for seat, value in figures["returns"].items()}
        if self.tree is not None:
            self.distance = distance(self.tree, self.trainer, self.selfplay)
            flat |= {f"eval/{name}": value for name, value in self.distance.items()}
        return flat

    def _reached(self, row: dict[str, Any]) -> bool:
        """Whether an evaluation reached the score at which the run stops."""
        success, score = self.config.stop_at, self.config.stop_score
        succeeded = success is not None and row.get("eval/success", -1.0) >= success
        return succeeded or (score is not None and row.get("eval/score", -np.inf) >= score - 1e-9)

    def _gain(self, row: dict[str, Any]) -> float | None:
        return self._played.anchors.communication_gain(row["train/score"])

    def _checkpoint(self) -> None:
        level = {"curriculum": self.curriculum.state()} if self.curriculum else {}
        league = {"league": self.selfplay.state()} if self.selfplay else {}
        self.dir.checkpoint(self.trainer.version, {"seconds": self.seconds} | level | league, self.trainer.save)

    def _resume(self) -> None:
        newest, state = self.dir.resume()
        self.trainer.restore(newest)
        try:
            self.seconds = float(state.get("seconds", 0.0))
            if self.curriculum:
                self.curriculum.restore(state.get("curriculum", {}))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"the checkpoint {newest} is damaged ({error}): restore it") from None
        if self.selfplay:
            self.selfplay.restore(state)

    def _summarise(self) -> dict[str, Any]:
        if not self.result:
            self.evaluate()
        summary = {
            "arena": self.world.arena.name,
            "closed": list(self.config.scenario.closed),
            "seed": self.config.seed,
            "updates": self.trainer.version,
            "episodes": self.trainer.version * self.config.episodes,
            "training_seconds": round(self.seconds, 3),
            **self.trainer.summary(),
            "evaluation": self.result,
            **self.distance,
            **({"actors": self.checked} if self.checked else {}),
            **({"league": self.selfplay.league.summary()} if self.selfplay else {}),
        }
        part = self.dir.summary.with_suffix(".part")  # atomic: its presence says that the run is finished
        part.write_text(json.dumps(json_value(summary), indent=2, allow_nan=False) + "\n")
        part.replace(self.dir.summary)
        return summary

    @contextmanager
    def _actors(self) -> Iterator[None]:
        """Connect the remote actors and send them the current weights."""
        if self.config.host is None:
            yield
            return
        weights = self.dir.path / "weights"
        with Actors(self.config.host, self.trainer.policies, self.trainer.seats, weights) as self.actors:
            local = self.seats
            self.seats = {**local, **self.actors.seats()}
            self.actors.publish(self.trainer.version)
            yield
            self.checked = self.actors.summary()
        self.seats, self.actors = local, None

    @contextmanager
    def _finishing_updates(self) -> Iterator[None]:
        """Stop after the current update on the first Ctrl-C, so that the run can be resumed from there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(signum: int, frame: object) -> None:
            self._stop.set()
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def run(config: RunConfig, report: Callable[[Progress], None] = lambda _: None) -> dict[str, Any]:
    """Train as configured and return the summary; raises UserError if the folder holds a finished run."""
    training = Run(config)
    if training.dir.finished:
        raise UserError(f"{config.out} holds a finished run: choose another folder with out=..., or add --overwrite")
    return training.train(report)


__all__ = ["Progress", "Run", "RunConfig", "run"]
