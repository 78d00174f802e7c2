from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols import topics
from protocols.errors import ProtocolError

NAMES = st.from_regex(r"[A-Za-z0-9_.:\-]+", fullmatch=True)
LEVELS = st.sampled_from(["a", "b", "ab", ""])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
PATTERNS = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(LEVELS | st.just("+"), max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)


@given(NAMES, NAMES, NAMES)
def test_parse_takes_apart_what_was_built(run: str, episode: str, agent: str) -> None:
    assert topics.parse(topics.to(run, episode, agent)) == (run, episode, "to", agent)
    assert topics.parse(topics.sent_by(run, episode, agent)) == (run, episode, "from", agent)


@given(NAMES, NAMES, NAMES)
def test_anyone_is_a_pattern_for_one_episode(run: str, episode: str, agent: str) -> None:
    anyone = topics.sent_by(run, episode)
    assert topics.matches(anyone, topics.sent_by(run, episode, agent))
    assert not topics.matches(anyone, topics.to(run, episode, agent))
    assert not topics.matches(anyone, topics.sent_by(run, episode + "x", agent))


@given(NAMES)
def test_a_name_comes_back(text: str) -> None:
    assert topics.name(text) == text


@pytest.mark.parametrize("text", ["", "a/b", "+", "#", "a+", "a b", "a\n", "\n", "naïve", "a\x00", "$share,"])
def test_names_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"cannot be a name: use letters, digits and _ \. : -"):
        topics.name(text)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "sabir",
        "sabir/r/e/to",
        "sabir/r/e/to/a/b",
        "other/r/e/to/a",
        "sabir/r/e/by/a",
        "sabir/r/e/to/+",
        "sabir//e/to/a",
        "sabir/r/e/to/",
        "sabir/r/e/to/a\n",
    ],
)
def test_topics_refused(topic: str) -> None:
    with pytest.raises(ProtocolError):
        topics.parse(topic)


@given(st.text(alphabet="sabir/to+#-", max_size=30))
def test_parse_raises_nothing_else(text: str) -> None:
    try:
        parts = topics.parse(text)
    except ProtocolError:
        return
    assert text == f"sabir/{parts.run}/{parts.episode}/{parts.direction}/{parts.agent}"


@pytest.mark.parametrize("text", ["", "#/a", "a/#/b", "a#", "a/b+", "++", "a/+b/c"])
def test_patterns_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        topics.pattern(text)


@pytest.mark.parametrize("text", ["", "+", "a/#", "a/b+"])
def test_wildcards_are_not_published_to(text: str) -> None:
    with pytest.raises(ProtocolError, match="cannot publish"):
        topics.concrete(text)


def brute_force(pattern: str, topic: str) -> bool:
    """The same question, asked of a regular expression."""
    expression = re.sub(r"(^|/)#$", lambda m: "(/.*)?" if m[1] else ".*", pattern.replace("+", "[^/]*"))
    return re.fullmatch(expression, topic) is not None


@given(PATTERNS, TOPICS)
@example("#", "a/b")
@example("a/#", "a")
@example("a/#", "ab")
@example("+", "a/b")
@example("+/+", "/")
@example("/#", "/a")
@example("a/+/#", "a/b")
def test_matches_against_brute_force(pattern: str, topic: str) -> None:
    assert topics.pattern(pattern) == pattern
    assert topics.concrete(topic) == topic
    assert topics.matches(pattern, topic) == brute_force(pattern, topic)
