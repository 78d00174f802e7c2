"""Responses of OpenAI-compatible endpoints: replies, thoughts, usage, and failures, also those of status 200."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from time import time as wall_time
from typing import Any, Final, NamedTuple

from marl.policy.thought import split_thought

MAX_USAGE: Final = 10**9
"""Tokens that a response may say it used."""
MAX_THOUGHT: Final = 1 << 16
"""Characters of a thought that are kept."""
THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message in which servers put a thought."""
PERMANENT: Final = frozenset({501, 505, 506, 510, 511})
"""HTTP statuses from 500 on that a retry does not help."""
TEMPORARY: Final = frozenset({408, 409, 425, 429, 498})
"""HTTP statuses below 500 that are retried."""
NAMED_STATUSES: Final = {
    r"rate.?limit|too.?many|exhausted|quota|throttl": 429,
    r"overload|unavailable|busy|capacity": 503,
    r"time.?out|deadline": 504,
    r"api.?key|authenti|unauthori[sz]ed|permission|forbidden": 401,
    r"invalid|not.?found|unsupported|bad.?request": 400,
}
"""Names that stand in errors in place of a status."""


class RetryError(Exception):
    """A request failed and may be retried, after so many seconds if the endpoint said; `Endpoint.ask` catches it."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class ChatReply(NamedTuple):
    """A model's reply, without its thought."""

    text: str
    thought: str
    prompt: int
    completion: int
    cut: bool
    """Whether max_tokens ended it."""
    prompted: bool
    """Whether the server's prompt opened its thought."""


class Failure(NamedTuple):
    """A response that is not a reply: its HTTP status, or the one named in it (0 for none), and its error message."""

    status: int
    message: str

    @property
    def retried(self) -> bool:
        """Whether a retry may help."""
        return (
            self.status == 0 or self.status in TEMPORARY or (500 <= self.status < 600 and self.status not in PERMANENT)
        )

    @property
    def reason(self) -> str:
        """Status and message in one line."""
        return f"{self.status or ''} {self.message}".strip()


def parse_json(response: Any) -> Any:
    """Parse the body of a response; raises RetryError if it is not JSON."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise RetryError("returned an invalid response (not JSON): is it an OpenAI-compatible server?") from None


def read_chat(response: Any, thinks: bool = False) -> ChatReply:
    """Return the reply in a response; raises RetryError for an invalid one.

    `thinks`: the server's prompt opens a thought, so that a text that was cut before the thought's end is one.
    """
    answer = parse_json(response)
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        used = answer.get("usage") or {}
        prompt, completion = (int(used.get(f"{name}_tokens") or 0) for name in ("prompt", "completion"))
        failed = answer.get("error") or choice.get("error") or choice.get("finish_reason") == "error"
        failed = failed or not message.keys() & {"content", "tool_calls", "refusal", *THOUGHTS}
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        failed = True
    if failed:
        raise RetryError("returned an invalid response (no choices with a message): is it an OpenAI-compatible server?")
    if not (0 <= prompt <= MAX_USAGE and 0 <= completion <= MAX_USAGE):
        raise RetryError(f"returned an invalid response (a usage outside 0 to {MAX_USAGE} tokens)")
    text, thought = _parts(message.get("content"))
    fields = (message.get(name) for name in THOUGHTS)
    thought = next((field for field in fields if field and isinstance(field, str)), thought)
    split = split_thought(text)
    cut = str(choice.get("finish_reason")).lower() in ("length", "max_tokens", "max_output_tokens")
    if thinks and cut and not split.thought and not thought:
        split = split._replace(reply="", thought=split.reply)
    text = split.reply if split.reply.strip() else _tool_call(message)
    thought = "\n".join(filter(None, [thought.strip(), split.thought]))[:MAX_THOUGHT]
    return ChatReply(_utf8(text), _utf8(thought), prompt, completion, cut, split.prompted)


def _parts(content: Any) -> tuple[str, str]:
    """Return the text and the thought of a content: a text, or a list of parts; raises RetryError for any other."""
    if content is None or isinstance(content, str):
        return content or "", ""
    parts = [content] if isinstance(content, Mapping) else content
    if not isinstance(parts, list):
        raise RetryError("returned an invalid response (the message is not a text)")
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        kind = str(part.get("type", "text")) if isinstance(part, Mapping) else "text"
        value = part
        if isinstance(part, Mapping):
            value = next((part[name] for name in ("text", kind, "content", "refusal") if part.get(name)), "")
        if isinstance(value, list | Mapping):
            value = "\n".join(_parts(value))
        if isinstance(value, str) and (value or kind.endswith("text")):
            (thoughts if re.search("think|reason|thought", kind) else texts).append(value)
    if parts and not (texts or thoughts):
        raise RetryError("returned an invalid response (the message has no part that is a text)")
    return "\n".join(texts), "\n".join(thoughts)


def _tool_call(message: Mapping[str, Any]) -> str:
    """Return the call in the field `tool_calls` of a message as a line, the tool's name and then its arguments."""
    try:
        function = message["tool_calls"][0]["function"]
        return f"{function['name']} {function.get('arguments') or ''}".strip()
    except (LookupError, TypeError, AttributeError):
        return ""


def failure_of(response: Any) -> Failure:
    """Return the failure that a response of another status than 200 states."""
    try:
        message = _message(response.json())
    except (ValueError, RecursionError):
        message = ""
    return Failure(response.status_code, message)


def embedded_failure(response: Any) -> Failure | None:
    """Return the failure that a response of status 200 states in place of a reply; None for none."""
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return None
    stated = next(_errors(answer), None)
    if stated is None:
        return None
    tables = [table for table in (stated, _first(answer)) if isinstance(table, Mapping)]
    names = ("code", "status", "status_code", "http_code", "type")
    codes = [table[name] for table in tables for name in names if isinstance(table.get(name), int | str)]
    for code in codes:
        if str(code).isdecimal() and 400 <= int(code) < 600:
            return Failure(int(code), _message(answer))
    named = " ".join(map(str, codes))
    status = next((status for form, status in NAMED_STATUSES.items() if re.search(form, named, re.IGNORECASE)), 0)
    return Failure(status, _message(answer))


def _first(answer: Any) -> Any:
    return answer[0] if isinstance(answer, list) and answer else answer


def _errors(answer: Any) -> Iterator[Any]:
    """Yield the places of a JSON answer that may state an error, as far as they hold something."""
    answer = _first(answer)
    if not isinstance(answer, Mapping):
        return
    choice = _first(answer.get("choices"))
    for table in (answer, choice if isinstance(choice, Mapping) else {}):
        for name in ("error", "errors", "detail", "base_resp"):
            if table.get(name):
                yield _first(table[name])
    if answer.get("message") or answer.get("msg"):
        yield answer


def _message(answer: Any) -> str:
    """Return the error message of a JSON answer as one line of at most 200 characters."""
    message = next(_errors(answer), _first(answer))
    if isinstance(message, Mapping):
        message = next(
            (message[n] for n in ("message", "msg", "status_msg", "detail") if message.get(n)), message or ""
        )
    text = _utf8(str(message if message is not None else ""))
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait by the header Retry-After (seconds, or a date), or by retry-after-ms."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(float(headers[name]) * scale, 0.0)
        except (KeyError, ValueError):
            continue
    try:
        return max(parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - wall_time(), 0.0)
    except (ValueError, OverflowError):
        return None


def _utf8(text: str) -> str:
    """Return a text in which each half of a surrogate pair is replaced."""
    return text.encode("utf-8", "replace").decode()
