"""Tool: a function that agents call with text, with a schema from its signature and docstring."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from inspect import Parameter, getdoc, iscoroutinefunction, signature
from typing import Any, Final, Self, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from protocols.realtime import outside

LONGEST: Final = 2000
"""Characters of an answer; longer ones are cut."""


class ToolError(Exception):
    """A tool cannot answer; `Tool.answer` returns the message to the agent that called."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


@dataclass(frozen=True, slots=True)
class Tool:
    """Name, description, JSON schema and function of a tool.

    `inline` is for functions that cannot hang: they run on the loop of the episode, others on their own thread.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""
    call: Callable[..., Any]
    """The function; takes the arguments by name, and may be a coroutine function."""
    check: Callable[[dict[str, Any]], dict[str, Any]] = dict
    """Checks and converts arguments; raises ToolError."""
    inline: bool = False

    @classmethod
    def of(cls, function: Callable[..., Any], *, inline: bool = False) -> Self:
        """Make a tool of a function: schema from its annotations, descriptions from its docstring (Google style)."""
        text = getdoc(function) or ""
        descriptions = dict(re.findall(r"^ {4}(\w+): (.+)$", text.partition("Args:")[2], re.MULTILINE))
        hints = get_type_hints(function)
        fields: dict[str, Any] = {}
        for name, parameter in signature(function).parameters.items():
            if parameter.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
                raise ValueError(f"a tool's parameters must be named, unlike {parameter}")
            default = ... if parameter.default is Parameter.empty else parameter.default
            fields[name] = (hints.get(name, str), Field(default, description=descriptions.get(name)))
        model = create_model(function.__name__, __base__=_Arguments, **fields)

        def check(arguments: dict[str, Any]) -> dict[str, Any]:
            try:
                checked = model.model_validate(arguments)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise ToolError(f"{where}: {first['msg']}") from None
            return {name: getattr(checked, name) for name in fields}

        schema = model.model_json_schema()
        return cls(function.__name__, text.partition("\n\n")[0], schema, function, check, inline)

    def named(self, name: str) -> Self:
        """Return the tool under another name."""
        return replace(self, name=name)

    def arguments(self, text: str) -> dict[str, Any]:
        """Parse a call: a JSON object, or the only argument as it stands, or a word per argument; raises ToolError."""
        if text.lstrip().startswith("{"):
            try:
                arguments = json.loads(text)
            except ValueError as error:
                raise ToolError(f"not JSON: {error}") from None
            return self.check(arguments)
        names = list(self.parameters.get("properties", {}))
        if not text.strip() and not self.parameters.get("required"):
            return self.check({})
        if len(names) == 1:
            return self.check({names[0]: text.strip()})
        words = text.split()
        if len(words) > len(names):
            raise ToolError(f"{len(words)} words for {', '.join(names) or 'no argument'}: send a JSON object")
        return self.check(dict(zip(names, words, strict=False)))

    async def answer(self, text: str, seconds: float) -> str:
        """Return the tool's answer to a call, or an error as text after at most so many real seconds. Never raises."""
        try:
            arguments = self.arguments(text)
            if self.inline:
                return _text(self.call(**arguments))
            return _text(await outside(self._run(arguments, seconds)))
        except TimeoutError:
            return f"error: no answer within {seconds:g} s"
        except ToolError as error:
            return f"error: {error}"[:LONGEST]
        except Exception as error:  # a tool may fail in any way: the agent hears of it, and the episode goes on
            return f"error: {type(error).__name__}: {error}"[:LONGEST]

    async def _run(self, arguments: dict[str, Any], seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                if iscoroutinefunction(self.call):
                    return await self.call(**arguments)
                return await asyncio.wrap_future(_thread(self.call, arguments))
        except (SystemExit, KeyboardInterrupt) as error:  # they would stop the loop of all other tools
            raise ToolError(f"{type(error).__name__}: {error}") from None


def _thread(call: Callable[..., Any], arguments: dict[str, Any]) -> Future[Any]:
    """Call on a new daemon thread: the call may hang, and the program must still be able to end."""
    future: Future[Any] = Future()

    def work() -> None:
        result, failure = None, None
        try:
            result = call(**arguments)
        except BaseException as error:  # the caller decides about it
            failure = error
        if not future.set_running_or_notify_cancel():
            return
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)

    threading.Thread(target=work, name="tool", daemon=True).start()
    return future


def _text(result: Any) -> str:
    """Return a result as text of at most LONGEST characters that JSON and UTF-8 can hold."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text)} characters)"
