"""Write the table of causal LMs of transformers: `python -m tests.marl.models.differential.table > FILE`."""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
import transformers

from marl.errors import UserError
from tests.marl import chats
from tests.marl.models.differential.architectures import ARCHITECTURES, VARIANTS, build
from tests.marl.models.differential.examine import examine

TOLERANCE = 1e-4


def verdict(name: str, variant: str, vocabulary: int) -> tuple[str, str, str] | None:
    """Return (verdict, path, remark) of an architecture in a variant; None where it has no such variant."""
    try:
        model = build(name, variant, vocabulary)
    except Exception as error:  # transformers raises what it likes
        return "not buildable", "", first_line(error)
    if model is None:
        return None
    try:
        with torch.no_grad():
            model(input_ids=torch.ones(1, 4, dtype=torch.int64), use_cache=False).logits.shape  # noqa: B018
    except Exception as error:
        return "not buildable", "", first_line(error)
    try:
        outcome = examine(model)
    except UserError as error:
        return "refused", "", first_line(error)
    except Exception as error:
        return "error", "", first_line(error)
    worst = max(outcome.logits, outcome.sampled, outcome.scored)
    return ("agrees" if worst <= TOLERANCE else "differs"), outcome.path, f"{worst:.0e}"


def first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.partition("\n")[0].replace("|", "/")[:110]


def lines_of(name: str) -> list[tuple[str, str]]:
    """Return (verdict, line of the table) of an architecture in each variant."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    lines = []
    for variant in VARIANTS:
        result = verdict(name, variant, len(chats.tokenizer()))
        if result is not None:
            lines.append((result[0], f"| {name} | {variant} | {' | '.join(result)} |"))
    return lines


def main() -> None:
    """Print the table as Markdown; fail where a model differs silently."""
    chosen = sys.argv[1:] or ARCHITECTURES
    counts: Counter[str] = Counter()
    lines = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for rows in pool.map(lines_of, chosen):
            for kind, line in rows:
                counts[kind] += 1
                lines.append(line)
                if kind not in ("agrees", "not buildable"):
                    print(line, file=sys.stderr, flush=True)
    print("# Causal language models of transformers\n")
    print(f"Written by `make models` with transformers {transformers.__version__}, on tiny models of random weights in")
    print(
        "fp32: sampled and scored log-probabilities beside `model(...).logits`, past every window, in ragged batches."
    )
    print("The number is the largest difference; up to 1e-4 agrees. [models.md](models.md) explains the paths.\n")
    print(
        f"{len(chosen)} architectures: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()) + ".\n"
    )
    print("| architecture | variant | verdict | path | difference, or reason |\n|---|---|---|---|---|")
    print("\n".join(lines))
    sys.exit(counts["differs"] + counts["error"] > 0)


if __name__ == "__main__":
    main()
