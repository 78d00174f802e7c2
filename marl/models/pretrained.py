"""Load pretrained models from a folder, a GGUF file, a hub id, an installed package, or a saved adapter.

A GGUF file is converted once into an ordinary folder of safetensors in $XDG_CACHE_HOME/sabir/models, which loads in a
second.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from marl.errors import UserError
from marl.models.adapters.files import WEIGHTS
from marl.models.adapters.kinds import CONFIG, read_config
from marl.models.chat_model import ChatModel
from marl.models.language_model import without_progress_bars
from marl.models.lora_base import Base
from marl.models.malloc import keep_freed_memory
from marl.policy.config import HfPolicy, LoraSettings
from protocols.draws import key

About = Callable[[str], str]
"""Seat -> description of the world for its system prompt: `World.about`."""
PREFIX: Final = "policy_"
"""Before the name of an adapter: peft forgets the weights of one whose name is a part of "lora_", such as a."""
CACHE_FORMAT: Final = 1
"""Version of the format of converted models; another version converts them again."""
PLAY_TEMPERATURE: Final = 0.5
"""Temperature of a model that plays and is not trained: at 1 small models ramble."""


def cache_dir() -> Path:
    """Return the cache folder of converted models: `sabir/models` in $XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "sabir" / "models"


def find(source: str, dtype: str = "bfloat16") -> Path | str:
    """Return the folder of a model, or the hub id; raises UserError. A GGUF file is converted."""
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise UserError(f"hf:{source} is neither a model folder nor a GGUF file: name one of them")
        return converted(path, dtype)
    if path.is_dir():
        files = sorted(path.glob("*.gguf"))
        if (path / "config.json").is_file() or (path / CONFIG).is_file() or not files:
            return path
        return converted(_only(files, source), dtype)
    if files := shipped(source):
        return converted(_only(files, source), dtype)
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return source
    raise UserError(
        f"hf:{source}: there is no such folder or GGUF file, and no package llm_{source.replace('-', '_')} is "
        "installed; a model of the hub is named OWNER/NAME"
    )


def _only(files: Sequence[Path], source: str) -> Path:
    if len(files) > 1:
        raise UserError(f"hf:{source} holds several GGUF files: name one, such as {files[0]}")
    return files[0]


def shipped(name: str) -> list[Path]:
    """Return the GGUF files that an installed package of this name, or llm_ and this name, ships."""
    module = name.replace("-", "_")
    if not module.isidentifier():
        return []
    for package in (f"llm_{module}", module):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if files := sorted(Path(folder).glob("*.gguf")):
                return files
    return []


def converted(file: Path, dtype: str) -> Path:
    """Return the folder of a GGUF file's weights in some dtype, made the first time; raises UserError."""
    stat = file.stat()
    mark = blake2b(
        f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {CACHE_FORMAT}".encode(), digest_size=6
    ).hexdigest()
    folder = cache_dir() / f"{file.stem}-{dtype}-{mark}"
    if (folder / "config.json").is_file():
        return folder
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise UserError(f"{file} is a GGUF file, and the package gguf is missing: pip install 'sabir[hf]'") from None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            _convert(file, dtype, Path(part) / "model")
            if not folder.exists():
                shutil.move(Path(part) / "model", folder)
    except OSError as error:
        raise UserError(f"{file} could not be converted into {folder}: {error}") from None
    except Exception as error:  # readers of damaged files raise what they like
        first = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"{file} is not a GGUF file of a model that transformers knows: {first}") from None
    return folder


def _convert(file: Path, dtype: str, folder: Path) -> None:
    from transformers import GgufConfig

    where = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    with _read_once(), without_progress_bars():
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **where
        )
        # What says that the weights came quantized would not let them be saved.
        model.config.__dict__.pop("quantization_config", None)
        model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _read_once() -> Iterator[None]:
    """Let transformers read a GGUF file once instead of three times, and its strings ten times as fast."""
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):  # type: ignore[misc]
        def _get(self, *args: Any, **kwargs: Any) -> Any:
            self.data: Any = np.asarray(self.data)  # slices of a memory map are slow to make
            return super()._get(*args, **kwargs)

    names: Callable[..., Any] = lru_cache(gguf.get_tensor_name_map)
    with patch.object(gguf, "GGUFReader", lru_cache(Reader)), patch.object(gguf, "get_tensor_name_map", names):
        yield


def load_base(source: str, settings: HfPolicy, device: str = "cpu") -> Base:
    """Load a model's weights; raises UserError if it is not a complete chat model."""
    keep_freed_memory()
    place = find(source, settings.dtype)
    compute = getattr(torch, settings.dtype)
    wide = settings.lora is None and settings.dtype != "float32"  # full training keeps its weights in fp32
    model, tokenizer = _read(place, source, torch.float32 if wide else compute, settings.shard)
    base = Base(model if settings.shard else model.to(device), tokenizer, source, compute)
    base.recompute = settings.recompute
    if settings.recompute and not base.lean:
        base.model.gradient_checkpointing_enable({"use_reentrant": False})
    return base


def _read(
    place: Path | str, source: str, dtype: torch.dtype, shard: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    local = isinstance(place, Path)
    if local and not (Path(place) / "config.json").is_file():
        raise UserError(f"hf:{source} has no config.json: name the folder of a whole model")
    if local and not any((Path(place) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise UserError(f"hf:{source} has no tokenizer: save one into the folder with tokenizer.save_pretrained")
    try:
        with without_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                place, dtype=dtype, device_map="auto" if shard else None, trust_remote_code=False
            )
    except Exception as error:  # transformers and its hub raise what they like
        first = str(error).strip().partition("\n")[0][:200]
        why = "is not a whole model folder" if local else "could not be downloaded from the hub and is not in its cache"
        raise UserError(f"hf:{source} {why} ({first})") from None
    return model, tokenizer


def system_prompt(about: About, settings: HfPolicy) -> About:
    """Return what the system prompt tells a seat: what there is to know of the world, and the policy's own prompt."""
    thought = "First think to yourself in a few words, then reply." if settings.think else ""

    def told(seat: str) -> str:
        paragraphs = [" ".join(paragraph.split()) for paragraph in about(seat).split("\n\n")]
        return "\n".join(filter(None, [*paragraphs, settings.prompt, thought]))

    return told


def policies(
    settings: HfPolicy,
    names: Sequence[str],
    about: About,
    *,
    seed: int = 0,
    device: str = "cpu",
    saved: Mapping[str, Path] | None = None,
) -> dict[str, ChatModel]:
    """Return the policies of these names; with `lora` they are adapters on one base, else each has its own weights.

    Args:
        settings: the policy's configuration.
        names: one policy each.
        about: what the system prompt tells each seat.
        seed: of new adapters.
        device: where the weights go.
        saved: the folder of each, as a checkpoint keeps it; raises UserError for what is damaged, or of another base.
    """
    prompt = system_prompt(about, settings)
    if settings.lora is None:
        where = {name: str(saved[name]) if saved else settings.hf for name in names}
        return {name: ChatModel(load_base(where[name], settings, device), None, prompt, settings) for name in names}
    base = load_base(settings.hf, settings, device)
    for name in names:
        if saved:
            _adapt(base, PREFIX + name, saved[name])
        else:
            base.add(PREFIX + name, settings.lora, key(seed, "adapter", name) >> 1)
    return {name: ChatModel(base, PREFIX + name, prompt, settings) for name in names}


def _adapt(base: Base, name: str, folder: Path) -> None:
    """Add a saved adapter; raises UserError for one that is damaged, or of another base."""
    try:
        base.load(name, folder)
    except SafetensorError as error:
        raise UserError(f"the adapter {folder} is damaged ({error}): restore {WEIGHTS}") from None


def seat(source: str, about: About, settings: HfPolicy | None = None, device: str = "cpu") -> ChatModel:
    """Return the policy `hf:SOURCE` for play without training: a model, or an adapter's folder."""
    folder = Path(source).expanduser()
    settings = settings or HfPolicy(hf=source, lora=LoraSettings(), temperature=PLAY_TEMPERATURE)
    if not (folder / CONFIG).is_file():
        return ChatModel(load_base(source, settings, device), None, system_prompt(about, settings), settings)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"hf:{source} is not a whole adapter folder: {WEIGHTS} is missing")
    config = read_config(folder)
    if not config.base_model_name_or_path:
        raise UserError(f"hf:{source} does not say which model it adapts: set base_model_name_or_path in {CONFIG}")
    base = load_base(str(config.base_model_name_or_path), settings, device)
    _adapt(base, "adapter", folder)
    return ChatModel(base, "adapter", system_prompt(about, settings), settings)
