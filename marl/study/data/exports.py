"""Exports for other programs: ELCC corpora, CSAR pairs, marl-eval JSON, parquet tables.

| file | for | one line or entry is |
|---|---|---|
| `corpus.jsonl` | XferBench, ELCC | a message as a list of numbers |
| `system.json`, `metadata.json` | ELCC | where the corpus comes from; how it went, and what the numbers stand for |
| `csar.jsonl` | CSAR | a list of two: a message as a list of numbers, its meaning as a list of labels |
| `marl-eval.json` | marl-eval | environment, task, algorithm, run: the scores of each evaluation |
| `messages.parquet` | pandas and others | a message as it was heard by one listener |

`benchmarks/exports.py` gives them to the programs themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from marl.errors import UserError
from marl.evaluation import log_lines
from marl.metrics import reconstruction
from marl.settings import read_toml
from marl.study.data import lexicon
from marl.study.data.corpus import MessageSample
from marl.study.data.source import StudySource
from protocols.channel import PUBLIC
from protocols.envelope import EVERYONE, REFEREE, Kind

if TYPE_CHECKING:
    from marl.sweep.plan import SweepCell
    from marl.sweep.results import CellResult


Remark = Callable[[str], None]
"""Is told what a reader must know about what was written."""
BLOCK: Final = 256
"""Tokens of a training text of XferBench (`context_length` in its xferbench/model/config.py)."""


def elcc(sources: Sequence[StudySource], folder: Path, remark: Remark) -> list[Path]:
    """Write the messages of all sources as an ELCC corpus (read by XferBench); returns the files.

    One message a line, as numbers from 1, and beside them the two files that the readers of ELCC join with it: the
    `system` that the corpus comes from, and the `metrics` of this corpus.
    """
    samples = [sample for source in sources for sample in source.samples]
    number = _numbers(samples)
    lines = [json.dumps([number[symbol] for symbol in sample.message]) for sample in samples]
    tokens = sum(len(sample.message) for sample in samples)
    if tokens <= (BLOCK - 1) * (len(lines) // 1000 + 1):
        remark(
            f"elcc: {tokens} symbols in {len(lines)} messages are too few for XferBench, which wants texts of {BLOCK}"
        )
    scores = [sample.score for sample in samples if sample.score is not None]
    written = {
        "corpus.jsonl": "".join(line + "\n" for line in lines),
        "system.json": _json(_system(sources, samples)),
        "metadata.json": _json(
            {
                "metrics": {"system": {"score": fmean(scores)} if scores else {}},
                "corpus": {"utterances": len(samples), "tokens": tokens, "vocabulary_size": len(number)},
                "vocabulary": {str(n): symbol for symbol, n in number.items()},
                "meanings": "csar.jsonl has them, line by line",
            }
        ),
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in written]


def _system(sources: Sequence[StudySource], samples: Sequence[MessageSample]) -> dict[str, Any]:
    return {
        "origin": {"program": "sabir", "sources": [str(source.path) for source in sources]},
        "system": {
            "game_type": sorted({source.arena for source in sources if source.arena}),
            "speakers": sorted({sample.speaker for sample in samples}),
            "episodes": sum(source.episodes for source in sources),
        },
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def csar(sources: Sequence[StudySource], folder: Path, remark: Remark) -> list[Path]:
    """Write pairs of message and meaning for CSAR: each line is a JSON list of two lists.

    The numbers are those of the ELCC corpus. Meanings are taken apart into attributes speaker by speaker.
    """
    samples = [sample for source in sources for sample in source.samples]
    if not any(sample.message for sample in samples):
        remark("csar: nothing was said, and CSAR fails where there is no morpheme")
    number = _numbers(samples)
    labels: dict[int, tuple[str, ...]] = {}
    for speaker in dict.fromkeys((sample.speaker, sample.place) for sample in samples):
        own = [i for i, sample in enumerate(samples) if (sample.speaker, sample.place) == speaker]
        vectors = lexicon.attributes([samples[i].meaning for i in own])
        parts = reconstruction.concepts(vectors)
        labels |= {i: part or (samples[i].meaning,) for i, part in zip(own, parts, strict=True)}
    pairs = [([number[symbol] for symbol in sample.message], labels[i]) for i, sample in enumerate(samples)]
    path = folder / "csar.jsonl"
    path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")
    return [path]


def _numbers(samples: Iterable[MessageSample]) -> dict[str, int]:
    """Number the symbols from 1, in natural order."""
    symbols = {symbol for sample in samples for symbol in sample.message}
    return {symbol: n for n, symbol in enumerate(sorted(symbols, key=lexicon.natural), 1)}


def marl_eval(sources: Sequence[StudySource], folder: Path, remark: Remark) -> list[Path]:
    """Write the evaluations of runs in the JSON of marl-eval, as those of a sweep (`marl/sweep/export.py`).

    The algorithm is the run's `algorithm.type`, and the name of the folder too where runs of one type differ in more
    than the seed. Raises UserError where there is nothing that marl-eval could read.
    """
    from marl.sweep import export as swept

    results = _evaluated(sources, remark)
    seeds = [{run.seed for run in result.runs} for result in results]
    if not seeds:
        raise UserError("marl-eval: no source is a finished run: name folders of finished runs")
    common = set.intersection(*seeds)
    if not common:
        raise UserError("marl-eval wants the same seeds of every algorithm in every arena: these runs share none")
    if left := sorted(set.union(*seeds) - common):
        remark(f"marl-eval: left out are the seeds that not all have: {', '.join(map(str, left))}")
    for config in dict.fromkeys(result.cell.config for result in results):
        tasks = {result.cell.task for result in results if result.cell.config == config}
        if tasks != {result.cell.task for result in results}:
            remark(f"marl-eval will refuse these runs: {config} is not there for every arena")
    path = folder / "marl-eval.json"
    path.write_text(_json(swept.marl_eval(results)), encoding="utf-8")
    return [path]


def _evaluated(sources: Sequence[StudySource], remark: Remark) -> list[CellResult]:
    """Group runs that differ only in their seed."""
    from marl.sweep.plan import SweepCell, with_tasks
    from marl.sweep.results import CellResult, Finished, read

    cells: list[SweepCell] = []
    runs: list[dict[int, Finished]] = []
    for source in sources:
        if source.run is None or source.world is None or source.seed is None:
            continue
        if (run := read(source.run, source.seed)) is None:
            remark(f"marl-eval: {source.path} is left out: it is not finished, or has no score")
            continue
        settings = {k: v for k, v in read_toml(source.run.config).items() if k not in ("seed", "out")}
        place = next((i for i, cell in enumerate(cells) if cell.settings == settings), len(cells))
        if place == len(cells):
            cells.append(SweepCell(task="", config=source.path.resolve().name, settings=settings))
            runs.append({})
        runs[place][source.seed] = run
    named = with_tasks(_with_names(cells))
    return [
        CellResult(cell, cell.world().anchors, [one[seed] for seed in sorted(one)], len(one))
        for cell, one in zip(named, runs, strict=True)
    ]


def _with_names(cells: Sequence[SweepCell]) -> list[SweepCell]:
    """Name each cell after its algorithm, and its folder too if settings of that algorithm differ."""
    kinds = [str(cell.settings.get("algorithm", {}).get("type", "unknown")) for cell in cells]
    rests = [_without_arena(cell.settings) for cell in cells]
    called: dict[str, dict[str, Any]] = {}
    names = []
    for kind, rest in zip(kinds, rests, strict=True):
        alone = all(other == rest for same, other in zip(kinds, rests, strict=True) if same == kind)
        name = kind if alone else f"{kind} {cells[rests.index(rest)].config}"
        free = (name, *(f"{name} {n}" for n in range(2, len(cells) + 1)))  # folders may have one name
        names.append(next(candidate for candidate in free if called.setdefault(candidate, rest) == rest))
    return [cell.model_copy(update={"config": name}) for cell, name in zip(cells, names, strict=True)]


def _without_arena(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"scenario": {k: v for k, v in settings.get("scenario", {}).items() if k != "arena"}}


def parquet(sources: Sequence[StudySource], folder: Path, remark: Remark) -> list[Path]:
    """Write every message as a table: one row for each listener it was meant for, or one where nobody could hear it."""
    import pyarrow
    from pyarrow.parquet import write_table

    rows = [row for source in sources for row in (_heard(source) if source.logs else _told(source))]
    path = folder / "messages.parquet"
    write_table(pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(_schema(pyarrow))), path)
    return [path]


COLUMNS: Final = {
    **dict.fromkeys(("run", "episode"), "string"),
    **dict.fromkeys(("seq", "place"), "int64"),
    "time": "float64",
    **dict.fromkeys(("speaker", "listener", "channel", "meaning", "said", "heard", "answer"), "string"),
    "delay": "float64",
    "score": "float64",
    "held_out": "bool_",
}
"""Column -> its type in pyarrow."""


def _schema(pyarrow: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()]


def _told(source: StudySource) -> Iterable[dict[str, Any]]:
    for sample in source.samples:
        for listener, answer in sample.answers.items() or ((None, None),):
            yield {
                "run": source.path.name,
                "episode": sample.episode,
                "place": sample.place,
                "speaker": sample.speaker,
                "listener": listener,
                "meaning": sample.meaning,
                "said": " ".join(sample.message),
                "answer": answer,
                "score": sample.score,
                "held_out": sample.held_out,
            }


def _heard(source: StudySource) -> Iterable[dict[str, Any]]:
    for log in source.logs:
        answers = {u.seq: u for u in lexicon.utterances([log])}
        score = log_lines.score(log)
        for seq, (envelope, heard) in enumerate(log.entries):
            if envelope.kind is not Kind.SAY or envelope.sender == REFEREE:
                continue
            u = answers.get(seq)
            row = {
                "run": source.path.name,
                "episode": log.episode,
                "seq": seq,
                "place": u.place if u else None,
                "time": envelope.time,
                "speaker": envelope.sender,
                "channel": PUBLIC if envelope.to == EVERYONE else envelope.to,
                "meaning": log_lines.shown(log, envelope),
                "said": envelope.body,
                "score": score,
                "held_out": log.deal.get("split", "train") != "train",
            }
            for copy in heard:
                answer = u.answers.get(copy.to) if u else None
                delay = None if copy.body is None else copy.time - envelope.time
                yield row | {"listener": copy.to, "heard": copy.body, "delay": delay, "answer": answer}
            if not heard:
                yield row


EXPORTS: Final[dict[str, Callable[[Sequence[StudySource], Path, Remark], list[Path]]]] = {
    "elcc": elcc,
    "csar": csar,
    "marl-eval": marl_eval,
    "parquet": parquet,
}


def export(
    kinds: Sequence[str], sources: Sequence[StudySource], folder: Path, remark: Remark = lambda text: None
) -> list[Path]:
    """Write exports of these kinds into a folder; returns the files. Raises UserError for an unknown kind."""
    if unknown := [kind for kind in kinds if kind not in EXPORTS]:
        raise UserError(f"there is no export {unknown[0]!r}; there are {', '.join(EXPORTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    return [path for kind in dict.fromkeys(kinds) for path in EXPORTS[kind](sources, folder, remark)]
