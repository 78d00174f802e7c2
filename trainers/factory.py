"""Build a run's models from its configuration: policies, critic, and the trainer over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from marl.critic.critic import Critic
from marl.critic.graph import graph_critic
from marl.critic.language import language_critic
from marl.critic.tiny import tiny_critic
from marl.errors import UserError
from marl.inference.server import PolicyServer, serve
from marl.models.language_model import LanguageModel
from marl.models.malloc import keep_freed_memory
from marl.models.tiny import tiny
from marl.policy.config import HfPolicy, TinyPolicy, policy_names
from marl.scenario.world import World
from protocols.draws import key
from trainers.algorithm import AlgorithmConfig
from trainers.algorithms.registry import trainer_class
from trainers.initial_weights import load_initial_weights
from trainers.trainer import Trainer

if TYPE_CHECKING:
    from trainers.run_config import RunConfig

CONTEXT: Final = 2048
"""Tokens of a log that the critic of chat models reads; a word is one token of the critic."""
BUCKETS: Final = 4096
"""Hash buckets for words that the arena does not list and a chat model may use."""


def make_trainer(config: RunConfig, world: World, words: Sequence[str] | None = None) -> Trainer:
    """Build the trainer of a run; `words` replaces the world's vocabulary. Raises UserError."""
    keep_freed_memory()
    words = words or world.vocabulary
    seats = policy_names(config.sharing, world.agents)
    names = list(dict.fromkeys(seats.values()))
    algorithm = config.algorithm
    if unknown := [name for name in algorithm.policies_named if name not in names]:
        raise UserError(f"algorithm: there is no policy {unknown[0]!r} to freeze or pace; there are {', '.join(names)}")
    policies = make_policies(config, world, words, names)
    if config.init_from is not None:
        load_initial_weights(policies, config.init_from)
    critic = None
    if isinstance(algorithm, AlgorithmConfig):
        critic = make_critic(algorithm, config, world, words, policies)
    if critic is not None:
        critic = critic.to(config.device)
    return trainer_class(algorithm.type)(algorithm, policies, seats, critic, config.seed)


def make_policies(
    config: RunConfig, world: World, words: Sequence[str], names: Sequence[str]
) -> Mapping[str, LanguageModel]:
    """Build policies by name, from scratch or on pretrained models. Raises UserError."""
    size = config.policy
    if isinstance(size, HfPolicy):
        if reason := config.algorithm.conflict("pretrained"):
            raise UserError(reason)
        from marl.models.pretrained import policies

        return policies(size, names, world.about, seed=config.seed, device=config.device)
    if world.arena.open_text:
        raise UserError(
            f"{world.arena.name} shows free text, and a model from scratch has no words for it: choose another, or "
            'a pretrained policy (policy.hf = "...")'
        )
    return {name: make_policy(size, words, key(config.seed, "policy", name) >> 1).to(config.device) for name in names}


def make_policy(size: TinyPolicy, words: Sequence[str], seed: int) -> LanguageModel:
    """Build a policy from scratch; its weights depend only on the seed."""
    return tiny(
        words,
        width=size.width,
        layers=size.layers,
        heads=size.heads,
        context=size.context,
        init=size.init,
        seed=seed,
    )


def make_server(config: RunConfig, lm: LanguageModel, name: str) -> PolicyServer:
    """Return the sampler of a policy's replies: in this process, or a vLLM server. Raises UserError."""
    if not isinstance(config.policy, HfPolicy) or not config.policy.vllm:
        return serve(lm, name)
    from marl.inference.vllm import VllmServer

    return VllmServer(lm, name, config.out / "adapters" / name)


def make_critic(
    algorithm: AlgorithmConfig,
    config: RunConfig,
    world: World,
    words: Sequence[str],
    policies: Mapping[str, LanguageModel],
) -> Critic | None:
    """Build the critic of an algorithm; None if it has none. Raises UserError."""
    if algorithm.critic_trunk == "policy":
        return make_language_critic(algorithm, config, world, policies)
    chat = isinstance(config.policy, HfPolicy)
    size: dict[str, int] = {
        "width": algorithm.critic_width,
        "layers": algorithm.critic_layers,
        "heads": algorithm.critic_heads,
        "context": CONTEXT if chat else 4 * (config.policy.context or 0),
        "buckets": BUCKETS if chat else 0,
        "seed": key(config.seed, "critic") >> 1,
    }
    if algorithm.critic == "none":
        return None
    if algorithm.critic == "graph":
        return graph_critic(world.agents, words, world.topology.graph(), **size)
    inside = algorithm.credit_per == "token"
    return tiny_critic(world.agents, words, scope=algorithm.critic, inside=inside, **size)


def make_language_critic(
    algorithm: AlgorithmConfig, config: RunConfig, world: World, policies: Mapping[str, LanguageModel]
) -> Critic:
    """Build a critic on the base model that the policies share; raises UserError where there is none."""
    base = getattr(next(iter(policies.values())), "base", None)
    if not isinstance(config.policy, HfPolicy) or config.policy.lora is None or base is None:
        raise UserError(
            'algorithm.critic_trunk = "policy" reads with the frozen base model of the policies: set policy.hf and '
            "policy.lora, or leave it out"
        )
    assert algorithm.critic in ("central", "joint", "own")
    context = min(CONTEXT, base.model.config.max_position_embeddings)
    seed = key(config.seed, "critic") >> 1
    return language_critic(
        world.agents, base, scope=algorithm.critic, width=algorithm.critic_width, context=context, seed=seed
    )
