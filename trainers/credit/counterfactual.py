"""COMA's credit (Foerster et al. 2018): what a joint move is worth, less its mean over what one agent might have done.

A causal critic that has read the replies of a stage and not yet what came of them is a joint-action value Q(h, u). For
agent i with reply u_i:

    A_i = Q_i(h, u) - 1/M sum_m Q_i(h, (u without i, a_m)),    a_m ~ pi_i(. | h_i)

The mean over the agent's own policy is estimated with M draws; where listeners heard a message altered, the
alternatives are read as if they had been heard as said.
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
"""So many joint moves are read at once."""


def alternatives(
    episodes: Sequence[Episode], policies: Mapping[str, LanguageModel], seats: Mapping[str, str], count: int, seed: int
) -> list[list[list[str]]]:
    """Return for each decision of each episode `count` replies that its agent might have given, as texts."""
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
    found: list[list[list[str]]] = [[[] for _ in episode.turns] for episode in episodes]
    for name, lm in policies.items():
        if requests[name]:
            lm.eval()
            for (e, k), sample in zip(owner[name], generate(lm, requests[name], 0), strict=True):
                found[e][k].append(sample.text)
    return found


def joint(episode: Episode, k: int, said: str | None = None) -> Episode:
    """Return the episode up to the last reply of the stage of decision k, with another reply there if one is given."""
    last = max(j for j, turn in enumerate(episode.turns) if turn.stage == episode.turns[k].stage)
    entries = list(episode.log.entries[: episode.turns[last].seq + 1])
    if said is not None:
        at = episode.turns[k].seq
        sent, heard = entries[at]
        entries[at] = Entry(sent._replace(body=said), tuple(each._replace(body=said) for each in heard))
    log = replace(episode.log, entries=entries)
    return replace(episode, log=log, turns=episode.turns[: last + 1], stop=Stop.TRUNCATED)


def after(critic: Critic, cut: Sequence[Episode]) -> Reading:
    """Return where the values after the last reply are."""
    reading = critic.read(cut)
    ends = torch.tensor([len(episode.turns) for episode in cut], device=reading.ids.device)
    at_end = reading.slot == ends[reading.episode]
    ids, *points = reading
    return Reading(ids, *[point[at_end] for point in points])


def read(critic: Critic, cut: Sequence[Episode]) -> tuple[Reading, Tensor]:
    """Return where the values after the last reply are, and the critic's outputs there."""
    kept = after(critic, cut)
    return kept, critic(kept)


def advantages(
    critic: Critic, episodes: Sequence[Episode], others: Sequence[Sequence[Sequence[str]]], decisions: int
) -> Array:
    """Return A [E, K] of the agent that decided, in the units of the critic's output; nan where nobody did."""
    found = np.full((len(episodes), decisions), np.nan)
    cut: list[Episode] = []
    asked: list[tuple[int, int, list[int]]] = []  # episode, decision, and where its joint moves stand in `cut`
    for e, episode in enumerate(episodes):
        for k in range(len(episode.turns)):
            place = {None: len(cut)} | ({given: len(cut)} if (given := _as_said(episode, k)) is not None else {})
            cut.append(joint(episode, k))
            for said in others[e][k]:
                if said not in place:  # each joint move is read once
                    place[said] = len(cut)
                    cut.append(joint(episode, k, said))
            asked.append((e, k, [place[None], *(place[said] for said in others[e][k])]))
    table = np.zeros((len(cut), len(critic.reader.agents)))
    order = sorted(range(len(cut)), key=lambda place: len(cut[place].turns))  # those of one length together
    for start in range(0, len(cut), AT_ONCE):
        part = np.array(order[start : start + AT_ONCE])
        with torch.no_grad():
            reading, output = read(critic, [cut[place] for place in part])
        rows = part[reading.episode.cpu().numpy()]
        table[rows, reading.agent.cpu().numpy()] = output.double().cpu().numpy()
    for e, k, places in asked:
        q = table[places, episodes[e].agents.index(episodes[e].turns[k].agent)]
        found[e, k] = q[0] - q[1:].mean()
    return found


def _as_said(episode: Episode, k: int) -> str | None:
    """Return the reply of decision k, if everyone heard it as it was said."""
    sent, heard = episode.log.entries[episode.turns[k].seq]
    return sent.body if all(each.body == sent.body and not each.sender for each in heard) else None
