"""Client of OpenAI-compatible chat endpoints: vLLM, SGLang, llama.cpp, `transformers serve`, or a hosted one.

An address is `openai:URL#MODEL`, with settings after a question mark, such as
`openai:http://localhost:8000/v1?temperature=0.7&spend=0.5#model`. An environment variable holds the key.

Requests run in real time; virtual time stands still meanwhile. An endpoint returns no log-probabilities of tokens, so
nothing trains on its replies.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, Self, TypeVar

from marl.context.chat_template import Message
from marl.errors import UserError
from marl.http_client import client_options, hide, proxy_of, read_key
from marl.policy.endpoint_response import (
    ChatReply,
    Failure,
    RetryError,
    embedded_failure,
    failure_of,
    parse_json,
    read_chat,
    retry_after,
)
from marl.policy.endpoint_settings import CONCURRENCY, KEY, EndpointSettings, parse_address
from protocols.draws import key, uniform

T = TypeVar("T")
logger = logging.getLogger(__name__)
WAIT: Final = 0.5
"""Seconds before the second try; doubled before each further one, and multiplied by a keyed draw from 1 to 2."""
LONGEST_WAIT: Final = 60.0
MAX_RESPONSE: Final = 16 << 20
"""Bytes of a response, unpacked; the rest of a longer one is not read."""
ROLES: Final = re.compile(
    r"\bsystem\W?(role|prompt|message|instruct|turn)|\broles?\b|developer instruct|alternat", re.IGNORECASE
)
"""What servers say that take no system message."""
CONVERSATION: Final = re.compile(r"system|\bmessages?\b|template|^$", re.IGNORECASE)
"""What a refusal says, with a status below 500, that may be one of a system message."""


@dataclass(frozen=True)
class RequestForm:
    """Form of requests that a server accepts: where the rules stand, and what the limit of tokens is called."""

    fold: bool = False
    limit: str = "max_tokens"

    def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a request in this form."""
        if "messages" in body and self.fold:
            body = body | {"messages": fold(body["messages"])}
        if "max_tokens" in body and self.limit != "max_tokens":
            body = {self.limit if name == "max_tokens" else name: value for name, value in body.items()}
        return body

    def after(self, failure: Failure, body: dict[str, Any], system: str) -> Self | None:
        """Return the form to try after a refusal; None if none is likely to be accepted."""
        status, message = failure
        if not (400 <= status < 600) or status in (401, 402, 403, 404, 429):
            return None
        asks = ROLES.search(message) or (status < 500 and CONVERSATION.search(message))
        if system == "auto" and asks and not self.fold and "messages" in body:
            return replace(self, fold=True)
        if "max_completion_tokens" in message and self.limit == "max_tokens" and "max_tokens" in body:
            return replace(self, limit="max_completion_tokens")
        return None


def fold(conversation: Sequence[Message]) -> list[Message]:
    """Return a conversation whose system message stands at the beginning of the first user message."""
    first, *rest = conversation
    if first["role"] != "system":
        return list(conversation)
    if not rest:
        return [first | {"role": "user"}]
    return [{"role": "user", "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


class Endpoint:
    """One model of one endpoint. All its seats share its limits; `spent` is the cost so far."""

    def __init__(self, url: str, model: str, settings: EndpointSettings) -> None:
        self.url, self.model, self.settings = url.rstrip("/"), model, settings
        self.spent = 0.0
        self.thinks = settings.thinks
        """Whether the server's prompt opens a thought; also set by the first reply that shows it."""
        self._client: Any = None
        self._key = ""
        self._form = RequestForm(fold=settings.system == "fold")
        self._warned = False
        self._free = asyncio.Semaphore(settings.concurrency)
        self._next = 0.0  # earliest time of the next request, by the real-time loop's clock

    async def chat(
        self, conversation: Sequence[Message], seed: int, temperature: float
    ) -> tuple[ChatReply, dict[str, float]]:
        """Return the model's reply and its usage (prompt and completion tokens, cost); raises UserError.

        Call it on the real-time loop.
        """
        settings = self.settings
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(conversation),
            "max_tokens": settings.max_tokens,
            "temperature": temperature,
            "seed": seed % (1 << 31),
        }
        body = {name: value for name, value in body.items() if name not in settings.omit}
        return await self.ask("chat/completions", body, seed, f"to chat with {self.model!r}", self._read)

    async def ask(self, path: str, body: dict[str, Any], seed: int, what: str, read: Callable[[Any], T]) -> T:
        """Send a request, with retries, and return the response as parsed by `read`; raises UserError.

        `read` raises RetryError for an invalid response, `seed` draws the jitter of the waits, and errors name `what`.
        Call it on the real-time loop.
        """
        tries = self.settings.tries
        async with self._free:
            for attempt in range(tries):
                try:
                    return await self._try(path, body, what, read)
                except RetryError as failure:
                    if attempt + 1 == tries:
                        times = f" ({tries} tries)" if tries > 1 else ""
                        raise UserError(hide(f"the endpoint {self.url} {failure}{times}", self._key)) from None
                    wait = WAIT * 2**attempt * (1 + uniform(key(seed, "backoff"), attempt))
                    await asyncio.sleep(min(max(wait, failure.after or 0.0), LONGEST_WAIT))
        raise AssertionError

    async def _try(self, path: str, body: dict[str, Any], what: str, read: Callable[[Any], T]) -> T:
        """Send a request in the form that the server accepts; raises RetryError, or UserError where no retry helps."""
        form, refused = self._form, None
        while True:
            response = await self._post(path, form.apply(body))
            if response.status_code == 200:
                try:
                    result = read(response)
                except RetryError:
                    failure = embedded_failure(response)
                    if failure is None:
                        raise
                else:
                    self._form = form
                    return result
            else:
                failure = failure_of(response)
            other = form.after(failure, body, self.settings.system)
            if other is None:
                raise self._error(refused if refused and not failure.retried else failure, body, what, response)
            form, refused = other, refused or failure

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Send one request within the limits; raises RetryError, or UserError where a retry cannot help."""
        import httpx2

        settings = self.settings
        if settings.spend and self.spent + settings.max_tokens * settings.price_out * 1e-6 > settings.spend:
            raise UserError(f"the endpoint {self.url}: {self.spent:.4g} of {settings.spend:g} are spent: raise `spend`")
        if settings.per_minute:
            now = asyncio.get_running_loop().time()
            self._next = max(self._next, now) + 60 / settings.per_minute
            await asyncio.sleep(self._next - 60 / settings.per_minute - now)
        if self._client is None:
            where = f"the endpoint {self.url}"
            self._key = read_key(settings.key, where)
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            limits = httpx2.Limits(max_connections=settings.concurrency)
            self._client = httpx2.AsyncClient(
                headers=headers, timeout=settings.timeout, limits=limits, **client_options(self.url, where)
            )
        try:
            async with asyncio.timeout(settings.timeout):
                return await self._bounded(path, body)
        except (TimeoutError, httpx2.TimeoutException):
            raise RetryError(f"does not answer within {settings.timeout:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            reason = " ".join((str(error) or type(error).__name__).split())
            variable, _ = proxy_of(self.url)
            check = f"check the proxy in {variable}, or name the host in NO_PROXY" if variable else "is its server up?"
            raise RetryError(f"cannot be reached ({reason}): {check}") from None

    async def _bounded(self, path: str, body: dict[str, Any]) -> Any:
        """Send a request and read its response; raises RetryError for one above MAX_RESPONSE."""
        import httpx2

        async with self._client.stream("POST", f"{self.url}/{path}", json=body) as stream:
            parts, size = [], 0
            async for part in stream.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_RESPONSE:
                    raise RetryError(f"sends more than {MAX_RESPONSE >> 20} MiB: is it an OpenAI-compatible server?")
        coded = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in stream.headers.multi_items() if name.lower() not in coded]
        return httpx2.Response(stream.status_code, headers=headers, content=b"".join(parts), request=stream.request)

    def _error(self, failure: Failure, body: dict[str, Any], what: str, response: Any) -> Exception:
        """Return the exception for a failure: RetryError, or UserError where a retry cannot help."""
        status, message = failure
        if failure.retried:
            why = {0: "returned an error", 429: "is over its limit"}.get(status, "fails")
            return RetryError(f"{why} ({failure.reason})", retry_after(response.headers))
        if status in (401, 403):
            variable = self.settings.key
            if variable != KEY and not self._key:  # it may be the key itself
                variable = "that the setting `key` names"
            reason = f" ({failure.reason})" if message else ""
            text = f"the endpoint {self.url} refuses the key{reason}: set the environment variable {variable}"
            return UserError(hide(text, self._key))
        text = f"the endpoint {self.url} refuses {what} ({failure.reason}){self._hint(message, body)}"
        return UserError(hide(text, self._key))

    def _hint(self, message: str, body: dict[str, Any]) -> str:
        """Return the setting that may help after a refusal; empty for none."""
        if self.settings.system == "send" and ROLES.search(message):
            return ": ?system=fold puts the rules into the first user message"
        named = [name for name in ("max_tokens", "seed", "temperature") if name in message and name in body]
        return f": ?omit={','.join(named)} leaves it out" if named else ""

    def _read(self, response: Any) -> tuple[ChatReply, dict[str, float]]:
        reply, settings = read_chat(response, self.thinks), self.settings
        self.thinks |= reply.prompted
        cost = (reply.prompt * settings.price_in + reply.completion * settings.price_out) * 1e-6
        self.spent += cost
        if reply.cut and not reply.text.strip() and not self._warned:
            self._warned = True
            logger.warning(
                "the endpoint %s: a reply of %s was cut before it began, as its thought used up max_tokens (%d): "
                "raise ?max_tokens",
                self.url,
                self.model,
                settings.max_tokens,
            )
        usage: dict[str, float] = {"prompt": reply.prompt, "completion": reply.completion}
        return reply, {**usage, **({"cost": cost} if cost else {})}


@cache
def connect(address: str, concurrency: int = CONCURRENCY) -> Endpoint:
    """Return the endpoint of an address, the same object for the same address; raises UserError. Sends nothing.

    `concurrency` is the default of the address's setting.
    """
    url, model, settings = parse_address(address, concurrency)
    try:
        import httpx2
    except ModuleNotFoundError:
        raise UserError("endpoints need the package httpx2: pip install 'sabir[openai]'") from None
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL:
        raise UserError(
            f"{url} is not an address of an endpoint: write {address.partition(':')[0]}:http://HOST:PORT/v1"
        ) from None
    return Endpoint(url, model, settings)


__all__ = ["Endpoint", "EndpointSettings", "RetryError", "connect", "parse_json"]
