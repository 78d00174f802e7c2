"""The centralized critic: a causal model that reads the log once and gives V_i for every agent at every decision.

Scope decides what it reads: `central` the whole log, hidden state and undelivered messages included; `joint` the log
without the hidden state, so what all agents together were shown and said; `own` each agent's view alone (then it is as
blind as the actor: IPPO). A decision's value is read at the last token before the reply.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from arenas.spec import UNKNOWN
from marl.context.transcript import BOS, PAD, Encode
from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.models.gpt2 import states_at
from marl.models.tiny import level, seeded, shape
from protocols.draws import key
from protocols.envelope import EVERYONE, NOBODY, REFEREE, Envelope, Kind
from protocols.log import REPLIES, Heard

Scope = Literal["central", "joint", "own"]
HEARD = "<heard>"
MARKS = {kind: f"<{kind.value}>" for kind in (Kind.WORLD, Kind.VIEW, Kind.SAY, Kind.MOVE)}
MARKS |= {Kind.CALL: MARKS[Kind.MOVE], Kind.RESULT: MARKS[Kind.SAY], Kind.NOTE: MARKS[Kind.MOVE]}
TALK = (*REPLIES, Kind.RESULT)


class Reading(NamedTuple):
    """Token sequences, and where in them the values are: value of agent `agent` at `slot` of `episode`.

    A slot is a decision's place among its episode's turns. The slot after the last turn, the end of the episode, has a
    value only if the rules would have gone on. With `part` j > 0 the value is that of the agent that decides, after the
    first j words of its reply.
    """

    ids: Tensor  # [R, T], padded on the right
    row: Tensor  # [P] which sequence
    column: Tensor  # [P] at which token
    agent: Tensor  # [P] whose value
    episode: Tensor  # [P]
    slot: Tensor  # [P]
    part: Tensor  # [P]

    def of(self, chosen: Tensor) -> Reading:
        """Return what was read of some episodes [E'], numbered by their place among them."""
        count = int(self.episode.max()) + 1
        place = torch.full((max(count, int(chosen.max()) + 1),), -1, device=self.ids.device)
        place[chosen] = torch.arange(len(chosen), device=self.ids.device)
        keep = place[self.episode] >= 0
        rows, row = torch.unique(self.row[keep], return_inverse=True)
        column = self.column[keep]
        ids = self.ids[rows, : int(column.max()) + 1]
        return Reading(ids, row, column, self.agent[keep], place[self.episode[keep]], self.slot[keep], self.part[keep])


class Critic(nn.Module):
    """A tiny causal transformer over log tokens with one value head per agent; `inside`: also within replies."""

    def __init__(
        self,
        agents: Sequence[str],
        words: Sequence[str],
        *,
        scope: Scope,
        width: int,
        layers: int,
        heads: int,
        context: int,
        seed: int,
        inside: bool = False,
        buckets: int = 0,
    ) -> None:
        super().__init__()
        self.buckets = buckets
        self.inside = inside
        self.autocast = False
        """Whether it computes in bfloat16."""
        self.agents = tuple(agents)
        self.scope: Scope = scope
        self.context = context
        self.encode: Encode = lru_cache(maxsize=1 << 16)(self._encode)
        self._marks = frozenset((PAD, BOS, *MARKS.values(), HEARD))
        self.vocabulary = {
            w: i for i, w in enumerate(dict.fromkeys([PAD, BOS, *MARKS.values(), HEARD, *agents, *words]))
        }
        self._first_bucket = len(self.vocabulary)
        config = GPT2Config(
            vocab_size=len(self.vocabulary) + buckets,
            bos_token_id=None,
            eos_token_id=None,
            **shape(width, layers, heads, context, init=0.1),
        )
        self.trunk: nn.Module = seeded(lambda: GPT2Model(config), seed)
        level(self.trunk)
        self.head = nn.Linear(width, len(self.agents))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _encode(self, text: str, said: bool = False) -> Sequence[int]:
        """Return the ids of a piece of log text; raises UserError for a word the critic was not made for.

        What is `said` where talk is free may hold any word: it is read as `<unk>`, and so are the critic's own marks.
        With `buckets` every word that is not in the vocabulary is read as one of so many, by its hash.
        """
        if self.buckets:
            hidden = self._marks if said else frozenset()
            return [self._hashed(word) if word in hidden else self._known(word) for word in text.split()]
        unknown = self.vocabulary.get(UNKNOWN) if said else None
        if unknown is not None:
            return [unknown if word in self._marks else self.vocabulary.get(word, unknown) for word in text.split()]
        try:
            return [self.vocabulary[word] for word in text.split()]
        except KeyError as error:
            raise UserError(f"the critic does not know the word {error}: it was made for another arena") from None

    def _known(self, word: str) -> int:
        index = self.vocabulary.get(word)
        return self._hashed(word) if index is None else index

    def _hashed(self, word: str) -> int:
        return self._first_bucket + key("critic", word) % self.buckets

    def predict(self, episodes: Sequence[Episode]) -> tuple[Reading, Tensor]:
        """Read episodes and return where the values are, and the values."""
        reading = self.read(episodes)
        return reading, self(reading)

    def read(self, episodes: Sequence[Episode]) -> Reading:
        """Lay out what this critic sees of each episode, and where the values are."""
        rows: list[list[int]] = []
        points: list[tuple[int, int, int, int, int, int]] = []
        for e, episode in enumerate(episodes):
            if self.scope != "own":
                pieces = _everything(episode, self.scope == "central")
                sequences = [(self._sequence(pieces, episode), range(len(self.agents)))]
            else:
                views = episode.log.views(self.agents)
                sequences = [
                    (self._sequence(((envelope, ()) for envelope in views[agent]), episode, agent), range(i, i + 1))
                    for i, agent in enumerate(self.agents)
                ]
            for (ids, at, within), agents in sequences:
                points += [(len(rows), at[slot], i, e, slot, 0) for slot in range(len(at)) for i in agents]
                points += [
                    (len(rows), column, i, e, slot, part)
                    for slot, columns in within.items()
                    for i in (self.agents.index(episode.turns[slot].agent),)
                    if i in agents
                    for part, column in enumerate(columns, 1)
                ]
                rows.append(ids)
        longest = max(map(len, rows))
        table = np.zeros((len(rows), longest), np.int64)
        for row, ids in zip(table, rows, strict=True):
            row[: len(ids)] = ids
        device = self.head.weight.device
        columns = torch.from_numpy(np.array(points, np.int64)).to(device).unbind(1)
        return Reading(torch.from_numpy(table).to(device), *columns)

    def _sequence(
        self, pieces: Iterator[tuple[Envelope, Sequence[Heard]]], episode: Episode, agent: str = ""
    ) -> tuple[list[int], list[int], dict[int, range]]:
        """Return token ids and, for each slot, the place of the last token before the decision; places within replies.

        An episode that did not terminate has one more slot, at its last token.

        In an agent's own view, its replies stand where it began to form them, which may be before what came meanwhile.
        """
        ids = list(self.encode(BOS))
        ends: list[tuple[int, int]] = []
        own: dict[int, int] = {}
        replies: dict[int, range] = {}
        for envelope, changed in pieces:
            mark = MARKS.get(envelope.kind)
            if mark is None:
                continue
            if envelope.sender == agent:
                own[envelope.seq] = len(ids) - 1
            who = envelope.to if envelope.kind is Kind.VIEW else envelope.sender if envelope.kind in TALK else ""
            who = "" if who == REFEREE else who  # nobody said it
            if envelope.kind is Kind.SAY and envelope.to not in (EVERYONE, NOBODY):
                who += f" {envelope.to}"
            ids += self.encode(f"{mark} {who}")
            ids += self.encode(envelope.body, envelope.kind in TALK)
            if self.inside and envelope.kind in REPLIES:
                replies[envelope.seq] = range(len(ids) - len(envelope.body.split()), len(ids))
            for to, _, body, sender in changed:
                ids += self.encode(f"{HEARD} {to} {sender}")
                ids += self.encode(body or "", True)
            ends.append((envelope.seq, len(ids) - 1))
        at = []
        latest = list(accumulate((seq for seq, _ in ends), max))
        for turn in episode.turns:
            place = own.get(turn.seq)
            at.append(_before(turn.seq, ends, latest) if place is None else place)
        if episode.stop is Stop.TERMINATED:  # nothing follows, so there is no value to be had and nothing more to read
            ids = ids[: max([max(at) + 1, *(words.stop for words in replies.values())])]
        else:
            at.append(len(ids) - 1)
        # A log that outgrows the context keeps its end; what is cut off is no longer seen. A decision among what is cut
        # off is valued at the first token, which tells nothing: any other would come after the decision.
        excess = max(len(ids) - self.context, 0)
        within = {
            slot: range(max(replies[turn.seq].start - excess, 0), max(replies[turn.seq].stop - excess, 0))
            for slot, turn in enumerate(episode.turns)
            if turn.seq in replies
        }
        if not excess:
            return ids, at, within
        return ids[:1] + ids[1 + excess :], [max(place - excess, 0) for place in at], within

    def forward(self, reading: Reading) -> Tensor:
        """Return the values [P] at the points of a reading."""
        values: Tensor = self.head(self.states(reading)).gather(-1, reading.agent[:, None]).squeeze(-1)
        return values

    def states(self, reading: Reading) -> Tensor:
        """Return the last hidden states [P, d] at the points of a reading."""
        ids = reading.ids
        at = torch.zeros_like(ids, dtype=torch.bool)
        at[reading.row, reading.column] = True
        place = at.flatten().cumsum(0).view_as(at)[reading.row, reading.column] - 1
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.autocast):
            return states_at(self.trunk, ids, at)[place].to(self.head.weight.dtype)


def _everything(episode: Episode, hidden: bool) -> Iterator[tuple[Envelope, Sequence[Heard]]]:
    """Yield every entry of the log, with what listeners heard where that differs from what was said.

    Without `hidden` what no agent sees is left out: the joint view.
    """
    for envelope, heard in episode.log.entries:
        if hidden or envelope.kind is not Kind.WORLD:
            yield envelope, [h for h in heard if h.body != envelope.body or h.sender] if heard else ()


def _before(seq: int, ends: Sequence[tuple[int, int]], latest: Sequence[int]) -> int:
    """Return the last token of what stands before all entries from `seq` on; `latest` is the newest one until each.

    In an agent's own view what came late may stand behind a reply of its own that is newer.
    """
    place = bisect_left(latest, seq)
    return ends[place - 1][1] if place else 0


def inside(reading: Reading, values: Tensor, episodes: int, slots: int) -> NDArray[np.float64]:
    """Return [episodes, slots, J]: values of those who decide after the first j words of replies; nan where none is."""
    part = reading.part.cpu().numpy()
    out = np.full((episodes, slots, int(part.max()) + 1), np.nan)
    out[reading.episode.cpu().numpy()[part > 0], reading.slot.cpu().numpy()[part > 0], part[part > 0]] = (
        values.detach().double().cpu().numpy()[part > 0]
    )
    return out


def table(reading: Reading, values: Tensor, episodes: int, slots: int, agents: int) -> NDArray[np.float64]:
    """Return values before decisions as [episodes, slots, agents], 0 where there is none."""
    out = np.zeros((episodes, slots, agents))
    before = (reading.part == 0).cpu().numpy()
    index = (reading.episode.cpu().numpy(), reading.slot.cpu().numpy(), reading.agent.cpu().numpy())
    out[tuple(each[before] for each in index)] = values.detach().double().cpu().numpy()[before]
    return out
