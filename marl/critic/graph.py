"""The graph critic: each agent's view read alone, then attention between agents who can hear each other.

    h_i   the state of the causal model after what agent i perceived until the decision
    V_i = w_i . (h_i + sum_{j in N(i)} a_ij W_v h_j),    a_ij = softmax_j (W_q h_i . W_k h_j / sqrt d)

N(i) is agent i itself and all with an edge to or from it in the topology (attention critics: Iqbal & Sha 2019;
attention along edges: Velickovic et al. 2018). The value knows what neighbours know, and nothing of others.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import torch
from torch import Tensor, nn
from transformers import GPT2Model
from typing_extensions import override

from marl.critic.critic import Critic, value_head
from marl.critic.log_reader import LogReader
from marl.critic.reading import Reading
from marl.critic.tiny import log_trunk, states_of
from marl.critic.vocabulary import Vocabulary
from marl.models.tiny import seeded


class GraphNetwork(nn.Module):
    """Values that attend to neighbours.

    Args:
        trunk: the causal model that reads each agent's view.
        near: [N, N] whether agent j is a neighbour of agent i, or i itself.
        seed: of the attention's weights.
    """

    near: Tensor

    def __init__(self, trunk: GPT2Model, near: Tensor, seed: int) -> None:
        super().__init__()
        self.width = int(trunk.config.n_embd)
        self.trunk: nn.Module = trunk
        self.head = value_head(self.width, len(near))
        self.ask, self.key, self.value = seeded(
            lambda: nn.ModuleList(nn.Linear(self.width, self.width, bias=False) for _ in range(3)), seed
        )
        self.register_buffer("near", near, persistent=False)

    @override
    def forward(self, reading: Reading, autocast: bool = False) -> Tensor:
        at = states_of(self.trunk, reading, autocast).to(self.head.weight.dtype)  # [P, d]
        # Points of one decision stand side by side, [D, N, d] for D decisions; agents without a point are masked.
        decision, index = torch.unique((reading.episode << 32) + reading.slot, return_inverse=True)
        states = at.new_zeros(len(decision), len(self.near), self.width)
        states = states.index_put((index, reading.agent), at)
        present = torch.zeros(states.shape[:2], dtype=torch.bool, device=at.device)  # [D, N]
        present[index, reading.agent] = True
        scores = self.ask(states) @ self.key(states).transpose(1, 2) / self.width**0.5  # [D, N, N]
        weights = scores.masked_fill(~(self.near & present[:, None]), -torch.inf)[index, reading.agent].softmax(-1)
        heard = (weights[:, None] @ self.value(states)[index]).squeeze(1)  # [P, d]
        values: Tensor = self.head(at + heard).gather(-1, reading.agent[:, None]).squeeze(-1)
        return values


def neighbours(agents: Sequence[str], graph: nx.DiGraph[str]) -> Tensor:
    """Return [N, N]: True on the diagonal, and where an edge leads from one agent to the other or back."""
    near = torch.eye(len(agents), dtype=torch.bool)
    for i, agent in enumerate(agents):
        for j, other in enumerate(agents):
            near[i, j] |= graph.has_edge(agent, other) or graph.has_edge(other, agent)
    return near


def graph_critic(
    agents: Sequence[str],
    words: Sequence[str],
    graph: nx.DiGraph[str],
    *,
    width: int,
    layers: int,
    heads: int,
    context: int,
    seed: int,
    buckets: int = 0,
) -> Critic:
    """Make a graph critic: an agent's value reads its own view and attends to its neighbours in `graph`."""
    vocabulary = Vocabulary(agents, words, buckets)
    reader = LogReader(agents, vocabulary.encode, scope="own", context=context)
    trunk = log_trunk(len(vocabulary), width=width, layers=layers, heads=heads, context=context, seed=seed)
    return Critic(reader, GraphNetwork(trunk, neighbours(agents, graph), seed + 1))
