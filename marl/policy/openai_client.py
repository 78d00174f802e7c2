"""Client of OpenAI-compatible chat endpoints: vLLM, SGLang, llama.cpp, `transformers serve`, or a hosted one.

An address is `openai:URL#MODEL`, with settings after a question mark, such as
`openai:http://localhost:8000/v1?temperature=0.7&spend=0.5#model`. An environment variable holds the key.

Requests run in real time; virtual time stands still meanwhile. An endpoint returns no log-probabilities of tokens, so
nothing trains on its replies.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from time import time as wall_time
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from marl.context.chat_template import Message
from marl.errors import UserError
from protocols.draws import key, uniform

T = TypeVar("T")
WAIT: Final = 0.5
"""Seconds before the second try; doubled before each further one, and multiplied by a keyed draw from 1 to 2."""
LONGEST_WAIT: Final = 60.0
CONCURRENCY: Final = 8
RETRIED_STATUSES: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that are retried."""
MAX_RESPONSE: Final = 16 << 20
"""Bytes of a response, unpacked; the rest of a longer one is not read."""
MAX_USAGE: Final = 10**9
"""Tokens that a response may say it used."""


class EndpointSettings(BaseModel):
    """Sampling, limits and prices of an endpoint. Prices are per million tokens, in the currency of `spend`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(default="OPENAI_API_KEY", description="the environment variable that holds the key")
    temperature: float = Field(default=1.0, ge=0)
    max_tokens: int = Field(default=256, ge=1, description="the most tokens in a reply")
    timeout: float = Field(default=60.0, gt=0, description="seconds for one request")
    tries: int = Field(default=4, ge=1, description="the most tries of a request that fails")
    concurrency: int = Field(default=CONCURRENCY, ge=1, description="the most concurrent requests")
    per_minute: float = Field(default=0.0, ge=0, description="the most requests in a minute; 0: no limit")
    price_in: float = Field(default=0.0, ge=0)
    price_out: float = Field(default=0.0, ge=0)
    spend: float = Field(default=0.0, ge=0, description="the most that may be spent; 0: no limit")


class RetryError(Exception):
    """A request failed and may be retried, after so many seconds if the endpoint said; `Endpoint.ask` catches it."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Endpoint:
    """One model of one endpoint. All its seats share its limits; `spent` is the cost so far."""

    def __init__(self, url: str, model: str, settings: EndpointSettings) -> None:
        self.url, self.model, self.settings = url.rstrip("/"), model, settings
        self.spent = 0.0
        self._client: Any = None
        self._free = asyncio.Semaphore(settings.concurrency)
        self._next = 0.0  # earliest time of the next request, by the real-time loop's clock

    async def chat(
        self, conversation: Sequence[Message], seed: int, temperature: float
    ) -> tuple[str, dict[str, float]]:
        """Return the model's reply and its usage (prompt and completion tokens, cost); raises UserError.

        Call it on the real-time loop.
        """
        settings = self.settings
        body = {
            "model": self.model,
            "messages": list(conversation),
            "max_tokens": settings.max_tokens,
            "temperature": temperature,
            "seed": seed % (1 << 31),
        }
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
                    return read(await self._post(path, body, what))
                except RetryError as failure:
                    if attempt + 1 == tries:
                        times = f" ({tries} tries)" if tries > 1 else ""
                        raise UserError(f"the endpoint {self.url} {failure}{times}") from None
                    wait = WAIT * 2**attempt * (1 + uniform(key(seed, "backoff"), attempt))
                    await asyncio.sleep(min(max(wait, failure.after or 0.0), LONGEST_WAIT))
        raise AssertionError

    async def _post(self, path: str, body: dict[str, Any], what: str) -> Any:
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
            secret = os.environ.get(settings.key)
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            limits = httpx2.Limits(max_connections=settings.concurrency)
            self._client = httpx2.AsyncClient(headers=headers, timeout=settings.timeout, limits=limits)
        try:
            async with asyncio.timeout(settings.timeout):
                response = await self._bounded(path, body)
        except (TimeoutError, httpx2.TimeoutException):
            raise RetryError(f"does not answer within {settings.timeout:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise RetryError(f"cannot be reached ({str(error) or type(error).__name__}): is its server up?") from None
        if response.status_code in RETRIED_STATUSES:
            why = "is over its limit" if response.status_code == 429 else "fails"
            raise RetryError(f"{why} ({_reason(response)})", _retry_after(response.headers.get("retry-after")))
        if response.status_code in (401, 403):
            raise UserError(f"the endpoint {self.url} refuses the key: set the environment variable {settings.key}")
        if response.status_code != 200:
            raise UserError(f"the endpoint {self.url} refuses {what} ({_reason(response)})")
        return response

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

    def _read(self, response: Any) -> tuple[str, dict[str, float]]:
        answer = parse_json(response)
        try:
            text = answer["choices"][0]["message"]["content"]
            used = answer.get("usage") or {}
            usage = {name: int(used.get(f"{name}_tokens") or 0) for name in ("prompt", "completion")}
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            raise RetryError(
                "returned an invalid response (no choices with a message): is it an OpenAI-compatible server?"
            ) from None
        if text is not None and not isinstance(text, str):
            raise RetryError("returned an invalid response (the message is not a text)")
        if not all(0 <= tokens <= MAX_USAGE for tokens in usage.values()):
            raise RetryError(f"returned an invalid response (a usage outside 0 to {MAX_USAGE} tokens)")
        cost = (usage["prompt"] * self.settings.price_in + usage["completion"] * self.settings.price_out) * 1e-6
        self.spent += cost
        text = (text or "").encode("utf-8", "replace").decode()  # half of a surrogate pair is no text
        return text, {**usage, **({"cost": cost} if cost else {})}


def parse_json(response: Any) -> Any:
    """Parse the body of a response; raises RetryError if it is not JSON."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise RetryError("returned an invalid response (not JSON): is it an OpenAI-compatible server?") from None


@cache
def connect(address: str, concurrency: int = CONCURRENCY) -> Endpoint:
    """Return the endpoint of an address, the same object for the same address; raises UserError. Sends nothing.

    `concurrency` is the default of the address's setting.
    """
    kind, _, rest = address.partition(":")
    parts = urlsplit(rest)
    named = kind == "vllm" or (kind == "openai" and parts.fragment)  # vllm: each adapter has its own name
    if not named or parts.scheme not in ("http", "https") or not parts.hostname:
        model = "" if kind == "vllm" else "#MODEL"
        raise UserError(f"{address} is not an endpoint: write {kind}:http://HOST:PORT/v1{model}")
    if parts.password:
        raise UserError("an endpoint's address must not hold a password: put the key into an environment variable")
    try:
        import httpx2 as _  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("endpoints need the package httpx2: pip install 'sabir[openai]'") from None
    try:
        settings = EndpointSettings.model_validate({"concurrency": concurrency, **dict(parse_qsl(parts.query))})
    except ValidationError as error:
        first = error.errors()[0]
        settable = ", ".join(EndpointSettings.model_fields)
        raise UserError(f"{address}: {first['loc'][0]}: {first['msg']}; the settings are {settable}") from None
    return Endpoint(urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), parts.fragment, settings)


def _reason(response: Any) -> str:
    """Return the status of a response and its error message, in one line."""
    try:
        error = response.json()
        message = error.get("error", error.get("detail", error)) if isinstance(error, Mapping) else error
        message = message.get("message", message) if isinstance(message, Mapping) else message
        message = str(message).encode("utf-8", "replace").decode()
    except (ValueError, RecursionError):
        message = ""
    return " ".join(f"{response.status_code} {message}".split())[:200]


def _retry_after(header: str | None) -> float | None:
    """Return the seconds to wait by a Retry-After header: a number of seconds, or a date."""
    if not header:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(header).timestamp() - wall_time(), 0.0)
    except ValueError:
        return None
