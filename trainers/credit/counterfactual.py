"""COMA's counterfactual advantage (Foerster et al. 2018): Q of the joint move less its mean over one agent's replies.

A causal critic that has read the replies of a stage, not their consequences, is a joint-action value Q(h, u). For
agent i with reply u_i:

    A_i = Q_i(h, u) - 1/M sum_m Q_i(h, (u without i, a_m)),    a_m ~ pi_i(. | h_i)

The mean over the agent's own policy is estimated with M draws; the critic reads alternatives to a message as if they
had been heard as said, also where listeners heard the message altered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from marl.context.traces import trace
from marl.credit.arrays import Array
from marl.critic.critic import Critic
from marl.critic.reading import Reading
from marl.episode import Episode, Stop
from marl.inference.request import GenerationRequest
from marl.inference.sampler import generate
from marl.models.language_model import LanguageModel
from protocols.draws import key
from protocols.log import Entry

AT_ONCE: Final = 256
"""Joint moves per forward pass of the critic."""


def alternatives(
    episodes: Sequence[Episode], policies: Mapping[str, LanguageModel], seats: Mapping[str, str], count: int, seed: int
) -> list[list[list[str]]]:
    """Sample `count` alternative replies for each decision of each episode, as texts: [E][K][count]."""
    requests: dict[str, list[GenerationRequest]] = {name: [] for name in policies}
    owner: dict[str, list[tuple[int, int]]] = {name: [] for name in policies}
    for e, episode in enumerate(episodes):
        for agent in episode.agents:
            lm = policies[seats[agent]]
            seen = trace(episode, agent, lm.open)
            for start, _, k in seen.spans:
                for m in range(count):
                    transcript = lm.open()
                    transcript.ids = list(seen.ids[:start])
                    draw = key(seed, "alternative", episode.log.episode, k, m)
                    requests[seats[agent]].append(GenerationRequest(transcript, episode.turns[k].spec, draw))
                    owner[seats[agent]].append((e, k))
    texts: list[list[list[str]]] = [[[] for _ in episode.turns] for episode in episodes]
    for name, lm in policies.items():
        if requests[name]:
            lm.eval()
            for (e, k), sample in zip(owner[name], generate(lm, requests[name], 0), strict=True):
                texts[e][k].append(sample.text)
    return texts


def joint(episode: Episode, k: int, text: str | None = None) -> Episode:
    """Return the episode up to the last reply of the stage of decision k, with `text` as its reply unless None."""
    last = max(j for j, turn in enumerate(episode.turns) if turn.stage == episode.turns[k].stage)
    entries = list(episode.log.entries[: episode.turns[last].seq + 1])
    if text is not None:
        seq = episode.turns[k].seq
        sent, heard = entries[seq]
        entries[seq] = Entry(sent._replace(body=text), tuple(copy._replace(body=text) for copy in heard))
    log = replace(episode.log, entries=entries)
    return replace(episode, log=log, turns=episode.turns[: last + 1], stop=Stop.TRUNCATED)


def after(critic: Critic, cut: Sequence[Episode]) -> Reading:
    """Return the reading of the values after the last reply."""
    reading = critic.read(cut)
    ends = torch.tensor([len(episode.turns) for episode in cut], device=reading.ids.device)
    at_end = reading.slot == ends[reading.episode]
    ids, *points = reading
    return Reading(ids, *[point[at_end] for point in points])


def read(critic: Critic, cut: Sequence[Episode]) -> tuple[Reading, Tensor]:
    """Return the reading of the values after the last reply, and the critic's outputs."""
    last = after(critic, cut)
    return last, critic(last)


def advantages(
    critic: Critic, episodes: Sequence[Episode], others: Sequence[Sequence[Sequence[str]]], decisions: int
) -> Array:
    """Return A [E, K] of the agent that decided, in the units of the critic's output; NaN at padding."""
    advantage = np.full((len(episodes), decisions), np.nan)
    cut: list[Episode] = []
    moves: list[tuple[int, int, list[int]]] = []  # episode, decision, and rows of its joint moves in `cut`
    for e, episode in enumerate(episodes):
        for k in range(len(episode.turns)):
            row: dict[str | None, int] = {None: len(cut)}
            if (own := _as_said(episode, k)) is not None:
                row[own] = len(cut)
            cut.append(joint(episode, k))
            for text in others[e][k]:
                if text not in row:  # each joint move is read once
                    row[text] = len(cut)
                    cut.append(joint(episode, k, text))
            moves.append((e, k, [row[None], *(row[text] for text in others[e][k])]))
    table = np.zeros((len(cut), len(critic.reader.agents)))
    order = sorted(range(len(cut)), key=lambda i: len(cut[i].turns))  # equal lengths together
    for start in range(0, len(cut), AT_ONCE):
        part = np.array(order[start : start + AT_ONCE])
        with torch.no_grad():
            reading, output = read(critic, [cut[i] for i in part])
        index = part[reading.episode.cpu().numpy()]
        table[index, reading.agent.cpu().numpy()] = output.double().cpu().numpy()
    for e, k, rows in moves:
        q = table[rows, episodes[e].agents.index(episodes[e].turns[k].agent)]
        advantage[e, k] = q[0] - q[1:].mean()
    return advantage


def _as_said(episode: Episode, k: int) -> str | None:
    """Return the reply of decision k, None if anyone heard it altered."""
    sent, heard = episode.log.entries[episode.turns[k].seq]
    return sent.body if all(copy.body == sent.body and not copy.sender for copy in heard) else None
