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

from marl.critic.critic import Critic, Reading
from marl.models.tiny import seeded


class GraphCritic(Critic):
    """A critic of every agent's own view whose values attend to neighbours; `graph` says who is one."""

    near: Tensor

    def __init__(
        self,
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
    ) -> None:
        super().__init__(
            agents,
            words,
            scope="own",
            width=width,
            layers=layers,
            heads=heads,
            context=context,
            seed=seed,
            buckets=buckets,
        )
        self.width = width
        self.ask, self.key, self.value = seeded(
            lambda: nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(3)), seed + 1
        )
        near = torch.eye(len(self.agents), dtype=torch.bool)
        for i, agent in enumerate(self.agents):
            for j, other in enumerate(self.agents):
                near[i, j] |= graph.has_edge(agent, other) or graph.has_edge(other, agent)
        self.register_buffer("near", near, persistent=False)

    def forward(self, reading: Reading) -> Tensor:
        """Return the values [P] at the points of a reading."""
        at = self.states(reading)  # [P, d]
        # Points of one decision stand side by side: [D, N, d] for D decisions. Who has no point there is not attended.
        decision, place = torch.unique((reading.episode << 32) + reading.slot, return_inverse=True)
        states = at.new_zeros(len(decision), len(self.agents), self.width)
        states = states.index_put((place, reading.agent), at)
        there = torch.zeros(states.shape[:2], dtype=torch.bool, device=at.device)
        there[place, reading.agent] = True
        scores = self.ask(states) @ self.key(states).transpose(1, 2) / self.width**0.5
        weights = scores.masked_fill(~(self.near & there[:, None]), -torch.inf)[place, reading.agent].softmax(-1)
        heard = (weights[:, None] @ self.value(states)[place]).squeeze(1)
        values: Tensor = self.head(at + heard).gather(-1, reading.agent[:, None]).squeeze(-1)
        return values
