"""LogReader: episode logs as token sequences, with the points where a critic's values are read.

Scope decides what is read: `central` the whole log, including the hidden state and undelivered messages; `joint` the
log without the hidden state, which is all that the agents together were shown and said; `own` each agent's view alone
(as little as the actor sees: IPPO). A decision's value is read at the last token before the reply.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np
import torch

from marl.context.transcript import BOS, PAD, Encode
from marl.critic.reading import Reading
from marl.critic.vocabulary import HEARD, MARKS
from marl.episode import Episode, Stop
from marl.errors import UserError
from protocols.envelope import EVERYONE, NOBODY, REFEREE, Envelope, Kind
from protocols.log import REPLIES, Heard

Scope = Literal["central", "joint", "own"]
TALK = (*REPLIES, Kind.RESULT)
"""Kinds of envelopes whose body an agent, or a tool, wrote."""
Point = tuple[int, int, int, int, int, int]
"""row, column, agent, episode, slot, part: the columns of `Reading`."""


class Sequenced(NamedTuple):
    """One log, or one agent's view of it, as tokens."""

    ids: list[int]
    decisions: list[int]
    """For each slot, the column of the last token before the decision."""
    replies: dict[int, range]
    """Slot -> the columns of the reply's words, where values inside replies are wanted."""


class LogReader:
    """Turns logs into tokens.

    Args:
        agents: whose values there are, in this order.
        encode: (text, said) -> token ids; `said` marks text that an agent wrote.
        scope: what is read.
        context: the most tokens of a sequence; a longer log keeps its end.
        inside: also read values within replies.
    """

    def __init__(
        self, agents: Sequence[str], encode: Encode, *, scope: Scope, context: int, inside: bool = False
    ) -> None:
        self.agents = tuple(agents)
        self.encode: Encode = lru_cache(maxsize=1 << 16)(encode)
        self.scope: Scope = scope
        self.context = context
        self.inside = inside

    def read(self, episodes: Sequence[Episode], device: torch.device) -> Reading:
        """Lay out what the scope shows of each episode, and the points where values are read."""
        rows: list[list[int]] = []
        points: list[Point] = []
        for e, episode in enumerate(episodes):
            for sequence, agents in self._sequences(episode):
                points += self._points(sequence, agents, episode, len(rows), e)
                rows.append(sequence.ids)
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), np.int64)
        for padded, own in zip(ids, rows, strict=True):
            padded[: len(own)] = own
        columns = torch.from_numpy(np.array(points, np.int64)).to(device).unbind(1)
        return Reading(torch.from_numpy(ids).to(device), *columns)

    def _sequences(self, episode: Episode) -> Iterator[tuple[Sequenced, range]]:
        """Yield the sequences that are read of an episode, and which agents' values are read in each."""
        if self.scope != "own":
            pieces = _whole_log(episode, self.scope == "central")
            yield self._sequence(pieces, episode), range(len(self.agents))
            return
        views = episode.log.views(self.agents)
        for i, agent in enumerate(self.agents):
            yield self._sequence(((envelope, ()) for envelope in views[agent]), episode, agent), range(i, i + 1)

    def _points(self, sequence: Sequenced, agents: range, episode: Episode, row: int, e: int) -> Iterator[Point]:
        """Yield the points of a sequence: before each decision, then within replies of these agents."""
        for slot, column in enumerate(sequence.decisions):
            for i in agents:
                yield row, column, i, e, slot, 0
        for slot, columns in sequence.replies.items():
            i = self.agents.index(episode.turns[slot].agent)
            if i in agents:
                for part, column in enumerate(columns, 1):
                    yield row, column, i, e, slot, part

    def _sequence(
        self, pieces: Iterable[tuple[Envelope, Sequence[Heard]]], episode: Episode, agent: str = ""
    ) -> Sequenced:
        """Encode the envelopes of a log, or of one agent's view of it.

        An episode that did not terminate has one more slot, at its last token. In an agent's own view, its replies
        stand where it began to form them, which may be before what came meanwhile.
        """
        ids = list(self.encode(BOS))
        ends: list[tuple[int, int]] = []  # (seq of an entry, column of its last token)
        own: dict[int, int] = {}  # seq of an own reply -> column before it
        replies: dict[int, range] = {}  # seq of a reply -> columns of its words
        most_words = {t.seq: max(len(t.spec.steps), len(t.sample.tokens)) for t in episode.turns if not t.legal}
        for envelope, changed in pieces:
            if envelope.kind not in MARKS:
                continue
            if envelope.sender == agent:
                own[envelope.seq] = len(ids) - 1
            ids += self.encode(_heading(envelope))
            text = envelope.body
            if envelope.kind in REPLIES and not envelope.data.get("legal", True):
                text = _cut_to(text, most_words.get(envelope.seq, 0))
                ids += self._encode_illegal(text)
            else:
                ids += self.encode(text, envelope.kind in TALK)
            if self.inside and envelope.kind in REPLIES:
                replies[envelope.seq] = range(len(ids) - len(text.split()), len(ids))
            for to, _, body, sender in changed:
                ids += self.encode(f"{HEARD} {to} {sender}")
                ids += self.encode(body or "", True)
            ends.append((envelope.seq, len(ids) - 1))
        decisions = []
        latest = list(accumulate((seq for seq, _ in ends), max))
        for turn in episode.turns:
            column = own.get(turn.seq)
            decisions.append(_before(turn.seq, ends, latest) if column is None else column)
        if episode.stop is Stop.TERMINATED:  # nothing follows: no value to read, and no later token either
            ids = ids[: max([max(decisions) + 1, *(words.stop for words in replies.values())])]
        else:
            decisions.append(len(ids) - 1)
        within = {slot: replies[turn.seq] for slot, turn in enumerate(episode.turns) if turn.seq in replies}
        return self._cut(ids, decisions, within)

    def _encode_illegal(self, text: str) -> list[int]:
        """Return the ids of an illegal reply, whose unknown words stand for nothing."""
        try:
            return list(self.encode(text, True))
        except UserError:
            pass
        ids: list[int] = []
        for word in text.split():
            try:
                ids += self.encode(word, True)
            except UserError:
                ids += self.encode(PAD)
        return ids

    def _cut(self, ids: list[int], decisions: list[int], replies: dict[int, range]) -> Sequenced:
        """Drop the oldest tokens of a log that outgrows the context, all but the first.

        A decision among the dropped ones is valued at the first token, which tells nothing: any other token would come
        after the decision.
        """
        excess = max(len(ids) - self.context, 0)
        if not excess:
            return Sequenced(ids, decisions, replies)
        moved = {slot: range(max(r.start - excess, 0), max(r.stop - excess, 0)) for slot, r in replies.items()}
        return Sequenced(ids[:1] + ids[1 + excess :], [max(column - excess, 0) for column in decisions], moved)


def _cut_to(body: str, words: int) -> str:
    """Return the beginning of an illegal reply: it may be long, and would push the rest of the log out of the context.

    No more than the words that its spec has places for, or that it has tokens.
    """
    return " ".join(body.split(maxsplit=words)[:words])


def _heading(envelope: Envelope) -> str:
    """Return the words before an envelope's body: its mark, and who was shown or who says it to whom."""
    who = envelope.to if envelope.kind is Kind.VIEW else envelope.sender if envelope.kind in TALK else ""
    who = "" if who == REFEREE else who  # an injected message
    if envelope.kind is Kind.SAY and envelope.to not in (EVERYONE, NOBODY):
        who += f" {envelope.to}"
    return f"{MARKS[envelope.kind]} {who}"


def _whole_log(episode: Episode, hidden: bool) -> Iterator[tuple[Envelope, Sequence[Heard]]]:
    """Yield every entry of the log, with what listeners heard where that differs from what was said.

    Without `hidden` the entries that no agent sees are left out: the joint view.
    """
    for envelope, heard in episode.log.entries:
        if hidden or envelope.kind is not Kind.WORLD:
            yield envelope, [h for h in heard if h.body != envelope.body or h.sender] if heard else ()


def _before(seq: int, ends: Sequence[tuple[int, int]], latest: Sequence[int]) -> int:
    """Return the column of the last token before all entries from `seq` on; `latest` is the running maximum of seq.

    In an agent's own view, an entry that came late may stand after a newer reply of the agent.
    """
    index = bisect_left(latest, seq)
    return ends[index - 1][1] if index else 0
