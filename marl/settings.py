"""TOML settings: read, override by dotted keys, and validate with errors that suggest the right key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError

from arenas import ArenaError
from marl.errors import UserError
from protocols import ProtocolError

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises UserError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None


def write_toml(path: Path, config: BaseModel) -> None:
    """Write every setting of a configuration, defaults included: new defaults must not change an old run."""
    path.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))


def override(settings: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply overrides such as `a.b=value`, with TOML values (bare words are strings); raises UserError."""
    result = dict(settings)
    for text in overrides:
        dotted, equals, raw = text.partition("=")
        if not equals:
            raise UserError(f"an override looks like algorithm.lr=0.001, not {text!r}")
        result = put(result, dotted, parse(raw))
    return result


def parse(raw: str) -> Any:
    """Parse a TOML value; anything else is a plain string."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def put(settings: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Return a copy of the settings with the value at `a.b` replaced; raises UserError."""
    result = table = dict(settings)
    *parents, last = dotted.split(".")
    for part in parents:
        below = table.get(part, {})
        if not isinstance(below, dict):
            raise UserError(f"{dotted}: {part} is a value, not a table")
        table[part] = table = dict(below)
    table[last] = value
    return result


def check(model: type[M], settings: dict[str, Any], source: str) -> M:
    """Validate settings; raises UserError with a sentence that names the wrong key and a likely right one."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        errors = error.errors()
        # A missing setting may be present under a wrong name, so wrong names come first.
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        keys = [str(part) for part in first["loc"]]
        if keys[:1] == ["policy"] and keys[1:2] in (["tiny"], ["hf"]):  # the tag of the union that pydantic tried
            del keys[1]
        where = ".".join(keys)
        if first["type"] == "extra_forbidden":
            names = _fields(model, keys[:-1])
            close = get_close_matches(keys[-1], names, n=1)
            full = ".".join([*keys[:-1], *close])
            likely = full if full in dotted_names(model) else "".join(close)
            hint = f"did you mean {likely}?" if close else f"known here: {', '.join(names)}"
            raise UserError(f"{source}: there is no setting {where}; {hint}") from None
        raise UserError(
            f"{source}: {where or 'the configuration'}: {first['msg'].removeprefix('Value error, ')}"
        ) from None
    except (ArenaError, ProtocolError) as error:
        raise UserError(f"{source}: {error}") from None


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the settings at a dotted path; list indices and union tags are parts of the path too."""
    models = [model]
    for part in path:
        typed = [m for m in models if "type" in m.model_fields] if len(models) > 1 else []
        tagged = [m for m in typed if part in get_args(m.model_fields["type"].annotation)]
        models = (
            tagged
            or [below for m in models if part in m.model_fields for below in _models(m.model_fields[part].annotation)]
            or models
        )
    return list(dict.fromkeys(name for m in models for name in m.model_fields))


def dotted_names(model: type[BaseModel]) -> Iterator[str]:
    """Yield the dotted names of all settings and tables of a configuration, also those of each type, each once."""
    seen: set[str] = set()
    for name, field in model.model_fields.items():
        below = list(_models(field.annotation))
        for path in (name, *(f"{name}.{leaf}" for inner in below for leaf in dotted_names(inner))):
            if path not in seen:
                seen.add(path)
                yield path


def described(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, default as TOML and description of every setting, of the default type where there is a choice."""
    for name, field in model.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        below = type(default) if isinstance(default, BaseModel) else field.annotation if field.is_required() else None
        if isinstance(below, type) and issubclass(below, BaseModel):
            yield from described(below, f"{prefix}{name}.")
            continue
        value = "must be given" if field.is_required() else _toml(default)
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        one_of = f"one of {', '.join(map(str, choices))}" if len(choices) > 1 else ""
        yield prefix + name, value, "; ".join(filter(None, (field.description, one_of)))


def _toml(value: Any) -> str:
    """Write a default as TOML; `none` stands for a setting that is left out."""
    if value is None or value == {}:
        return "none"
    plain = {"v": value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value}
    return tomli_w.dumps(plain).strip().removeprefix("v = ").replace("\n", " ")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the pydantic models inside a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
