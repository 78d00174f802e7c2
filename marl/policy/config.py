"""Configuration of policies: tiny models, pretrained models, LoRA, parameter sharing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from marl.errors import UserError
from protocols import topics


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
    settings = policy if isinstance(policy, dict) else vars(policy)
    return "hf" if "hf" in settings else str(settings.get("type", "tiny"))


PolicyConfig = Annotated[Annotated[TinyPolicy, Tag("tiny")] | Annotated[HfPolicy, Tag("hf")], Discriminator(_kind)]
"""What a policy is made of: a model from scratch, or a pretrained one."""


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
