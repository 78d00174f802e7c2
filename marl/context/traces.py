"""Traces: the token ids that an agent read and sampled, rebuilt from a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from marl.context.transcript import Open, Transcript
from marl.episode import Episode, Trace
from protocols.envelope import Envelope


def trace(episode: Episode, agent: str, begin: Open) -> Trace:
    """Rebuild the ids of an agent's live transcript from the log.

    If the transcript restarted, as with a memory, this is the part after the last restart.
    """
    return traces(episode, (agent,), begin)[-1]


def traces(episode: Episode, agents: Sequence[str], begin: Open) -> list[Trace]:
    """Rebuild the traces of several agents in one pass over the log; a transcript that restarted has several."""
    from marl.context import memory

    tokens = {turn.seq: (i, turn.sample.tokens) for i, turn in enumerate(episode.turns)}
    views = episode.log.views(agents)
    rebuilt: list[Trace] = []
    for agent in agents:
        transcript = memory.remembering(begin, memory.of(episode.log.scenario, agent))
        rebuilt += _traces(agent, views[agent], tokens, transcript)
    return rebuilt


def _traces(
    agent: str, view: Sequence[Envelope], own: Mapping[int, tuple[int, Sequence[int]]], transcript: Transcript
) -> list[Trace]:
    spans: list[tuple[int, int, int]] = []
    parts: list[Trace] = []
    for envelope in view:
        if envelope.sender != agent:
            transcript.hear(envelope)
            continue
        before, restarts = transcript.ids, transcript.restarts
        transcript.ask()
        if transcript.restarts != restarts:
            parts += _part(agent, before, spans)
            spans = []
        index, tokens = own[envelope.seq]
        length = len(transcript.ids)
        if tokens:
            transcript.replied(tokens)
            spans.append((length, length + len(tokens), index))
        else:  # the reply missed its deadline
            transcript.take_back(length)
    return [*parts, *(_part(agent, transcript.ids, spans) or [Trace(agent, (), ())])]


def _part(agent: str, ids: Sequence[int], spans: Sequence[tuple[int, int, int]]) -> list[Trace]:
    return [Trace(agent, tuple(ids[: spans[-1][1]]), tuple(spans))] if spans else []
