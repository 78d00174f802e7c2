"""Thoughts in a chat model's text, separated from its reply: <think> and other tags, marks and channels.

<think>I bluff.</think> m0            opened by the model
I bluff.</think> m0                   opened by the prompt
<think>I blu                          cut by max_tokens: all of it is thought
[THINK]I bluff.[/THINK]m0             Magistral; others write ◁think▷, <|START_THINKING|>, <|begin_of_thought|>
<|channel|>analysis<|message|>I bluff.<|end|><|start|>assistant<|channel|>final<|message|>m0      gpt-oss
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

NAME: Final = (
    r"(?:think(?:ing)?|thoughts?|thought[_-]?process|reason(?:ing)?|reflect(?:ion)?|scratch[_-]?pad|analysis|rationale"
    r"|(?:(?:inner|internal)[_-]?)?monologue|(?:inner|internal)[_-]?thoughts?|deliberation|chain[_-]of[_-]thought|cot)"
)
"""Names of tags around thought, in any case, also after a prefix such as `seed:`."""
LEFT, RIGHT = r"(?:<|&lt;)", r"(?:>|&gt;)"
THINK: Final = r"(?:think(?:ing)?|thought)"
OPENING: Final = re.compile(
    rf"{LEFT}\s*(?:[\w-]+:)?{NAME}(?:\s[^<>]*)?(?<!/){RIGHT}|\[{THINK}\]|◁{THINK}▷"
    rf"|<\|(?:{NAME}|(?:start|begin)_?(?:of_?)?{NAME})\|>|<\|channel>\s*{NAME}\b",
    re.IGNORECASE,
)
CLOSING: Final = re.compile(
    rf"{LEFT}\s*/\s*(?:[\w-]+:)?{NAME}\s*{RIGHT}|\[/{THINK}\]|◁/{THINK}▷"
    rf"|<\|(?:/{NAME}|end_?(?:of_?)?{NAME})\|>|<channel\|>",
    re.IGNORECASE,
)
MARK: Final = re.compile(f"(?P<opening>{OPENING.pattern})|(?P<closing>{CLOSING.pattern})", re.IGNORECASE)
BARE: Final = re.compile(
    r"<\w*:?think\s*/>|<\|/?(?:(?:begin|end|start)_?(?:of_?)?)?(?:solution|response|answer)\|>", re.IGNORECASE
)
"""Empty thoughts, and marks around the reply."""
REPLY: Final = r"answer|response|reply|final|final[_-]answer|output|solution"
WRAPPED: Final = re.compile(
    rf"{LEFT}\s*(?P<tag>{REPLY})\s*{RIGHT}(?P<text>.*?)(?:{LEFT}\s*/\s*(?P=tag)\s*{RIGHT}|\Z)",
    re.IGNORECASE | re.DOTALL,
)
"""Tags that models put around the reply after a thought."""
CHANNEL: Final = re.compile(
    r"\s*(?P<name>\w+).*?<\|message\|>(?P<text>.*?)(?:<\|(?:end|return|call|start)\|>|\Z)", re.DOTALL
)
PLAIN: Final = (
    re.compile(r"\A\s*analysis(?P<thought>.*?)assistantfinal(?P<text>.*)\Z", re.DOTALL),
    re.compile(
        r"\A\s*Here(?: i|['’])s my thought process:(?P<thought>.*?)(?:Here(?: i|['’])s my response:(?P<text>.*))?\Z",
        re.DOTALL,
    ),
)
"""Channels of gpt-oss where a server drops special tokens, and the sentences of Granite."""


class Split(NamedTuple):
    """A text without its thoughts, and these."""

    reply: str
    thought: str = ""
    prompted: bool = False
    """Whether a thought ended that had not begun: the prompt opened it."""


def split_thought(text: str) -> Split:
    """Separate the thoughts in a model's text from its reply."""
    if "<|channel|>" in text:
        return _channels(text)
    for form in PLAIN:
        if whole := form.match(text):
            return Split((whole["text"] or "").strip(), whole["thought"].strip())
    reply, thoughts, position = "", [""], 0
    inside = prompted = thinks = False
    for mark in MARK.finditer(text):
        before, position, thinks = text[position : mark.start()], mark.end(), True
        if inside:
            thoughts[-1] += before
        else:
            reply += before
        if mark["opening"]:
            thoughts.append("")
        elif not inside:  # this thought began in the prompt: all before is thought
            thoughts.append(reply)
            reply, prompted = "", True
        inside = bool(mark["opening"])
    if inside:
        thoughts[-1] += text[position:]
    else:
        reply += text[position:]
    bare = BARE.sub("", reply)
    if not thinks and bare == reply:
        return Split(text)
    reply = bare.strip()
    if wrapped := WRAPPED.search(reply):
        reply = wrapped["text"].strip()
    return Split(reply, "\n".join(filter(None, map(str.strip, thoughts))), prompted)


def _channels(text: str) -> Split:
    """Split a text in the format of gpt-oss: the channel `final` is the reply, the others are thought."""
    replies: list[str] = []
    thoughts: list[str] = []
    head, *rest = text.split("<|channel|>")
    if cut := head.partition("<|")[0].strip():  # the prompt began the first message
        thoughts.append(cut)
    for channel in rest:
        parsed = CHANNEL.match(channel)
        said = parsed["text"].strip() if parsed else ""
        (replies if parsed and parsed["name"] == "final" else thoughts).append(said)
    return Split("\n".join(replies), "\n".join(filter(None, thoughts)))
