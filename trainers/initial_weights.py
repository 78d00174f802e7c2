"""Initial weights from another run: fine-tuning, transfer to another scenario, another algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError

from marl.errors import UserError
from marl.models.language_model import LanguageModel
from marl.rundir.load import run_dir


def load_initial_weights(policies: Mapping[str, LanguageModel], source: Path) -> None:
    """Load the policies' weights from the newest checkpoint of a run, or from one of its checkpoints.

    Critic, optimizers and the number of updates begin anew. Raises UserError where a policy is missing there, or has
    other words or another size.
    """
    checkpoint = source if (source / "policies").is_dir() else run_dir(source).newest()
    for name, lm in policies.items():
        folder = checkpoint / "policies" / name
        if not folder.is_dir():
            names = ", ".join(sorted(path.name for path in (checkpoint / "policies").iterdir()))
            raise UserError(f"init_from = {source}: that run has no policy {name!r} but {names}: set sharing likewise")
        try:
            if _words(folder, lm) != lm.tokenizer.get_vocab():
                raise ValueError("its words are others")
            lm.restore(folder)
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(
                f"init_from = {source}: the policy {name!r} cannot begin from there ({reason}): "
                "the arena's words and [policy] must be those of that run"
            ) from None


def _words(folder: Path, lm: LanguageModel) -> dict[str, int]:
    """Return the vocabulary of a saved policy; that of the model itself where none is saved, as for an adapter."""
    from transformers import AutoTokenizer

    saved = (folder / "tokenizer.json").is_file()
    vocabulary: dict[str, int] = (AutoTokenizer.from_pretrained(folder) if saved else lm.tokenizer).get_vocab()
    return vocabulary
