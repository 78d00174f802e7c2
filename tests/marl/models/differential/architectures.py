"""Every causal LM of transformers as a tiny model of random weights, in several variants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import transformers
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from marl.models.forward.twin import WINDOW, twin

ARCHITECTURES: Final[tuple[str, ...]] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
VARIANTS: Final = ("default", "eager", "tied", "window", "scaled")
LISTED: Final = ("layer_types", "layers_block_type")


def config(name: str, variant: str) -> Any | None:
    """Return the configuration of an architecture in a variant; None where it has no such variant."""
    made = CONFIG_MAPPING[name]()
    text = made.get_text_config(decoder=True)
    if hasattr(text, "is_decoder"):
        text.is_decoder = True
    model = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name])
    made._attn_implementation = "sdpa" if model._supports_sdpa and variant != "eager" else "eager"
    if variant == "eager" and not model._supports_sdpa:
        return None
    if variant == "tied":
        made.tie_word_embeddings = text.tie_word_embeddings = not getattr(made, "tie_word_embeddings", True)
    if variant == "window":
        return windowed(made, text)
    if variant == "scaled":
        return scaled(made, text)
    return made


def windowed(made: Any, text: Any) -> Any | None:
    """Give a model that may have a window one, on every other layer where it has kinds of layers."""
    if getattr(text, "sliding_window", 0) is not None and not hasattr(text, "use_sliding_window"):
        return None
    text.sliding_window = WINDOW
    if hasattr(text, "use_sliding_window"):
        text.use_sliding_window = True
    kinds = getattr(text, "layer_types", None)
    if kinds:
        text.layer_types = ["sliding_attention" if layer % 2 else kind for layer, kind in enumerate(kinds)]
    return made


def scaled(made: Any, text: Any) -> Any | None:
    """Scale and cap logits where the configuration has a field for it."""
    values = {"logits_scaling": 8.0, "logit_scale": 0.25, "final_logit_softcapping": 2.0, "lm_head_multiplier": 3.0}
    fields = {name: value for name, value in values.items() if hasattr(text, name)}
    for name, value in fields.items():
        setattr(text, name, value)
    return made if fields else None


def build(name: str, variant: str, vocabulary: int) -> PreTrainedModel | None:
    """Build an architecture tiny; None where it has no such variant. Raises what transformers raises."""
    settings = config(name, variant)
    return None if settings is None else twin(settings, 1, vocabulary)


def cases() -> Iterator[tuple[str, str]]:
    """Yield every architecture in every variant."""
    for name in ARCHITECTURES:
        for variant in VARIANTS:
            yield name, variant
