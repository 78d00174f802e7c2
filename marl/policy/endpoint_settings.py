"""Address of an OpenAI-compatible endpoint: its URL, its model, and the settings after the question mark."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, NamedTuple, Self
from urllib.parse import SplitResult, parse_qsl, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from marl.errors import UserError
from marl.http_client import split_address

CONCURRENCY: Final = 8
KEY: Final = "OPENAI_API_KEY"
Omitted = Literal["max_tokens", "seed", "temperature"]


def _listed(value: Any) -> Any:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


class EndpointSettings(BaseModel):
    """Sampling, limits and prices of an endpoint. Prices are per million tokens, in the currency of `spend`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    key: str = Field(
        default=KEY, pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="the environment variable that holds the key"
    )
    temperature: float = Field(default=1.0, ge=0)
    max_tokens: int = Field(default=256, ge=1, description="the most tokens in a reply")
    omit: Annotated[tuple[Omitted, ...], BeforeValidator(_listed)] = Field(
        default=(), description="what requests leave out, for servers that refuse it: max_tokens, seed, temperature"
    )
    system: Literal["auto", "send", "fold"] = Field(
        default="auto",
        description="where the rules stand: in a system message (send), before the first user message (fold), or there "
        "once the server refuses a system message (auto)",
    )
    thinks: bool = Field(default=False, description="the server's prompt opens a thought: what does not end it is one")
    timeout: float = Field(default=60.0, gt=0, description="seconds for one request")
    tries: int = Field(default=4, ge=1, description="the most tries of a request that fails")
    concurrency: int = Field(default=CONCURRENCY, ge=1, description="the most concurrent requests")
    per_minute: float = Field(default=0.0, ge=0, description="the most requests in a minute; 0: no limit")
    price_in: float = Field(default=0.0, ge=0)
    price_out: float = Field(default=0.0, ge=0)
    spend: float = Field(default=0.0, ge=0, description="the most that may be spent; 0: no limit")

    @model_validator(mode="after")
    def _check_limit(self) -> Self:
        if self.spend and "max_tokens" in self.omit:
            raise ValueError("spend needs max_tokens, without which a reply may cost any amount: do not omit it")
        return self


class Address(NamedTuple):
    """Parsed address of an endpoint."""

    url: str
    model: str
    settings: EndpointSettings


def parse_address(address: str, concurrency: int = CONCURRENCY) -> Address:
    """Parse an address such as `openai:http://localhost:8000/v1?temperature=0.7#model`; raises UserError.

    Errors show neither settings nor passwords, as a key may stand there by mistake. `concurrency` is the default of the
    setting.
    """
    kind, _, rest = address.partition(":")
    model = "" if kind == "vllm" else "#MODEL"  # vllm: each adapter has its own name
    example = f"{kind}:http://HOST:PORT/v1{model}"
    try:
        parts = split_address(rest, "an endpoint's address")
    except ValueError as error:
        raise UserError(f"{error}; write {example}") from None
    shown = f"{kind}:{_url(parts)}{'#' + parts.fragment.partition('?')[0] if parts.fragment else ''}"
    if kind not in ("openai", "vllm") or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{shown} is not an endpoint: write {example}")
    if behind := re.search(r"[?&](\w*)(?:=|$)", parts.fragment):
        name = behind[1] or "NAME"
        raise UserError(f"{shown}: settings stand before the #: write {kind}:{_url(parts)}?{name}=...#MODEL")
    if model and not parts.fragment.strip():
        raise UserError(f"{shown} names no model: write {example}")
    return Address(_url(parts), parts.fragment.strip(), _settings(shown, parts.query, concurrency))


def _url(parts: SplitResult) -> str:
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _settings(shown: str, query: str, concurrency: int) -> EndpointSettings:
    settable = ", ".join(EndpointSettings.model_fields)
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    for name, value in pairs:
        if names.count(name) > 1:
            raise UserError(f"{shown}: the setting {name} stands twice: write it once")
        if not value.strip():
            raise UserError(
                f"{shown}: the setting {name} has no value: write ?{name}=VALUE; the settings are {settable}"
            )
    try:
        return EndpointSettings.model_validate({"concurrency": concurrency, **dict(pairs)})
    except ValidationError as error:
        first = error.errors()[0]
        setting = str(first["loc"][0]) if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        if setting == "key":
            message = "name the environment variable that holds the key, not the key itself"
        where = f"{shown}: {setting}" if setting else shown
        raise UserError(f"{where}: {message}; the settings are {settable}") from None
