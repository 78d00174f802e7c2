"""A game with talk in several rounds, small language models, and worlds to put them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from arenas import Anchors, Arena, Outcome
from arenas.spec import Words, choose, say, symbols
from marl.episode import Episode
from marl.inference.server import PolicyServer
from marl.models.language_model import LanguageModel
from marl.models.tiny import tiny
from marl.policy.base import Policy
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.config import ArenaConfig, Scenario
from marl.scenario.world import World
from marl.tools import TOOLS, Tool
from protocols.envelope import Envelope
from protocols.log import Log


class Chat(Arena):
    """In each round all players say up to three symbols at once, then all choose at once; each has a secret of its own.

    Player i earns i + 1 where its choice is the secret of the next player, and loses a tenth where it is its own.
    """

    metadata = Arena.metadata | {"name": "chat_v0"}
    cases = 16

    def __init__(
        self, rounds: int = 2, players: int = 3, truncated: bool = False, least: int = 1, free: int = 0
    ) -> None:
        self.rounds, self.truncated = rounds, truncated
        self.secrets = symbols("x", 2)
        specs = (say(symbols("m", 4), 3, least, free=free), choose(self.secrets))
        names = [f"{letter}_0" for letter in "abcd"[:players]]
        super().__init__(dict.fromkeys(names, specs), words=("secret", "pick", "round", *symbols("t", rounds + 1)))

    def lay(self, case: int) -> None:
        self.mine = [self.secrets[case >> i & 1] for i in range(len(self.possible_agents))]
        self.round, self.talking = 0, True

    def acting(self) -> tuple[str, ...]:
        return tuple(self.possible_agents)

    def spec(self, agent: str) -> Any:
        return self.replies[agent][0 if self.talking else 1]

    def view(self, agent: str) -> str:
        secret = self.mine[self.possible_agents.index(agent)]
        return f"round t{self.round} secret {secret}" if self.talking else "pick"

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        self.talking = not self.talking
        if not self.talking:
            return Outcome()
        paid = {}
        for i, agent in enumerate(self.possible_agents):
            theirs = self.mine[(i + 1) % len(self.mine)]
            paid[agent] = (i + 1.0) * (replies[agent][0] == theirs) - 0.1 * (replies[agent][0] == self.mine[i])
        self.mine = [*self.mine[1:], self.mine[0]]
        self.round += 1
        over = self.round == self.rounds
        return Outcome(paid, done=over, truncated=over and self.truncated)

    def hidden(self) -> str:
        return f"round t{self.round} secret {' '.join(self.mine)}"

    def anchors(self) -> Anchors:
        return Anchors(0.0, 0.0, 1.0)


def echo(text: str) -> str:
    """Say the last word again."""
    return (text.split() or ["m0"])[-1]


TOOLS["echo"] = lambda: Tool.of(echo, inline=True)


class ChatConfig(ArenaConfig):
    """Makes the game above, which is not among the arenas of the package."""

    def make(self) -> Arena:
        return Chat(**(self.model_extra or {}))


SLOW: Final[dict[str, Any]] = {"constant": 0.3, "per_token": 0.1, "jitter": 0.7}
NOISY: Final[list[dict[str, Any]]] = [
    {"type": "budget", "symbols": 2},
    {"type": "price", "per_symbol": 0.125},
    {"type": "noise", "p": 0.3},
    {"type": "delay", "seconds": 0.2, "jitter": 0.9},
    {"type": "loss", "p": 0.25},
]


def world_of(scenario: Mapping[str, Any]) -> World:
    config = Scenario.model_validate(scenario)
    if config.arena.name == "chat":
        config = config.model_copy(update={"arena": ChatConfig.model_validate(config.arena.model_dump())})
    return World(config)


def world(name: str = "chat", *, arena: Mapping[str, Any] | None = None, **settings: Any) -> World:
    return world_of({"arena": {"name": name, **(arena or {})}, **settings})


STORMY: Final[list[dict[str, Any]]] = [
    {"type": "rewrite", "by": "shuffle"},
    {"type": "budget", "symbols": 5, "messages": 2, "per": "episode"},
    {"type": "eavesdrop", "seat": "c_0", "p": 0.7},
    {"type": "duplicate", "p": 0.5},
    {"type": "erasure", "p": 0.3},
    {"type": "reorder", "p": 0.5, "seconds": 0.6},
    {"type": "jam", "windows": [[0.4, 0.9]], "p": 0.5},
]
TOLD: Final[list[dict[str, Any]]] = [
    {"type": "swap", "sender": "a_0", "seat": "c_0"},
    {"type": "rewrite", "table": {"m0": "m1"}, "channel": "public"},
    {"type": "drop", "p": 0.25},
    {"type": "inject", "sender": "b_0", "body": "m3 m2", "round": 2},
    {"type": "close", "channel": "side", "round": 4},
]
WORLDS: Final[dict[str, dict[str, Any]]] = {
    "lewis": {"name": "lewis"},
    "reference": {"name": "reference", "arena": {"distractors": 2, "values": 3}, "channel": NOISY},
    "reconstruction": {"name": "reconstruction", "arena": {"values": 4}, "channel": NOISY, "latency": SLOW},
    "repeated matrix": {"name": "matrix", "arena": {"rounds": 4, "game": "stag_hunt"}, "latency": SLOW},
    "matrix with a deadline": {"name": "matrix", "arena": {"rounds": 5}, "latency": SLOW, "deadline": 0.8},
    "chat": {"name": "chat"},
    "chat, all effects": {"name": "chat", "channel": NOISY, "latency": SLOW},
    "chat, one after another": {"name": "chat", "channel": NOISY, "latency": SLOW, "floor": "rounds"},
    "chat on a ring": {"name": "chat", "arena": {"players": 4}, "topology": {"type": "ring"}, "channel": NOISY},
    "chat with channels": {
        "name": "chat",
        "arena": {"rounds": 3, "least": 0},
        "channels": {"side": {"members": ["a_0", "b_0"], "effects": STORMY}, "group": {"topology": {"type": "chain"}}},
        "latency": SLOW,
    },
    "chat on a changing graph": {
        "name": "chat",
        "arena": {"players": 4, "rounds": 3},
        "topology": {"type": "changing", "graphs": [{"type": "star"}, {"type": "random", "p": 0.5, "every": 1}]},
        "channel": STORMY,
    },
    "chat, one calls": {"name": "chat", "floor": {"type": "moderator", "seat": "b_0"}, "latency": SLOW},
    "chat in a drawn order": {"name": "chat", "floor": "moderator", "channel": NOISY},
    "chat, whoever likes": {
        "name": "chat",
        "floor": {"type": "free", "limit": 6, "speaking": 0.125, "silence": 0.0625},
        "channel": NOISY,
        "latency": SLOW,
        "deadline": 1.1,
    },
    "chat, bids and channels": {
        "name": "chat",
        "floor": {"type": "free", "limit": 4, "speaking": 0.25, "bids": 2},
        "channels": {"side": {"members": ["a_0", "b_0"]}},
        "latency": SLOW,
    },
    "chat, told otherwise": {
        "name": "chat",
        "arena": {"rounds": 3},
        "floor": {"type": "free", "limit": 6},
        "channels": {"side": {"members": ["a_0", "b_0"]}},
        "interventions": TOLD,
        "channel": NOISY,
        "latency": SLOW,
    },
    "matrix, free talk": {"name": "matrix", "arena": {"talk": 1, "rounds": 2}, "floor": "free"},
    "chat, anything may be said": {
        "name": "chat",
        "arena": {"least": 0, "free": 40},
        "channels": {"side": {"members": ["a_0", "b_0"]}},
        "channel": NOISY,
    },
    "chat with a tool": {
        "name": "chat",
        "arena": {"rounds": 3, "least": 0},
        "tools": {"echo": {"seats": ["a_0", "b_0"], "calls": 2, "price": 0.125}},
        "channels": {"side": {"members": ["a_0", "b_0"]}},
        "channel": NOISY,
        "latency": SLOW,
        "deadline": 1.1,
    },
    "chat on a chain": {"name": "chat", "topology": {"type": "chain"}, "latency": SLOW},
    "chat with a deadline": {
        "name": "chat",
        "arena": {"rounds": 3, "truncated": True},
        "topology": {"type": "edges", "edges": [["a_0", "b_0"], ["b_0", "c_0"]]},
        "channel": NOISY,
        "latency": SLOW,
        "deadline": 0.95,
    },
}


def lm_for(world: World, seed: int = 1, init: float = 0.3, words: Sequence[str] = ()) -> LanguageModel:
    """A model so small that a test may run it a thousand times, with weights so large that it has opinions."""
    vocabulary = (*world.vocabulary, *words)
    return tiny(vocabulary, width=16, layers=2, heads=2, context=256, init=init, seed=seed)


def seated(world: World, *models: LanguageModel) -> dict[str, Policy]:
    """Seat models in turn; one model is shared by all."""
    servers = [PolicyServer(lm, f"lm{i}") for i, lm in enumerate(models or [lm_for(world)])]
    return {agent: servers[i % len(servers)] for i, agent in enumerate(world.agents)}


def played(
    world: World, seats: Mapping[str, Policy], episodes: int = 4, *, seed: int = 1, **options: Any
) -> list[Episode]:
    return collect(world, [Plan(f"e{i}", seats, seed) for i in range(episodes)], **options)


def one(world: World, plan: Plan) -> Episode:
    return collect(world, [plan])[0]


def script(*lines: str) -> Scripted:
    """A policy that says its lines, the last one over and over; one for each seat and episode."""
    waiting = list(lines)

    def next_line(heard: Sequence[Envelope], spec: Any) -> str:
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return Scripted(next_line)


def raw(episodes: Sequence[Episode] | Sequence[Log]) -> list[bytes]:
    return [item.log.to_bytes() if isinstance(item, Episode) else item.to_bytes() for item in episodes]
