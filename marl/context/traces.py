"""Traces: the token ids an agent saw and sampled, rebuilt from a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from marl.context.transcript import Open, Transcript
from marl.episode import Episode, Trace
from protocols.envelope import Envelope


def trace(episode: Episode, agent: str, begin: Open) -> Trace:
    """Rebuild from the log the ids an agent's policy saw and drew: the same as its live transcript.

    Of one that began anew, as one with a memory does, it is the last part.
    """
    return traces(episode, (agent,), begin)[-1]


def traces(episode: Episode, agents: Sequence[str], begin: Open) -> list[Trace]:
    """Rebuild the traces of several agents; the log is read once for all of them. One that began anew has several."""
    from marl.context import memory

    tokens = {turn.seq: (i, turn.sample.tokens) for i, turn in enumerate(episode.turns)}
    views = episode.log.views(agents)
    found: list[Trace] = []
    for agent in agents:
        transcript = memory.remembering(begin, memory.of(episode.log.scenario, agent))
        found += _traces(agent, views[agent], tokens, transcript)
    return found


def _traces(
    agent: str, view: Sequence[Envelope], own: Mapping[int, tuple[int, Sequence[int]]], transcript: Transcript
) -> list[Trace]:
    spans: list[tuple[int, int, int]] = []
    found: list[Trace] = []
    for envelope in view:
        if envelope.sender != agent:
            transcript.hear(envelope)
            continue
        before = transcript.ids
        transcript.ask()
        if transcript.ids is not before:
            found += _part(agent, before, spans)
            spans = []
        index, tokens = own[envelope.seq]
        length = len(transcript.ids)
        if tokens:
            transcript.replied(tokens)
            spans.append((length, length + len(tokens), index))
        else:  # a reply that missed its deadline leaves nothing behind
            transcript.take_back(length)
    return [*found, *(_part(agent, transcript.ids, spans) or [Trace(agent, (), ())])]


def _part(agent: str, ids: Sequence[int], spans: Sequence[tuple[int, int, int]]) -> list[Trace]:
    return [Trace(agent, tuple(ids[: spans[-1][1]]), tuple(spans))] if spans else []
