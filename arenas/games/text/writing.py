"""Joint writing: two writers, a summary and a longer version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import product
from statistics import fmean
from typing import ClassVar, Final

import numpy as np
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Script
from arenas.spec import Words, fill

WRITERS: Final = ("summary_0", "story_0")
STEPS: Final = (0.5, 1.0, 0.5, 1.0)
WORDS: Final = (8, 256)
LONGER: Final = (1.1, 1.6, 3.2, 5.0)
RICHER: Final = (1.3, 2.0)
COMMON: Final = 0.03
TRANSITIONS: Final[tuple[Words, ...]] = (
    ("moreover", "furthermore", "besides", "in addition"),
    ("for example", "for instance", "such as", "especially"),
    ("in fact", "in other words", "actually", "basically"),
    ("therefore", "thus", "hence", "as a result"),
    ("however", "although", "on the other hand", "instead"),
    ("first", "next", "finally", "to begin with"),
    ("certainly", "indeed", "of course", "surely"),
    ("in short", "overall", "to conclude", "in summary"),
    ("similarly", "likewise", "just like", "equally"),
    ("even though", "despite", "nevertheless", "whereas"),
    ("unless", "as long as", "provided that", "otherwise"),
    ("meanwhile", "eventually", "before", "afterward"),
)
"""Kinds of transitions: elaboration, example, explanation, cause, contrast, sequence, emphasis, summary, comparison,
concession, condition, time."""
SHORT: Final = ("post", "therefore")
"""Vocabulary of models that know no other words."""
PLACES: Final = 12
TASKS: Final = (
    "write a summary of this in one short sentence",
    "tell this again in a longer version with more details",
)
WHO: Final = ("my brother", "my neighbour", "my boss", "my oldest friend")
WHAT: Final = (
    "borrowed my car and brought it back with a broken mirror",
    "plays loud music every night until two in the morning",
    "asked me to lend a large sum of money again",
    "promised to come to my party and never showed up",
)
AFTER: Final = (
    "and now says that it was my own fault",
    "and has not said a word about it since",
    "and wants me to keep it a secret",
    "and laughed when i said that it hurt me",
)
ASKS: Final = ("what should i do", "am i wrong to be angry", "how do i bring it up", "should i just let it go")
POSTS: Final = tuple(f"{who} {what} {after} . {asks} ?" for who, what, after, asks in product(WHO, WHAT, AFTER, ASKS))


def words(text: str) -> list[str]:
    """Return the lower-case words of a text, without punctuation."""
    return re.findall(r"\b\w+\b", text.lower())


PLAIN: Final = frozenset(
    words(
        "a an and are as at be but by for from had has have he her his i if in is it its me my not of on or our she so "
        "that the their them they this to was we were what when which who will with you your"
    )
)
"""Stop words: they do not count as words in common."""


def rise(value: float, low: float, high: float) -> float:
    """Return a linear ramp: 0 up to `low`, 1 from `high` on."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


def style(short: str, long: str) -> float:
    """Return the style score: up to 0.4 for transitions in the long text, and 0.6 for words in common."""
    kinds = sum(any(phrase in long.lower() for phrase in kind) for kind in TRANSITIONS)
    some, others = ({word for word in words(text) if word not in PLAIN} for text in (short, long))
    shared = len(some & others) / len(some | others) if some | others else 1.0
    return 0.4 * (0.4 + 0.05 * (kinds - 1) if kinds else 0.0) + 0.6 * min(shared / COMMON, 1.0)


def reward(short: str, long: str) -> float:
    """Return the reward of a summary and its longer version, 0 to 2.98, in four steps, each opening the next.

    +0.5    both have 8 to 256 words
    +1.0    the long one has 1.6 to 3.2 times the characters; less on the way to 1.1 and 5.0, where it is 0
    +0.5    it has twice as many different words; less on the way to 1.3, where it is 0
    +1.0    style: 0.6 for words in common (a Jaccard index of 0.03 is enough) and up to 0.4 for transitions, 0.16 for
            one kind and 0.02 for each other kind; there are 12, so 0.38 can be had and 2.98 in all

    (The reward of CoMLRL's TL;DR task, Liu et al. 2025; its lists of words are longer, and its posts people's.)
    """
    if not all(WORDS[0] <= len(text.split()) <= WORDS[1] for text in (short, long)):
        return 0.0
    total = STEPS[0]
    ratio = len(long) / len(short)
    if not LONGER[0] <= ratio <= LONGER[3]:
        return total
    total += STEPS[1] * min(rise(ratio, *LONGER[:2]), 1 - rise(ratio, *LONGER[2:]))
    richer = len(set(words(long))) / max(len(set(words(short))), 1)
    if richer < RICHER[0]:
        return total
    return total + STEPS[2] * rise(richer, *RICHER) + STEPS[3] * style(short, long)


class Writing(Arena):
    """Joint writing of texts of at most `characters`, of two words for small models; a case is a post."""

    rules = """
    Writing in pairs: both writers read a post; at once one writes a summary, the other a longer version of it.

    They never see each other's text, and are paid together for how the two fit: in length, in words, and in style.

    A case is a post. Texts have at most `characters`; models that know few words write with two of them.
    """
    metadata = Arena.metadata | {"name": "writing_v0", "is_parallelizable": True}
    tags = ("cooperative",)
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"characters": (300, 2000)}

    def __init__(self, characters: int = 600) -> None:
        if not 300 <= characters <= 10_000:
            raise ArenaError(f"writing needs 300 to 10000 characters for a text, not {characters=}")
        self.cases = len(POSTS)
        text = fill(*(SHORT,) * PLACES, least=WORDS[0], free=characters)
        shown = dict.fromkeys(word for line in (*POSTS, *TASKS) for word in line.split())
        super().__init__(dict.fromkeys(WRITERS, text), words=tuple(shown), view_words=48)

    @override
    def lay(self, case: int) -> None:
        self.post = POSTS[case]

    @override
    def acting(self) -> tuple[str, ...]:
        return WRITERS

    @override
    def view(self, agent: str) -> str:
        # The post, and the task.
        return f"{self.post} {TASKS[WRITERS.index(agent)]}"

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        short, long = (" ".join(replies[writer]) for writer in WRITERS)
        return Outcome(dict.fromkeys(WRITERS, reward(short, long)), done=True)

    @override
    def hidden(self) -> str:
        return self.post

    @override
    def anchors(self) -> Anchors:
        # Random texts of the two words (a mean over 2,000); nobody talks, and lengths can be settled in training.
        best = sum(STEPS) - 0.4 + 0.4 * (0.4 + 0.05 * (len(TRANSITIONS) - 1))
        return Anchors(random_mean(), best, best)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # A summary of twelve words, and sixteen that contain them and a transition of each kind.
        return {name: lambda memory: written(memory.agent) for name in ("full", "silent")}


def written(agent: str) -> Words:
    """Return a pair of texts with the maximum reward."""
    short = tuple(words("this post is about a thing that happened between two old friends"))
    long = " ".join(phrase for phrase, *_ in TRANSITIONS)
    return short if agent == WRITERS[0] else (*short, *long.split())


@cache
def random_mean() -> float:
    """Estimate the mean reward of random replies from 2,000 pairs."""
    rng, spec = np.random.default_rng(0), Writing().replies[WRITERS[0]][0]
    texts = (" ".join(spec.words(int(number))) for number in rng.integers(spec.size, size=4000))
    return fmean(reward(short, long) for short, long in zip(texts, texts, strict=False))
