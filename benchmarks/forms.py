"""Cost of constrained decoding in milliseconds per token, from llguidance's mask to a row of a table.

Tokens are drawn evenly from those that are allowed, which visits more states than a model would. The first mask of all
includes what llguidance derives from the tokenizer.

    python benchmarks/forms.py --model smollm2 --replies 20
"""

from __future__ import annotations

import argparse
import json
import random
import time

import numpy as np

from arenas.spec import ReplySpec, matching, structured
from marl.models.chat_model import ChatModel
from marl.models.pretrained import seat

OFFER = {
    "type": "object",
    "properties": {
        "books": {"type": "integer", "minimum": 0, "maximum": 12},
        "to": {"enum": ["negotiator_0", "negotiator_1"]},
        "why": {"type": "string", "maxLength": 40, "examples": ["fair"]},
    },
}
FORMS = {
    "pattern": matching(r"[a-h][1-8] to [a-h][1-8]", ("a1",), ("to",), ("b2",), free=8),
    "open pattern": matching(r"\w+ \d+: [^x]*", ("to",), ("1:",), ("yes",), free=60),
    "schema": structured(OFFER),
}


def main() -> None:
    """Measure and print one JSON line per form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--replies", type=int, default=20)
    options = parser.parse_args()
    lm = seat(options.model, lambda seat: "")
    for name, spec in FORMS.items():
        began = time.perf_counter()
        lm.row(lm.automaton(spec), lm.automaton(spec).start)
        first = time.perf_counter() - began
        spent, tokens = walk(lm, spec, options.replies)
        print(
            json.dumps(
                {
                    "form": name,
                    "first_mask_ms": round(1e3 * first, 2),
                    "ms_per_token": round(1e3 * spent / tokens, 3),
                    "tokens": tokens,
                    "vocabulary": lm.masks.shape[1],
                }
            )
        )


def walk(lm: ChatModel, spec: ReplySpec, replies: int) -> tuple[float, int]:
    """Draw replies; return the seconds that their masks took, and their tokens."""
    grammar, spent, tokens = lm.automaton(spec), 0.0, 0
    for number in range(replies):
        draws, state, token = random.Random(number), grammar.start, -1
        while token != lm.eos:
            began = time.perf_counter()
            row = lm.row(grammar, state)
            spent += time.perf_counter() - began
            allowed = np.flatnonzero(lm.masks[row].numpy())
            token = int(allowed[draws.randrange(len(allowed))])
            tokens += 1
            state = grammar.step(state, token)
    return spent, tokens


if __name__ == "__main__":
    main()
