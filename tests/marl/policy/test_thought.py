"""Thoughts in tags, marks and channels never become replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl.policy.thought import split_thought

TAGS = [
    ("<think>", "</think>"),
    ("<Think>", "</THINK>"),
    ("<thinking>", "</thinking>"),
    ('<thinking effort="high">', "</thinking>"),
    ("< think >", "< / think >"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<thought_process>", "</thought_process>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<analysis>", "</analysis>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ("<inner-thoughts>", "</inner-thoughts>"),
    ("<seed:think>", "</seed:think>"),
    ("<x:thinking>", "</x:thinking>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|think|>", "<|/think|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
]


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_a_thought_in_tags_is_no_reply(opening: str, closing: str) -> None:
    assert split_thought(f"{opening}\nI bluff.\n{closing}\n\nm0")[:2] == ("m0", "I bluff.")
    assert split_thought(f"I bluff.\n{closing}\n\nm0") == ("m0", "I bluff.", True)
    assert split_thought(f"{opening}I blu")[:2] == ("", "I blu")
    assert split_thought(f"{opening}{closing}m0")[:2] == ("m0", "")
    assert split_thought(f"{opening}a{closing}m0 {opening}b{closing}m1")[:2] == ("m0 m1", "a\nb")
    assert split_thought(f"{opening}a {opening}b{closing} c{closing}m0")[0] == "m0"
    assert split_thought(f"m0 {opening}was that right? I thi")[:2] == ("m0", "was that right? I thi")


@pytest.mark.parametrize(
    ("text", "reply", "thought"),
    [
        ("<think>t</think><answer>m0</answer>", "m0", "t"),
        ("<think>t</think>\n<answer>\nm0", "m0", "t"),
        ("<|begin_of_thought|>t<|end_of_thought|><|begin_of_solution|>m0<|end_of_solution|>", "m0", "t"),
        ("<|START_THINKING|>t<|END_THINKING|><|START_RESPONSE|>m0<|END_RESPONSE|>", "m0", "t"),
        (
            "<|channel|>analysis<|message|>t<|end|><|start|>assistant<|channel|>final<|message|>m0<|return|>",
            "m0",
            "t",
        ),
        ("<|channel|>analysis<|message|>t", "", "t"),
        ("<|channel|>final <|constrain|>json<|message|>m0", "m0", ""),
        ("analysist, said I. assistantfinalm0", "m0", "t, said I."),
        ("Here is my thought process: t\nHere is my response: m0", "m0", "t"),
        ("Here's my thought process: t", "", "t"),
        ("<think/>m0", "m0", ""),
    ],
)
def test_formats_of_model_families(text: str, reply: str, thought: str) -> None:
    assert split_thought(text)[:2] == (reply, thought)


@pytest.mark.parametrize(
    "text", ["m0", "", "I think m0 < m1 > m2", "[deal] i want the books", "a <b>bold</b> offer", "analysis of m0", "{}"]
)
def test_a_text_without_thought_stays_as_it_is(text: str) -> None:
    assert split_thought(text) == (text, "", False)


@given(st.lists(st.sampled_from([mark for pair in TAGS for mark in pair] + ["a", " ", "\n", "<", "|", "m0"])))
def test_no_mark_stays_in_a_reply(parts: list[str]) -> None:
    reply = split_thought("".join(parts)).reply
    assert not [mark for pair in TAGS for mark in pair if mark in reply]
