"""Configuration -> models: the policies from scratch, the critic, and the algorithm over them."""

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
from trainers.algorithms.mappo import Mappo

if TYPE_CHECKING:
    from trainers.run_config import RunConfig

CONTEXT: Final = 2048
"""Tokens of a log that the critic of chat models reads; its own, of which a word is one."""
BUCKETS: Final = 4096
"""Into so many the words are hashed that a chat model may use and the arena does not list."""


def make_trainer(config: RunConfig, world: World, words: Sequence[str] | None = None) -> Mappo:
    """Build what a run trains; `words` if the models must know more than the world's. Raises UserError."""
    keep_freed_memory()
    words = words or world.vocabulary
    seats = policy_names(config.sharing, world.agents)
    names = list(dict.fromkeys(seats.values()))
    algorithm = config.algorithm
    if strange := [name for name in (*algorithm.frozen, *algorithm.lrs, *algorithm.entropies) if name not in names]:
        raise UserError(f"algorithm: there is no policy {strange[0]!r} to freeze or pace; there are {', '.join(names)}")
    policies = make_policies(config, world, words, names)
    critic = make_critic(config, world, words, policies)
    return Mappo(algorithm, policies, seats, None if critic is None else critic.to(config.device), config.seed)


def make_policies(
    config: RunConfig, world: World, words: Sequence[str], names: Sequence[str]
) -> Mapping[str, LanguageModel]:
    """Build the policies of these names: from scratch, or on pretrained models. Raises UserError."""
    size = config.policy
    if isinstance(size, HfPolicy):
        shaping = config.algorithm.shaping
        if shaping.influence or shaping.listening or shaping.speaking or config.algorithm.credit_per == "token":
            raise UserError(
                'policy.hf: shaping and credit_per = "token" are for models with one token a word: leave them out'
            )
        from marl.models.pretrained import policies

        return policies(size, names, world.about, seed=config.seed, device=config.device)
    if world.arena.open_text:
        raise UserError(
            f"{world.arena.name} shows free text, and a model from scratch has no words for it: choose another, or "
            'a pretrained policy (policy.hf = "...")'
        )
    return {name: make_policy(size, words, key(config.seed, "policy", name) >> 1).to(config.device) for name in names}


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


def make_server(config: RunConfig, lm: LanguageModel, name: str) -> PolicyServer:
    """Return what samples a policy's replies: here, or a vLLM server elsewhere. Raises UserError."""
    if not isinstance(config.policy, HfPolicy) or not config.policy.vllm:
        return serve(lm, name)
    from marl.inference.vllm import VllmServer

    return VllmServer(lm, name, config.out / "adapters" / name)


def make_critic(
    config: RunConfig, world: World, words: Sequence[str], policies: Mapping[str, LanguageModel]
) -> Critic | None:
    """Build the critic that an algorithm asks for, if it does. Raises UserError."""
    algorithm = config.algorithm
    if algorithm.critic_trunk == "policy":
        return make_language_critic(config, world, policies)
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


def make_language_critic(config: RunConfig, world: World, policies: Mapping[str, LanguageModel]) -> Critic:
    """Build a critic on the base model that the policies share; raises UserError where there is none."""
    algorithm, base = config.algorithm, getattr(next(iter(policies.values())), "base", None)
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
