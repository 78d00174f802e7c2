"""Configuration: TOML files, dotted overrides, and errors that say which key is wrong and what would be right."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from arenas import ArenaError
from marl.errors import UserError
from protocols import ProtocolError, topics

M = TypeVar("M", bound=BaseModel)


class TinyPolicy(BaseModel):
    """A GPT-2 from scratch over the arena's words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["tiny"] = "tiny"
    width: int = Field(default=64, ge=8)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    context: int = Field(default=256, ge=8, description="the most tokens of a transcript")
    init: float = Field(default=0.15, gt=0, description="standard deviation of the initial weights")


class LoraSettings(BaseModel):
    """A low-rank change of a pretrained model's matrices (Hu et al. 2022), by peft."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=0, ge=0, description="scale is alpha / rank; 0: twice the rank")
    targets: tuple[str, ...] = Field(default=("all",), description='"all", "attention", or names of matrices')


class HfPolicy(BaseModel):
    """A pretrained chat model of Hugging Face's kind: all its weights, or a LoRA for each policy on one shared base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["hf"] = "hf"
    hf: str = Field(
        min_length=1, description="a folder, a GGUF file, a hub id, or NAME of an installed package llm_NAME"
    )
    lora: LoraSettings | None = Field(default=None, description="train an adapter; without it all weights are trained")
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    talk: int = Field(default=48, ge=1, description="the most tokens of a free reply")
    think: int = Field(default=0, ge=0, description="the most tokens of private thought before a reply")
    temperature: float = Field(default=1.0, gt=0, description="of sampling, and of what is trained")
    context: int | None = Field(
        default=None, ge=16, description="the most tokens of a transcript; the model's if unset"
    )
    prompt: str = Field(default="", description="what the system prompt says after the arena's rules")
    rows: int = Field(default=64, ge=1, description="replies sampled at once")
    cache: float = Field(default=1.0, ge=0, description="GiB of keys and values kept between turns")
    recompute: bool = Field(default=False, description="gradient checkpointing: less memory, a third more time")
    shard: bool = Field(default=False, description="spread the layers over all devices that there are")
    vllm: str = Field(default="", description="address of a vLLM server that samples; needs lora")

    @model_validator(mode="after")
    def _handed_over(self) -> HfPolicy:
        if self.vllm and self.lora is None:
            raise ValueError("a vLLM server is handed adapters, not all weights: set policy.lora, or leave vllm out")
        return self


def _kind(policy: Any) -> str:
    given = policy if isinstance(policy, dict) else vars(policy)
    return "hf" if "hf" in given else str(given.get("type", "tiny"))


PolicyConfig = Annotated[Annotated[TinyPolicy, Tag("tiny")] | Annotated[HfPolicy, Tag("hf")], Discriminator(_kind)]
"""What a policy is made of: a model from scratch, or a pretrained one."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises UserError."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None


def write_toml(path: Path, config: BaseModel) -> None:
    """Write every setting of a configuration, defaults included, so that later defaults do not change the run."""
    path.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))


def override(settings: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=value` overrides, values in TOML (bare words are strings); raises UserError."""
    result = dict(settings)
    for text in overrides:
        dotted, equals, raw = text.partition("=")
        if not equals:
            raise UserError(f"an override looks like algorithm.lr=0.001, not {text!r}")
        result = put(result, dotted, parse(raw))
    return result


def parse(raw: str) -> Any:
    """Read a value in TOML; what is none is a string."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def put(settings: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Return settings with the one at `a.b` set, and the given ones as they were; raises UserError."""
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
    """Validate settings; raises UserError with a sentence that names the key and a likely right one."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        errors = error.errors()
        # A setting that is missing may be there under a wrong name, so wrong names come first.
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        keys = [str(part) for part in first["loc"]]
        if keys[:1] == ["policy"] and keys[1:2] in (["tiny"], ["hf"]):  # which of the two it was taken for
            del keys[1]
        where = ".".join(keys)
        if first["type"] == "extra_forbidden":
            known = _fields(model, keys[:-1])
            close = get_close_matches(keys[-1], known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
            raise UserError(f"{source}: there is no setting {where}; {hint}") from None
        raise UserError(
            f"{source}: {where or 'the configuration'}: {first['msg'].removeprefix('Value error, ')}"
        ) from None
    except (ArenaError, ProtocolError) as error:
        raise UserError(f"{source}: {error}") from None


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the settings known at a dotted path; numbers in lists and tags of unions are steps of the path too."""
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


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


Sharing = Literal["separate", "shared"] | dict[str, tuple[str, ...]]


def policy_names(sharing: Sharing, agents: Sequence[str]) -> dict[str, str]:
    """Return seat -> name of the policy that plays it; raises UserError for groups that do not divide up the seats."""
    if sharing == "shared":
        return dict.fromkeys(agents, "shared")
    if isinstance(sharing, str):
        return {seat: seat for seat in agents}
    names: dict[str, str] = {}
    for name, seats in sharing.items():
        topics.name(name)  # it names a folder too
        for seat in seats:
            if seat not in agents:
                raise UserError(f"sharing.{name}: no seat {seat!r}; the seats are {', '.join(agents)}")
            if seat in names:
                raise UserError(f"sharing: {seat} is in {names[seat]} and in {name}; give every seat one policy")
            names[seat] = name
    if left := [seat for seat in agents if seat not in names]:
        raise UserError(f"sharing: nobody plays {', '.join(left)}; give every seat one policy")
    return {seat: names[seat] for seat in agents}
