"""Another library trains in an arena: REINFORCE in TorchRL, on a Lewis game that loses every tenth message.

TorchRL is no part of Sabir: pip install torchrl; python examples/05_torchrl.py [UPDATES]
"""

from __future__ import annotations

import sys
import warnings

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.envs import MarlGroupMapType, PettingZooWrapper
from torchrl.modules import MaskedCategorical, ProbabilisticActor
from torchrl.objectives.value.functional import reward2go

from marl.rollout.pettingzoo_environment import ParallelEnvironment

SCENARIO = {"arena": {"name": "lewis"}, "channel": [{"type": "loss", "p": 0.1}]}
STEPS = 256  # of an update; an episode has two, the sender's and the receiver's


def actor(environment: ParallelEnvironment, agent: str, width: int = 64) -> ProbabilisticActor:
    """Return a policy: the sum of an agent's embedded words (0 pads), two layers, a draw of a legal action."""
    words, actions = len(environment.world.vocabulary), int(environment.action_space(agent).n)
    embed = nn.Sequential(nn.Embedding(words + 1, width, padding_idx=0), Sum())
    model = nn.Sequential(embed, nn.Linear(width, width), nn.Tanh(), nn.Linear(width, actions))
    return ProbabilisticActor(
        TensorDictModule(model, in_keys=[(agent, "observation", "observation")], out_keys=[(agent, "logits")]),
        in_keys={"logits": (agent, "logits"), "mask": (agent, "action_mask")},
        out_keys=[(agent, "action")],
        distribution_class=MaskedCategorical,
    )


class Sum(nn.Module):
    """[..., words, width] -> [..., width]."""

    def forward(self, embedded: Tensor) -> Tensor:
        """Add up the words."""
        return embedded.sum(-2)


def main(updates: int = 100) -> float:
    """Train, and return the last update's mean return of an episode."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    environment = ParallelEnvironment(SCENARIO, text=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchRL is tested with an older PettingZoo
        env = PettingZooWrapper(environment, group_map=MarlGroupMapType.ONE_GROUP_PER_AGENT, seed=1)
    actors = {agent: actor(environment, agent) for agent in environment.possible_agents}
    policy = TensorDictSequential(*actors.values())
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    score = 0.0
    for update in range(1, updates + 1):
        with torch.no_grad():
            played = env.rollout(STEPS, policy, break_when_any_done=False)
        loss = torch.zeros(())
        for agent, module in actors.items():
            distribution = module.get_dist(played)
            asked = ~played[agent, "action_mask"].reshape(STEPS, -1)[:, -1]  # else it could only do nothing
            returns = reward2go(*(played["next", agent, key] for key in ("reward", "done")), 1.0, time_dim=0)
            advantage = returns.reshape(-1) - returns[asked].mean()
            logp, entropy = distribution.log_prob(played[agent, "action"]), distribution.entropy()
            loss = loss - (logp.reshape(-1) * advantage + 0.02 * entropy.reshape(-1))[asked].mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        score = float(played["next", "receiver_0", "reward"].sum() / played["next", "receiver_0", "done"].sum())
        if update % 10 == 0 or update == updates:
            print(f"update {update}: mean return {score:.3f}")
    env.close()
    return score


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
