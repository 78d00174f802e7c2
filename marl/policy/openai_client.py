"""Chat models behind an OpenAI-compatible endpoint: vLLM, SGLang, llama.cpp, `transformers serve`, or a hosted one.

An address is `openai:URL#MODEL`, with settings after a question mark, such as
`openai:http://localhost:8000/v1?temperature=0.7&spend=0.5#model`. The key is read from an environment variable.

An endpoint knows real time only: while it is asked, virtual time stands still. It gives no log-probabilities of tokens,
so its replies are not trained on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from time import time
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from marl.context.chat_template import Message
from marl.errors import UserError
from protocols.draws import key, uniform

T = TypeVar("T")
WAIT: Final = 0.5
"""Seconds before the second try; twice as many before each further one, and as much as twice that by a draw."""
LONGEST_WAIT: Final = 60.0
CONCURRENCY: Final = 8
AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers after which to try again."""


class EndpointSettings(BaseModel):
    """How an endpoint is asked. Prices are of a million tokens, in whatever currency `spend` is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(default="OPENAI_API_KEY", description="the environment variable that holds the key")
    temperature: float = Field(default=1.0, ge=0)
    max_tokens: int = Field(default=256, ge=1, description="the most tokens of a reply")
    timeout: float = Field(default=60.0, gt=0, description="seconds for one request")
    tries: int = Field(default=4, ge=1, description="how often a request that fails is sent at most")
    concurrency: int = Field(default=CONCURRENCY, ge=1, description="requests under way at once")
    per_minute: float = Field(default=0.0, ge=0, description="the most requests in a minute; 0: no limit")
    price_in: float = Field(default=0.0, ge=0)
    price_out: float = Field(default=0.0, ge=0)
    spend: float = Field(default=0.0, ge=0, description="the most that may be spent; 0: no limit")


class RetryError(Exception):
    """A request that may be sent again, and after how many seconds, if the endpoint said."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Endpoint:
    """One model of one endpoint, with limits that all its seats share. `spent` is what it cost so far."""

    def __init__(self, url: str, model: str, settings: EndpointSettings) -> None:
        self.url, self.model, self.settings = url.rstrip("/"), model, settings
        self.spent = 0.0
        self._client: Any = None
        self._free = asyncio.Semaphore(settings.concurrency)
        self._next = 0.0  # when the next request may go out, by the clock of the loop of real time

    async def chat(
        self, conversation: Sequence[Message], seed: int, temperature: float
    ) -> tuple[str, dict[str, float]]:
        """Return the model's reply and its usage (prompt and completion tokens, cost); raises UserError.

        It belongs to the loop of real time.
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
        """Send a request, again where that may help, and return what `read` makes of the answer; raises UserError.

        `read` raises RetryError for nonsense; `seed` draws the waits, and `what` says in complaints what was asked.
        It belongs to the loop of real time.
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
        """Send one request when the limits allow it; raises RetryError, or UserError where no further try helps."""
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
                answer = await self._client.post(f"{self.url}/{path}", json=body)
        except (TimeoutError, httpx2.TimeoutException):
            raise RetryError(f"does not answer within {settings.timeout:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise RetryError(f"cannot be reached ({str(error) or type(error).__name__}): is its server up?") from None
        if answer.status_code in AGAIN:
            why = "is over its limit" if answer.status_code == 429 else "fails"
            raise RetryError(f"{why} ({_reason(answer)})", _after(answer.headers.get("retry-after")))
        if answer.status_code in (401, 403):
            raise UserError(f"the endpoint {self.url} refuses the key: set the environment variable {settings.key}")
        if answer.status_code != 200:
            raise UserError(f"the endpoint {self.url} refuses {what} ({_reason(answer)})")
        return answer

    def _read(self, response: Any) -> tuple[str, dict[str, float]]:
        answer = decoded(response)
        try:
            text = answer["choices"][0]["message"]["content"]
            used = answer.get("usage") or {}
            usage = {name: int(used.get(f"{name}_tokens") or 0) for name in ("prompt", "completion")}
        except (LookupError, TypeError, ValueError, AttributeError):
            raise RetryError(
                "answers nonsense (no choices with a message): is it an OpenAI-compatible server?"
            ) from None
        if text is not None and not isinstance(text, str):
            raise RetryError("answers nonsense (a message that is no text)")
        cost = (usage["prompt"] * self.settings.price_in + usage["completion"] * self.settings.price_out) * 1e-6
        self.spent += cost
        return text or "", {**usage, **({"cost": cost} if cost else {})}


def decoded(response: Any) -> Any:
    """Return the JSON of an answer; raises RetryError."""
    try:
        return response.json()
    except ValueError:
        raise RetryError("answers nonsense (no JSON): is it an OpenAI-compatible server?") from None


@cache
def connect(address: str, concurrency: int = CONCURRENCY) -> Endpoint:
    """Return the endpoint of an address, the same one for the same address; raises UserError. Nothing is sent yet.

    `concurrency` holds where the address does not say another.
    """
    kind, _, rest = address.partition(":")
    parts = urlsplit(rest)
    named = kind == "vllm" or (kind == "openai" and parts.fragment)  # adapters have names of their own
    if not named or parts.scheme not in ("http", "https") or not parts.hostname:
        model = "" if kind == "vllm" else "#MODEL"
        raise UserError(f"{address} is no endpoint: write {kind}:http://HOST:PORT/v1{model}")
    if parts.password:
        raise UserError("an endpoint's address holds no password: put the key into an environment variable")
    try:
        import httpx2 as _  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("endpoints need the package httpx2: pip install 'sabir[openai]'") from None
    try:
        settings = EndpointSettings.model_validate({"concurrency": concurrency, **dict(parse_qsl(parts.query))})
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(EndpointSettings.model_fields)
        raise UserError(f"{address}: {first['loc'][0]}: {first['msg']}; the settings are {known}") from None
    return Endpoint(urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), parts.fragment, settings)


def _reason(answer: Any) -> str:
    """Return the status of an answer and what it says of the error, in a line."""
    try:
        error = answer.json()
        told = error.get("error", error.get("detail", error)) if isinstance(error, Mapping) else error
        told = told.get("message", told) if isinstance(told, Mapping) else told
    except ValueError:
        told = ""
    return " ".join(f"{answer.status_code} {told}".split())[:200]


def _after(header: str | None) -> float | None:
    """Return how many seconds a Retry-After header asks for."""
    if not header:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(header).timestamp() - time(), 0.0)
    except ValueError:
        return None
