"""The referee: plays one episode, stage by stage, and pays the agents.

The log that it stamps is the episode: a reply that it did not accept never happened. Whatever happens at one instant
happens in a fixed order (due messages, then replies in seat order), so an episode does not depend on task scheduling.
"""

from __future__ import annotations

from collections.abc import Sequence

from arenas.core import Arena, Outcome
from marl.episode import Episode, Stop
from marl.intervention.base import Intervention
from marl.rollout.exchange import Exchange, ParticipantError
from marl.rollout.floors import play_stage
from marl.scenario.world import World
from protocols.bus import MemoryBus, Subscription
from protocols.draws import key
from protocols.envelope import NOBODY, Kind
from protocols.log import Log


class Referee:
    """One episode of a world, over a bus. `log` comes in with its header and no entries."""

    def __init__(
        self, world: World, arena: Arena, bus: MemoryBus, run: str, log: Log, do: Sequence[Intervention] = ()
    ) -> None:
        self.world = world
        self.arena = arena
        self.log = log
        self.exchange = Exchange(world, arena, bus, run, log, do)
        self._rewards: list[tuple[float, ...]] = []
        self._zeros = (0.0,) * len(world.agents)
        """The reward row of every turn after which nothing is paid."""

    async def play(self, inbox: Subscription) -> Episode:
        """Play to the end; a failing participant ends the episode with `stop = error`."""
        exchange = self.exchange
        exchange.inbox = inbox
        error, data = "", None
        try:
            stop = await self._play_stages()
        except ParticipantError as failure:
            stop = failure.stop
            if stop is Stop.OVERFLOW:
                data = {"reason": str(failure)}
            elif stop is Stop.ERROR:
                error = str(failure)
        exchange.end(stop, data)
        turns = tuple(exchange.turns)
        self._rewards += [self._zeros] * (len(turns) - len(self._rewards))
        drift = exchange.drift + inbox.dropped + inbox.duplicates
        return Episode(self.log, self.world.agents, turns, tuple(self._rewards), stop, error, drift)

    async def _play_stages(self) -> Stop:
        arena, exchange = self.arena, self.exchange
        deal = dict(self.log.deal)
        arena.begin(key(self.log.seed, deal.pop("like", self.log.episode), "deal"), **deal)
        hidden = arena.hidden()
        exchange.stamp(Kind.WORLD, NOBODY, hidden)
        while True:
            exchange.begin_stage()
            outcome = arena.advance(await play_stage(exchange))
            self._pay(outcome)
            if outcome.done:
                return Stop.TRUNCATED if outcome.truncated else Stop.TERMINATED
            if (changed := arena.hidden()) != hidden:
                hidden = changed
                exchange.stamp(Kind.WORLD, NOBODY, hidden)
            exchange.stage += 1

    def _pay(self, outcome: Outcome) -> None:
        """Record the stage's rewards, minus the prices of its messages, on its last turn."""
        exchange, agents = self.exchange, self.world.agents
        prices, paid = exchange.delivery.prices, self._zeros
        if outcome.rewards or any(prices.values()):
            paid = tuple([float(outcome.rewards.get(agent, 0.0) - prices[agent]) for agent in agents])
            for agent in agents:
                prices[agent] = 0.0
        self._rewards += [self._zeros] * (len(exchange.turns) - 1 - len(self._rewards)) + [paid]
        if paid != self._zeros:
            exchange.stamp(Kind.REWARD, NOBODY, "", dict(zip(agents, paid, strict=True)))
