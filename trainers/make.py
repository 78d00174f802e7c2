"""Configuration -> models: the policies from scratch, the critic, and the algorithm over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from marl.config import TinyPolicy, policy_names
from marl.critic import Critic
from marl.errors import UserError
from marl.graph_critic import GraphCritic
from marl.lm import LanguageModel, tiny
from marl.scenario import World
from protocols.draws import key
from trainers.mappo import Mappo

if TYPE_CHECKING:
    from trainers.run import RunConfig


def make_trainer(config: RunConfig, world: World, words: Sequence[str] | None = None) -> Mappo:
    """Build what a run trains; `words` if the models must know more than the world's. Raises UserError."""
    if world.arena.open_text:
        raise UserError(
            f"{world.arena.name} shows free text, and a model from scratch has no words for it: choose another"
        )
    words = words or world.vocabulary
    seats = policy_names(config.sharing, world.agents)
    names = list(dict.fromkeys(seats.values()))
    algorithm = config.algorithm
    if strange := [name for name in (*algorithm.frozen, *algorithm.lrs) if name not in names]:
        raise UserError(f"algorithm: there is no policy {strange[0]!r} to freeze or pace; there are {', '.join(names)}")
    policies = {name: make_policy(config.policy, words, key(config.seed, "policy", name) >> 1) for name in names}
    policies = {name: lm.to(config.device) for name, lm in policies.items()}
    critic = make_critic(config, world, words)
    return Mappo(algorithm, policies, seats, None if critic is None else critic.to(config.device), config.seed)


def make_policy(size: TinyPolicy, words: Sequence[str], seed: int) -> LanguageModel:
    """Build a policy from scratch; its weights depend on the seed alone."""
    return tiny(
        words,
        width=size.width,
        layers=size.layers,
        heads=size.heads,
        context=size.context,
        init=size.init,
        seed=seed,
    )


def make_critic(config: RunConfig, world: World, words: Sequence[str]) -> Critic | None:
    """Build the critic that an algorithm asks for, if it does."""
    algorithm = config.algorithm
    size: dict[str, int] = {
        "width": algorithm.critic_width,
        "layers": algorithm.critic_layers,
        "heads": algorithm.critic_heads,
        "context": 4 * config.policy.context,
        "seed": key(config.seed, "critic") >> 1,
    }
    if algorithm.critic == "none":
        return None
    if algorithm.critic == "graph":
        return GraphCritic(world.agents, words, world.topology.graph(), **size)
    inside = algorithm.credit_per == "token"
    return Critic(world.agents, words, scope=algorithm.critic, inside=inside, **size)
