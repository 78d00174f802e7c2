"""Communication shaping: rewards for the effect of messages on their listeners, and a listening loss.

- influence: how much a listener's next reply owes to the message (Jaques et al. 2019). With a_j the reply and m_1..m_M
  what the speaker might have said instead,
      r_i += influence sum_j [log pi_j(a_j | m) - log 1/(M+1) (pi_j(a_j | m) + sum_n pi_j(a_j | m_n))]
  an estimate of the mutual information of message and reply given everything else, at most log(M+1).
- speaking: how much nearer the message brought its listeners to the hidden truth (Sarkar et al. 2025),
      r_i += speaking sum_j [log b_j(truth | after m) - log b_j(truth | before m)]
- listening: a loss that teaches every agent's trunk to tell the hidden truth from what it has perceived (ibid.),
      L += -listening mean log b_j(truth)

The truth is the words of the arena's hidden state when the reply was requested, and log b_j their mean log-probability
under a linear head on the agent's last state. Influence and speaking pay for effect, not for honesty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from arenas.spec import ReplySpec
from marl.context.traces import trace
from marl.context.transcript import PROMPT
from marl.credit.arrays import Array, EpisodeArrays
from marl.episode import Episode
from marl.models.language_model import LanguageModel, padded
from protocols.envelope import Kind
from protocols.log import Entry
from trainers.algorithm import ShapingConfig
from trainers.credit.counterfactual import alternatives
from trainers.trainer import Metrics


class Reply(NamedTuple):
    """A reply in its context: the tokens before it, its own tokens, and its spec."""

    before: tuple[int, ...]
    tokens: tuple[int, ...]
    spec: ReplySpec


class Message(NamedTuple):
    """Decision k of an episode was a message; each listener's next decision after it, where there is one."""

    episode: int
    turn: int
    answers: Mapping[str, int]


class Shaping:
    """The terms over the policies of a run. `heads` hold the beliefs: word logits from an agent's last state."""

    def __init__(
        self, config: ShapingConfig, policies: Mapping[str, LanguageModel], seats: Mapping[str, str], seed: int
    ) -> None:
        self.config, self.policies, self.seats, self.seed = config, policies, seats, seed
        self.heads: dict[str, nn.Linear] = {}
        if config.speaking or config.listening:
            for name, lm in policies.items():
                words = lm.model.get_input_embeddings().weight
                self.heads[name] = nn.Linear(words.shape[1], words.shape[0], device=words.device)
                nn.init.zeros_(self.heads[name].weight)
                nn.init.zeros_(self.heads[name].bias)

    def shaped(self, arrays: EpisodeArrays, episodes: Sequence[Episode], update: int) -> tuple[Array, Metrics]:
        """Return rewards with the terms of messages added to their senders', and each term's mean per message."""
        cfg = self.config
        if not (cfg.influence or cfg.speaking):
            return arrays.rewards, {}
        said = [message for e, episode in enumerate(episodes) for message in messages(e, episode)]
        terms: dict[str, Array] = {}
        if cfg.influence and said:
            terms["influence"] = cfg.influence * self.influence(episodes, said, self.seed + update)
        if cfg.speaking and said:
            terms["speaking"] = cfg.speaking * self.speaking(episodes, said)
        rewards = arrays.rewards.copy()
        for amounts in terms.values():
            for (e, k, _), amount in zip(said, amounts, strict=True):
                rewards[e, k, arrays.actor[e, k]] += amount
        return rewards, {f"shaping/{name}": float(amounts.mean()) for name, amounts in terms.items()}

    @torch.no_grad()
    def influence(self, episodes: Sequence[Episode], said: Sequence[Message], draw: int) -> Array:
        """Return for each message the sum over its listeners of the information in it about their next replies."""
        count = self.config.others
        others = alternatives(episodes, self.policies, self.seats, count, draw)
        replies: dict[str, list[Reply]] = {name: [] for name in self.policies}
        owner: dict[str, list[int]] = {name: [] for name in self.policies}
        for i, (e, k, answers) in enumerate(said):
            for listener, k_next in answers.items():
                name = self.seats[listener]
                for body in (None, *others[e][k]):
                    episode = episodes[e] if body is None else with_message(episodes[e], k, body)
                    replies[name].append(_reply(episode, listener, k_next, self.policies[name]))
                owner[name].append(i)
        information = np.zeros(len(said))
        for name, lm in self.policies.items():
            if replies[name]:
                logprobs = log_probabilities(lm, replies[name]).reshape(-1, count + 1)
                np.add.at(information, owner[name], logprobs[:, 0] - np.log(np.exp(logprobs).mean(1)))
        return information

    @torch.no_grad()
    def speaking(self, episodes: Sequence[Episode], said: Sequence[Message]) -> Array:
        """Return for each message the sum over its listeners of the gain in log b(truth)."""
        contexts: dict[str, list[list[int]]] = {name: [] for name in self.policies}
        truths: dict[str, list[list[int]]] = {name: [] for name in self.policies}
        owner: dict[str, list[int]] = {name: [] for name in self.policies}
        for i, (e, k, answers) in enumerate(said):
            for listener in answers:
                name = self.seats[listener]
                lm = self.policies[name]
                around = _around(episodes[e], listener, episodes[e].turns[k].seq, lm)
                contexts[name] += around
                truths[name] += [truth(episodes[e], k, lm)] * 2
                owner[name].append(i)
        gains = np.zeros(len(said))
        for name in self.policies:
            if contexts[name]:
                belief = self.beliefs(name, contexts[name], truths[name]).double().cpu().numpy().reshape(-1, 2)
                np.add.at(gains, owner[name], belief[:, 1] - belief[:, 0])
        return gains

    def beliefs(self, name: str, contexts: Sequence[Sequence[int]], truths: Sequence[Sequence[int]]) -> Tensor:
        """Return log b [R]: the mean log-probability of each row's true words after its context."""
        lm = self.policies[name]
        ids = padded(contexts, lm.device)
        last = torch.tensor([len(context) - 1 for context in contexts], device=lm.device)
        states = lm.states(ids)[torch.arange(len(ids), device=lm.device), last]
        logprobs = self.heads[name](states.float()).log_softmax(-1)
        rows = torch.tensor([r for r, words in enumerate(truths) for _ in words], device=lm.device)
        columns = torch.tensor([word for words in truths for word in words], device=lm.device)
        count = torch.bincount(rows, minlength=len(truths)).clamp(min=1)
        return torch.zeros(len(truths), device=lm.device).index_add(0, rows, logprobs[rows, columns]) / count

    def listening(self, name: str, episodes: Sequence[Episode]) -> Tensor:
        """Return the loss of one policy over every decision of its seats in these episodes."""
        lm = self.policies[name]
        contexts, truths = [], []
        for episode in episodes:
            for agent in episode.agents:
                if self.seats[agent] == name:
                    seen = trace(episode, agent, lm.open)
                    contexts += [seen.ids[:start] for start, _, _ in seen.spans]
                    truths += [truth(episode, k, lm) for _, _, k in seen.spans]
        if not contexts:
            return torch.zeros(())
        return -self.config.listening * self.beliefs(name, contexts, truths).mean()


def messages(e: int, episode: Episode) -> list[Message]:
    """Return the messages of an episode, each with the next decision of everyone who heard it."""
    said = []
    for k, turn in enumerate(episode.turns):
        if turn.spec.kind != "say":
            continue
        answers = {}
        for listener in {heard.to for heard in episode.log.entries[turn.seq].heard if heard.body is not None}:
            later = [j for j in range(k + 1, len(episode.turns)) if episode.turns[j].agent == listener]
            later = [j for j in later if _had_heard(episode, turn.seq, listener, j)]
            if later and episode.turns[later[0]].sample.tokens:
                answers[listener] = later[0]
        said.append(Message(e, k, dict(sorted(answers.items()))))
    return said


def _had_heard(episode: Episode, seq: int, listener: str, j: int) -> bool:
    """Whether the message at `seq` had reached the listener when its decision j was requested."""
    request = episode.log.entries[episode.turns[j].seq].envelope.reply_to
    heard = [copy for copy in episode.log.entries[seq].heard if copy.to == listener and copy.body is not None]
    arrived = min(copy.time for copy in heard)
    return request is not None and seq < request and arrived <= episode.log.entries[request].envelope.time


def with_message(episode: Episode, k: int, body: str) -> Episode:
    """Return the episode with another message as decision k, heard as said."""
    at = episode.turns[k].seq
    entries = list(episode.log.entries)
    sent, heard = entries[at]
    entries[at] = Entry(sent._replace(body=body), tuple(h if h.body is None else h._replace(body=body) for h in heard))
    return replace(episode, log=replace(episode.log, entries=entries))


def truth(episode: Episode, k: int, lm: LanguageModel) -> list[int]:
    """Return the words of the hidden state at the request for decision k, as token ids."""
    seq = episode.turns[k].seq
    hidden = [entry.envelope.body for entry in episode.log.entries[:seq] if entry.envelope.kind is Kind.WORLD]
    return list(dict.fromkeys(lm.encode(hidden[-1]))) if hidden and hidden[-1] else []


def _reply(episode: Episode, agent: str, k: int, lm: LanguageModel) -> Reply:
    seen = trace(episode, agent, lm.open)
    start, stop = next((start, stop) for start, stop, turn in seen.spans if turn == k)
    return Reply(seen.ids[:start], seen.ids[start:stop], episode.turns[k].spec)


def _around(episode: Episode, agent: str, seq: int, lm: LanguageModel) -> list[list[int]]:
    """Return an agent's context just before and just after it heard an entry, each with a prompt."""
    own = {turn.seq: turn.sample.tokens for turn in episode.turns}
    transcript = lm.open()
    prompt = list(lm.encode(PROMPT))
    before: list[int] = [*transcript.ids, *prompt]
    for envelope in episode.log.view(agent):
        if envelope.sender == agent:
            transcript.ask()
            transcript.replied(own[envelope.seq])
            continue
        before = [*transcript.ids, *prompt]
        transcript.hear(envelope)
        if envelope.seq == seq:
            break
    return [before, [*transcript.ids, *prompt]]


def log_probabilities(lm: LanguageModel, replies: Sequence[Reply], rows: int = 2048) -> Array:
    """Return the log-probability [R] of each reply in its context."""
    sums = []
    lm.eval()
    for first in range(0, len(replies), rows):
        part = replies[first : first + rows]
        ids = padded([(*reply.before, *reply.tokens) for reply in part], lm.device)
        drawn = torch.zeros_like(ids, dtype=torch.bool)
        masks: list[int] = []
        for row, reply in enumerate(part):
            drawn[row, len(reply.before) : len(reply.before) + len(reply.tokens)] = True
            masks += lm.grammar(reply.spec)[: len(reply.tokens)]
        logprobs = lm.score(ids, drawn, torch.tensor(masks, device=lm.device)).logp.double()
        owner = torch.arange(len(part), device=lm.device)[:, None].expand_as(ids)[drawn]
        sums.append(torch.zeros(len(part), dtype=torch.float64, device=lm.device).index_add(0, owner, logprobs))
    return torch.cat(sums).cpu().numpy()
