"""Whether the programs that the exports of `marl study` are meant for read them: each runs on those of a small run.

Every program has an environment of its own, and what is not given is not run:

- marl-eval (PyPI id-marl-eval 0.0.4): `--marl-eval PYTHON`. It checks the file, normalises it, and makes its matrices.
- CSAR (brendon-boldt/csar 0d209f9, Python 3.12): `--csar PYTHON FOLDER`, with numba, scipy, tqdm, click and pandas. It
  reads the pairs and induces morphemes.
- XferBench (brendon-boldt/xferbench b53e24a, transformers 4.46, datasets 3.1): `--xferbench PYTHON FOLDER`. It reads
  the corpus, cuts it into texts and pretrains on it, in the size of its own tests. Its tokenizer, which has no
  part in a corpus of numbers, is made here, as the program would ask the hub for one.

    python benchmarks/exports.py --marl-eval A/bin/python --csar B/bin/python csar --xferbench C/bin/python xferbench
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marl.metrics import morphemes
from marl.settings import check
from marl.study.data import exports, source
from trainers.run import Run, RunConfig

MARL_EVAL = """
import json, sys
from marl_eval.utils.data_processing_utils import create_matrices_for_rliable, data_process_pipeline
from marl_eval.utils.diagnose_data_errors import DiagnoseData
raw = json.load(open(sys.argv[1]))
valid = DiagnoseData(raw).check_data()["sabir"]
data = data_process_pipeline(raw_data=raw, metrics_to_normalize=["return"])
scores, curves = create_matrices_for_rliable(data, "sabir", metrics_to_normalize=["return"])
print(json.dumps({**valid, "scores": {k: v.tolist() for k, v in scores["mean_norm_return"].items()}}))
"""
XFERBENCH = """
import json, sys
from pathlib import Path
import tokenizers
from xferbench.model import clm, common, config
corpus, to = Path(sys.argv[1]), Path(sys.argv[2])
size = config.ClmTest(save_path=to / "train", tokenizer_path=to / "train" / "tokenizer.json")
size.save()
empty = tokenizers.ByteLevelBPETokenizer()
empty.train_from_iterator(iter([]), vocab_size=size.vocab_size - 1)
empty.save(str(size.tokenizer_path))
lines = common.get_raw_dataset(corpus)
clm.train_base_model(model_cfg=size, data_path=corpus)
print(json.dumps({"lines": len(lines), "read": list(lines.features), "trained": common.get_checkpoint(to / "train")}))
"""


def trained(folder: Path, seed: int) -> Path:
    """Train two agents a little, and return the folder of the run."""
    settings = {
        "scenario": {"arena": {"name": "reconstruction", "attributes": 2, "values": 10}},
        "out": str(folder / f"run-{seed}"),
        "seed": seed,
        "updates": 4,
        "evaluate_every": 2,
        "threads": 1,
    }
    run = Run(check(RunConfig, settings, "exports"))
    run.train()
    return run.dir.path


def asked(python: str, *arguments: str, where: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program of another environment."""
    env = {**os.environ, "PYTHONPATH": str(where or ""), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([python, *arguments], cwd=where, env=env, capture_output=True, text=True, timeout=900)


def row(program: str, done: subprocess.CompletedProcess[str], figures: dict[str, Any]) -> dict[str, Any]:
    """Return what to print of a program."""
    failed = {} if done.returncode == 0 else {"error": done.stderr.strip().splitlines()[-1:]}
    return {"program": program, "accepted": done.returncode == 0, **figures, **failed}


def last(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the JSON a script ended with."""
    values: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else {}
    return values


def induced(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the morphemes CSAR printed, most telling first: `(form, {meaning})  prevalence bits bits at first`."""
    return [line.rpartition(")")[0] + ")" for line in done.stdout.splitlines() if line.startswith("(")]


def inventory(pairs: Path) -> list[str]:
    """Return the morphemes that `marl study` finds in the same pairs, in the words of CSAR."""
    both = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    meanings, forms = [tuple(meaning) for _, meaning in both], [tuple(map(str, form)) for form, _ in both]
    return [f"({' '.join(m.form)}, {{{', '.join(sorted(m.meaning))}}})" for m in morphemes.inventory(meanings, forms)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line for each program that is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--marl-eval", metavar="PYTHON")
    parser.add_argument("--csar", nargs=2, metavar=("PYTHON", "FOLDER"))
    parser.add_argument("--xferbench", nargs=2, metavar=("PYTHON", "FOLDER"))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [source.read(trained(folder, seed)) for seed in (1, 2)]
        exports.export(["elcc", "csar", "marl-eval"], runs, folder, print)
        if options.marl_eval:
            done = asked(options.marl_eval, "-c", MARL_EVAL, str(folder / "marl-eval.json"))
            print(json.dumps(row("marl-eval", done, last(done))), flush=True)
        if options.csar:
            pairs = folder / "csar.jsonl"
            done = asked(options.csar[0], "-m", "src.minimal", str(pairs), where=Path(options.csar[1]).resolve())
            theirs, ours = induced(done), inventory(pairs)
            same = {"morphemes": len(theirs), "ours": len(ours), "in_both": len({*theirs} & {*ours})}
            print(json.dumps(row("csar", done, {**same, "first": theirs[:5], "our_first": ours[:5]})), flush=True)
        if options.xferbench:
            program, where = options.xferbench[0], Path(options.xferbench[1]).resolve()
            done = asked(program, "-c", XFERBENCH, str(folder / "corpus.jsonl"), str(folder / "model"), where=where)
            print(json.dumps(row("xferbench", done, last(done))), flush=True)


if __name__ == "__main__":
    main()
