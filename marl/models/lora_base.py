"""A pretrained causal LM, held in memory once, with a LoRA (Hu et al. 2022) for each policy on it.

The passes of Llama-like models compute the plain LoRAs of a mixed batch side by side (marl/models/llama.py); other
models, and adapters of any other kind, take one pass per adapter through peft.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from marl.context.chat_template import Template
from marl.errors import UserError, plain_os_errors
from marl.grammar.automaton import speller
from marl.grammar.structured import Forms
from marl.models import llama
from marl.models.adapters import files, kinds
from marl.models.adapters.active import active
from marl.models.forward.head import head_of
from marl.models.forward.masks import MaskForm, masks
from marl.models.llama import Affine, Pack, Packs
from marl.models.packed_linear import Packed, packable, plain
from marl.models.tiny import seeded
from marl.policy.config import LoraSettings

TARGETS: Final = {"attention": llama.ATTENTION, "all": (*llama.ATTENTION, *llama.MLP)}


class Base(nn.Module):
    """The shared weights. Rows of a batch name the adapter they are for; None is the model as it was."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str, compute: torch.dtype
    ) -> None:
        super().__init__()
        self.model: Any = model.eval()
        self.tokenizer = tokenizer
        self.source = source
        self.compute = compute
        self.template = Template(tokenizer, source)
        self.spell = speller(self.template.encode, self.template.decode, self.template.encode_reply)
        width = int(model.get_output_embeddings().weight.shape[0])
        self.forms = Forms(tokenizer, self.template.end, width, source)
        self.sharded = len({str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()}) > 1
        self._llama = llama.lean(model.base_model) and not self.sharded  # accelerate moves what goes through modules
        self.lean = self._llama
        """Whether passes are those of marl/models/llama.py; else they go through transformers and peft."""
        self.head = head_of(model)
        self.form: MaskForm | None = None
        """How the model takes masks in a pass with a cache; the engine says it."""
        self.recompute = False
        self.peft: Any = None
        self._matrices: dict[str, frozenset[tuple[int, str]]] = {}
        """What each plain LoRA of a lean model changes."""
        self._special: set[str] = set()
        """Adapters that only peft computes."""
        self._altered = ""
        """The adapter that changed the base model itself."""
        self._heads = False
        """Whether an adapter changes the output embeddings."""
        self._packed: dict[tuple[str, ...], Packs] = {}
        self._laid = Packed()
        self._lock = threading.RLock()

    @property
    def device(self) -> torch.device:
        """Where the weights are; the first of them, if they are spread over several devices."""
        return torch.device(self.model.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the dtype asked for where the weights are kept in a wider one."""
        kept = next(self.model.parameters()).dtype
        if kept == self.compute:
            return nullcontext()
        return torch.autocast(self.device.type, self.compute)

    def add(self, name: str, settings: LoraSettings, seed: int) -> None:
        """Add an adapter that changes nothing yet; its weights depend on `seed` alone."""
        from peft import LoraConfig

        targets = TARGETS.get(settings.targets[0], settings.targets) if len(settings.targets) == 1 else settings.targets
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha or 2 * settings.rank,
            target_modules=list(targets),
            task_type="CAUSAL_LM",
        )
        self._place(name, config, seed)

    def _place(self, name: str, config: Any, seed: int) -> None:
        from peft import get_peft_model

        self._check_shared(name, config)
        config.base_model_name_or_path = self.model.__dict__.get("name_or_path") or None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # peft tells of merging, which nobody does here
                if self.peft is None:
                    self.peft = seeded(lambda: get_peft_model(self.model, config, adapter_name=name), seed)
                else:
                    seeded(lambda: self.peft.add_adapter(name, config), seed)
        except (ValueError, TypeError) as error:
            first = str(error).partition("\n")[0][:200]
            raise UserError(f"{self.source} cannot take the adapter: {first}") from None
        self.peft.peft_config[name].base_model_name_or_path = self.source
        self._classify(name, config)
        for parameter in self.parameters_of(name):
            parameter.requires_grad_(True)

    def _check_shared(self, name: str, config: Any) -> None:
        """Raise UserError for an adapter that would share the base model with one that changes it."""
        alters = kinds.alters_base(config)
        if self.peft is not None and self.peft.peft_config and (alters or self._altered):
            raise UserError(f"{self._shared(self._altered or name)}: train it as plain LoRA")
        self._altered = name if alters else ""

    def _check_unaltered(self, adapters: Sequence[str | None]) -> None:
        if self._altered and None in adapters:
            raise UserError(f"{self._shared(self._altered)}: train it as plain LoRA")

    def _shared(self, name: str) -> str:
        return f"the adapter {name} changes {self.source} itself (bias, initialisation), so no other policy can use it"

    def _classify(self, name: str, config: Any) -> None:
        """Note how passes compute an adapter; a model with one that is not plain goes through peft."""
        plain_lora = kinds.is_plain(self.model, config, name)
        matrices = kinds.lean_matrices(self.model, name) if self._llama and plain_lora else None
        if matrices is not None:
            self._matrices[name] = matrices
        if not plain_lora:
            self._special.add(name)
        self._choose_pass()
        self._laid = Packed()  # some initialisations change the base model's weights

    def _choose_pass(self) -> None:
        """Take the lean pass where it computes every adapter, else that of transformers and peft."""
        lean = self._llama and (self.peft is None or self.peft.peft_config.keys() <= self._matrices.keys())
        if self.lean and not lean and self.recompute:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.lean = lean
        self._heads = kinds.has_adapter(self.model.get_output_embeddings())
        self.settle()

    def settle(self) -> None:
        """Keep adapters out of training mode, in which some drop or draw: scores would not be those of sampling."""
        for module in self.model.modules() if self.peft is not None and not self.lean else ():
            if kinds.has_adapter(module):
                module.eval()

    def load(self, name: str, folder: Path) -> None:
        """Add a saved adapter; raises UserError for one of another base."""
        config = kinds.read_config(folder)
        config.inference_mode = False
        self._place(name, config, 0)
        try:
            self.take(name, folder)
        except KeyError as error:
            raise UserError(
                f"{self.source} cannot hold {folder} beside its other adapters: peft lacks {error}"
            ) from None
        except (OSError, RuntimeError) as error:
            raise UserError(str(error).partition("\n")[0]) from None

    def take(self, name: str, folder: Path) -> None:
        """Load the weights of a saved adapter; raises RuntimeError for one of another base."""
        files.load_weights(self.peft, name, folder, self.source)
        self.touch()

    def save(self, name: str, folder: Path) -> None:
        """Write an adapter as peft does, so that `PeftModel.from_pretrained` loads it."""
        with plain_os_errors(folder):
            files.save(self.peft, name, folder)

    def copy(self, name: str, to: str) -> None:
        """Make a frozen copy of an adapter."""
        self._place(to, deepcopy(self.peft.peft_config[name]), 0)
        if name in self._special:  # some have buffers too
            files.copy_weights(self.peft, name, to)
        for mine, theirs in zip(self.parameters_of(to), self.parameters_of(name), strict=True):
            mine.data.copy_(theirs.data)
            mine.requires_grad_(False)

    def drop(self, name: str) -> None:
        """Remove an adapter."""
        self.peft.delete_adapter(name)
        self._special.discard(name)
        self._matrices.pop(name, None)
        self._choose_pass()
        self.touch()

    def _adapted(self) -> list[tuple[int, str, Any]]:
        """Return (layer, name, module) of every matrix with adapters, if this is a lean model."""
        layers = []
        for index, layer in enumerate(self.model.base_model.layers):
            for part in (layer.self_attn, layer.mlp):
                for name, module in part.named_children():
                    if hasattr(module, "lora_A"):
                        layers.append((index, name, module))
        return layers

    def parameters_of(self, name: str) -> list[nn.Parameter]:
        """Return the weights of an adapter, in the order of the model."""
        if name in self._special:
            named = self.model.named_parameters()
            return [parameter for path, parameter in named if name in path.split(".")]
        sides = (getattr(module, side, {}) for module in self.model.modules() for side in ("lora_A", "lora_B"))
        return [side[name].weight for side in sides if name in side]

    def is_void(self, name: str) -> bool:
        """Whether an adapter changes nothing yet: a LoRA with B = 0."""
        return name not in self._special and not any(bool(p.any()) for p in self.parameters_of(name)[1::2])

    def touch(self) -> None:
        """Drop the caches that sampling derived from older weights."""
        self._packed.clear()
        if any(parameter.requires_grad for parameter in self.model.get_output_embeddings().parameters()):
            self._laid = Packed()

    @property
    def _affine(self) -> Affine:
        """How sampling multiplies with the model's own matrices."""
        return self._laid if packable(self.device, self.compute) else plain

    def heading(self, adapter: str | None) -> AbstractContextManager[object]:
        """Use an adapter's output embeddings: those of the model, unless some adapter of the base changes them."""
        return active(self.peft, adapter) if self._heads else nullcontext()

    def logits(self, hidden: Tensor, adapters: Sequence[str | None] = (None,)) -> Tensor:
        """Return the fp32 logits [N, V] of hidden states [N, d], by the weights of the last `touch`; for sampling.

        `adapters`: of each row, or one of all.
        """
        if not self._heads:
            return self._logits(hidden)
        out: Tensor | None = None
        for adapter in dict.fromkeys(adapters):
            at = [row for row, name in enumerate(adapters) if name == adapter] if len(adapters) > 1 else slice(None)
            with self._lock, active(self.peft, adapter):
                logits = self._logits(hidden[at])
            out = logits.new_empty((len(hidden), logits.shape[1])) if out is None else out
            out[at] = logits
        assert out is not None
        return out

    def _logits(self, hidden: Tensor) -> Tensor:
        head = self.model.get_output_embeddings()
        if self.sharded or not self.head.linear or type(head) is not nn.Linear:
            return self.head(self.model, hidden)
        return self._affine(hidden, [head])[0].float()

    def _pack(self, names: tuple[str, ...]) -> Packs:
        """Concatenate the adapters of each matrix, with gradients where they are enabled."""
        dtype = self.compute
        packs: list[dict[str, Pack]] = [{} for _ in self.model.base_model.layers]
        for layer, matrix, module in self._adapted():
            if names[0] not in module.lora_A:
                continue
            a = torch.cat([module.lora_A[name].weight for name in names]).to(dtype)
            b = torch.cat([module.lora_B[name].weight * module.scaling[name] for name in names], 1).to(dtype)
            packs[layer][matrix] = Pack(a, b)
        return packs

    def _gate(self, adapters: Sequence[str | None], names: tuple[str, ...]) -> Tensor | None:
        """Return [B, R]: 1 where a rank belongs to the row's adapter, else 0; None if all rows share one adapter."""
        if len(set(adapters)) == 1:
            return None
        ranks = [self.peft.peft_config[name].r for name in names]
        gate = torch.zeros(len(names) + 1, sum(ranks), device=self.device)
        for row in range(len(names)):
            begin = sum(ranks[:row])
            gate[row, begin : begin + ranks[row]] = 1.0
        place = {name: row for row, name in enumerate(names)}
        return gate[torch.tensor([len(names) if a is None else place[a] for a in adapters], device=self.device)]

    def states(
        self,
        ids: Tensor,
        adapters: Sequence[str | None],
        positions: Tensor | None = None,
        cache: Any = None,
        visible: Tensor | None = None,
        sampling: bool = False,
    ) -> Tensor:
        """Return the last hidden states [B, q, d] over token ids [B, q] of rows with these adapters.

        `sampling`: without gradients, and by the weights of the last `touch`, of which what many passes need is kept.
        """
        if not sampling and torch.is_grad_enabled():
            self.touch()  # the weights are about to change
        positions = torch.arange(ids.shape[1], device=ids.device)[None] if positions is None else positions
        trunk = self.model.base_model
        self._check_unaltered(adapters)
        names = tuple(sorted({adapter for adapter in adapters if adapter is not None}))
        if not self.lean or len({self._matrices[name] for name in names}) > 1:
            return self._through_peft(ids, adapters, positions, cache, visible)
        packs = self._packs(names, sampling)
        gate = self._gate(adapters, names) if names else None
        recompute = self.recompute and torch.is_grad_enabled()
        affine = self._affine if sampling else plain
        return llama.hidden_states(trunk, ids, positions, cache, visible, packs, gate, recompute, affine)

    def shared_states(self, ids: Tensor, adapter: str | None, common: int) -> Tensor:
        """Return what `states` does of rows whose first `common` tokens are equal: these are read once."""
        if torch.is_grad_enabled():
            self.touch()
        self._check_unaltered((adapter,))
        packs = self._packs((adapter,) if adapter else (), sampling=False)
        return llama.shared_states(self.model.base_model, ids, common, packs)

    def _packs(self, names: tuple[str, ...], sampling: bool) -> Packs:
        if not names:
            return ()
        if not sampling:
            return self._pack(names)
        if names not in self._packed:
            self._packed[names] = self._pack(names)
        return self._packed[names]

    def _through_peft(
        self, ids: Tensor, adapters: Sequence[str | None], positions: Tensor, cache: Any, visible: Tensor | None
    ) -> Tensor:
        """One pass for each adapter of the batch."""
        out: Tensor | None = None
        for adapter in dict.fromkeys(adapters):
            at = torch.tensor([row for row, name in enumerate(adapters) if name == adapter], device=ids.device)
            inputs: dict[str, Any] = {"input_ids": ids[at], "use_cache": cache is not None}
            if cache is not None:
                cache.choose(at)
                own = positions if len(positions) == 1 else positions[at]
                mask = None if visible is None else self._masks(visible[at], own)
                inputs |= {"past_key_values": cache, "attention_mask": mask, "position_ids": own}
            with self._lock, active(self.peft, adapter, self.recompute and not torch.is_grad_enabled()):
                hidden = self.head.states(self.model, inputs).to(ids.device)
            out = hidden.new_zeros((len(ids), *hidden.shape[1:])) if out is None else out
            out = out.index_copy(0, at, hidden)
        assert out is not None
        return out

    def _masks(self, visible: Tensor, positions: Tensor) -> Any:
        dtype = self.compute if torch.is_autocast_enabled(visible.device.type) else self.model.dtype
        return masks(self.model.config.get_text_config(), self.form or MaskForm.FULL, visible, positions, dtype)
