"""Lexicon: the learned code (meaning -> messages), read from logs.

The *meaning* of a message is what its speaker was shown when it spoke, that is its private information: measured
against what everyone sees, a code would seem to say what nobody needed to be told. Words that are the same in every
view ("object", "target") carry nothing and are left out where meanings are taken apart into attributes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from marl.evaluation import log_lines
from protocols.envelope import REFEREE, Kind
from protocols.log import REPLIES, Log

Words = tuple[str, ...]
LONGEST_NUMBER = 4000
"""Digits of a number by which names are sorted; Python converts no more than 4300."""


class Utterance(NamedTuple):
    """A message in its episode. `place` is the number of earlier messages of this speaker."""

    log: Log
    seq: int
    speaker: str
    place: int
    meaning: str
    message: Words
    answers: dict[str, str]
    """Listener -> its first reply after it heard the message."""


class CodeRow(NamedTuple):
    """A meaning with its messages, their answers, and the mean score of those episodes."""

    meaning: str
    messages: Counter[Words]
    answers: Counter[str]
    score: float


def answering(log: Log, seq: int) -> dict[str, int]:
    """Return, for each listener of message `seq`, the number of its first reply afterwards."""
    return _answering(log).get(seq, {})


def _answering(log: Log) -> dict[int, dict[str, int]]:
    """Return `answering` for every answered message, by its index in the log."""
    answers: dict[int, dict[str, int]] = {}
    for listener, view in log.views(log.seats).items():
        waiting: list[int] = []
        replies = 0
        for envelope in view:
            if envelope.kind not in REPLIES:
                continue
            if envelope.sender != listener:
                waiting.append(envelope.seq)
                continue
            for seq in waiting:
                answers.setdefault(seq, {})[listener] = replies
            waiting = []
            replies += 1
    return answers


def reply(log: Log, agent: str, number: int) -> str | None:
    """Return reply `number` of an agent, None if it gave fewer."""
    replies = [envelope.body for envelope in log.replies(agent)]
    return replies[number] if number < len(replies) else None


def utterances(logs: Iterable[Log]) -> list[Utterance]:
    """Return every message that was sent, in order."""
    sent = []
    for log in logs:
        said: Counter[str] = Counter()
        numbers = _answering(log)
        replies = {seat: [envelope.body for envelope in log.replies(seat)] for seat in log.seats}
        for seq, (envelope, _) in enumerate(log.entries):
            if envelope.kind is not Kind.SAY or envelope.sender == REFEREE:
                continue  # no message, or an injected one
            if envelope.data.get("missing") or not envelope.data.get("legal", True):
                continue
            answers = {a: replies[a][n] for a, n in numbers.get(seq, {}).items()}
            meaning = log_lines.shown(log, envelope)
            message = tuple(envelope.body.split())
            sent.append(Utterance(log, seq, envelope.sender, said[envelope.sender], meaning, message, answers))
            said[envelope.sender] += 1
    return sent


def by_speaker(utterances: Sequence[Utterance]) -> dict[tuple[str, int], list[Utterance]]:
    """Group utterances by speaker and place: first and second messages of an episode may follow different codes."""
    groups: dict[tuple[str, int], list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault((utterance.speaker, utterance.place), []).append(utterance)
    return groups


def natural(text: str) -> list[tuple[int, str | int]]:
    """Return the natural sort key, by which s10 comes after s9."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part[:LONGEST_NUMBER])) if part.isdecimal() else (0, part) for part in parts]


def rows(utterances: Sequence[Utterance]) -> list[CodeRow]:
    """Return the code as a table, a row for each meaning."""
    groups: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault(utterance.meaning, []).append(utterance)
    return [
        CodeRow(
            meaning,
            Counter(u.message for u in group),
            Counter(answer for u in group for answer in u.answers.values()),
            sum(log_lines.score(u.log) for u in group) / len(group),
        )
        for meaning, group in sorted(groups.items(), key=lambda item: natural(item[0]))
    ]


def attributes(meanings: Sequence[str]) -> list[Words]:
    """Split meanings into attributes (words that vary); meanings of different length are one attribute."""
    split = [tuple(meaning.split()) for meaning in meanings]
    if len({len(words) for words in split}) != 1:
        return [(meaning,) for meaning in meanings]
    varying = [j for j in range(len(split[0])) if len({words[j] for words in split}) > 1]
    return [tuple(words[j] for j in varying) for words in split]
