"""Shaping communication: what a message did to those who heard it, as reward for who said it; and learning to listen.

- influence: how much a listener's next reply owes to the message (Jaques et al. 2019). With a_j the reply and m_1..m_M
  what the speaker might have said instead,
      r_i += influence sum_j [log pi_j(a_j | m) - log 1/(M+1) (pi_j(a_j | m) + sum_n pi_j(a_j | m_n))]
  an estimate of the mutual information of message and reply given everything else, at most log(M+1).
- speaking: how much nearer the message brought its listeners to the hidden truth (Sarkar et al. 2025),
      r_i += speaking sum_j [log b_j(truth | after m) - log b_j(truth | before m)]
- listening: a loss that teaches every agent's trunk to tell the hidden truth from what it has perceived (ibid.),
      L += -listening mean log b_j(truth)

The truth is the words of the arena's hidden state when the reply was asked for, and log b_j their mean log-probability
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
from marl.credit.arrays import Ledger
from marl.episode import Episode
from marl.models.language_model import LanguageModel, padded
from protocols.envelope import Kind
from protocols.log import Entry
from trainers.algorithm import ShapingConfig
from trainers.credit.counterfactual import alternatives


class Asked(NamedTuple):
    """A reply in its context: the tokens before it, its own, and what it might have been."""

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

    def pay(self, episodes: Sequence[Episode], book: Ledger, update: int) -> dict[str, float]:
        """Add what messages earned to the rewards of who said them; return the mean of each term per message."""
        cfg = self.config
        if not (cfg.influence or cfg.speaking):
            return {}
        said = [message for e, episode in enumerate(episodes) for message in messages(e, episode)]
        terms: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        if cfg.influence and said:
            terms["influence"] = cfg.influence * self.influence(episodes, said, self.seed + update)
        if cfg.speaking and said:
            terms["speaking"] = cfg.speaking * self.speaking(episodes, said)
        for paid in terms.values():
            for message, amount in zip(said, paid, strict=True):
                book.rewards[message.episode, message.turn, book.actor[message.episode, message.turn]] += amount
        return {f"shaping/{name}": float(paid.mean()) for name, paid in terms.items()}

    @torch.no_grad()
    def influence(
        self, episodes: Sequence[Episode], said: Sequence[Message], draw: int
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return for each message the sum over its listeners of the information in it about their next replies."""
        count = self.config.others
        others = alternatives(episodes, self.policies, self.seats, count, draw)
        asked: dict[str, list[Asked]] = {name: [] for name in self.policies}
        owner: dict[str, list[int]] = {name: [] for name in self.policies}
        for i, (e, k, answers) in enumerate(said):
            for listener, k_next in answers.items():
                name = self.seats[listener]
                for body in (None, *others[e][k]):
                    heard = episodes[e] if body is None else retold(episodes[e], k, body)
                    asked[name].append(_asked(heard, listener, k_next, self.policies[name]))
                owner[name].append(i)
        found = np.zeros(len(said))
        for name, lm in self.policies.items():
            if asked[name]:
                logp = log_probabilities(lm, asked[name]).reshape(-1, count + 1)
                np.add.at(found, owner[name], logp[:, 0] - np.log(np.exp(logp).mean(1)))
        return found

    @torch.no_grad()
    def speaking(
        self, episodes: Sequence[Episode], said: Sequence[Message]
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return for each message the sum over its listeners of how much nearer it brought them to the truth."""
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
        found = np.zeros(len(said))
        for name in self.policies:
            if contexts[name]:
                belief = self.beliefs(name, contexts[name], truths[name]).double().cpu().numpy().reshape(-1, 2)
                np.add.at(found, owner[name], belief[:, 1] - belief[:, 0])
        return found

    def beliefs(self, name: str, contexts: Sequence[Sequence[int]], truths: Sequence[Sequence[int]]) -> Tensor:
        """Return log b [R]: the mean log-probability of each row's true words after its context."""
        lm = self.policies[name]
        ids = padded(contexts, lm.device)
        last = torch.tensor([len(context) - 1 for context in contexts], device=lm.device)
        states = lm.states(ids)[torch.arange(len(ids), device=lm.device), last]
        logp = self.heads[name](states.float()).log_softmax(-1)
        rows = torch.tensor([r for r, words in enumerate(truths) for _ in words], device=lm.device)
        columns = torch.tensor([word for words in truths for word in words], device=lm.device)
        count = torch.bincount(rows, minlength=len(truths)).clamp(min=1)
        return torch.zeros(len(truths), device=lm.device).index_add(0, rows, logp[rows, columns]) / count

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
    found = []
    for k, turn in enumerate(episode.turns):
        heard = episode.log.entries[turn.seq].heard if turn.spec.kind == "say" else ()
        answers = {}
        for listener in {each.to for each in heard if each.body is not None}:
            later = [j for j in range(k + 1, len(episode.turns)) if episode.turns[j].agent == listener]
            later = [j for j in later if _had_heard(episode, turn.seq, listener, j)]
            if later and episode.turns[later[0]].sample.tokens:
                answers[listener] = later[0]
        if turn.spec.kind == "say":
            found.append(Message(e, k, dict(sorted(answers.items()))))
    return found


def _had_heard(episode: Episode, seq: int, listener: str, j: int) -> bool:
    """Whether the message at `seq` had reached the listener when it was asked for its decision j."""
    asked = episode.log.entries[episode.turns[j].seq].envelope.reply_to
    arrived = min(each.time for each in episode.log.entries[seq].heard if each.to == listener and each.body is not None)
    return asked is not None and seq < asked and arrived <= episode.log.entries[asked].envelope.time


def retold(episode: Episode, k: int, body: str) -> Episode:
    """Return the episode as it would read had decision k been another message, heard as said."""
    at = episode.turns[k].seq
    entries = list(episode.log.entries)
    sent, heard = entries[at]
    entries[at] = Entry(sent._replace(body=body), tuple(h if h.body is None else h._replace(body=body) for h in heard))
    return replace(episode, log=replace(episode.log, entries=entries))


def truth(episode: Episode, k: int, lm: LanguageModel) -> list[int]:
    """Return the words of the hidden state that held when decision k was asked for, as token ids."""
    seq = episode.turns[k].seq
    hidden = [each.envelope.body for each in episode.log.entries[:seq] if each.envelope.kind is Kind.WORLD]
    return list(dict.fromkeys(lm.encode(hidden[-1]))) if hidden and hidden[-1] else []


def _asked(episode: Episode, agent: str, k: int, lm: LanguageModel) -> Asked:
    seen = trace(episode, agent, lm.open)
    start, stop = next((start, stop) for start, stop, turn in seen.spans if turn == k)
    return Asked(seen.ids[:start], seen.ids[start:stop], episode.turns[k].spec)


def _around(episode: Episode, agent: str, seq: int, lm: LanguageModel) -> list[list[int]]:
    """Return what an agent's context was just before and just after it heard an entry, as if asked there."""
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


def log_probabilities(
    lm: LanguageModel, asked: Sequence[Asked], rows: int = 2048
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the log-probability [R] of each reply in its context."""
    found = []
    lm.eval()
    for first in range(0, len(asked), rows):
        part = asked[first : first + rows]
        ids = padded([(*each.before, *each.tokens) for each in part], lm.device)
        drawn = torch.zeros_like(ids, dtype=torch.bool)
        for row, each in enumerate(part):
            drawn[row, len(each.before) : len(each.before) + len(each.tokens)] = True
        grammar = torch.tensor(
            [row for each in part for row in lm.grammar(each.spec)[: len(each.tokens)]], device=lm.device
        )
        logp = lm.score(ids, drawn, grammar).logp.double()
        owner = torch.arange(len(part), device=lm.device)[:, None].expand_as(ids)[drawn]
        found.append(torch.zeros(len(part), dtype=torch.float64, device=lm.device).index_add(0, owner, logp))
    return torch.cat(found).cpu().numpy()
