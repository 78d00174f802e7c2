"""What is found, in the forms of other programs: corpora, pairs, evaluations and tables.

| file | for | one line or entry is |
|---|---|---|
| `corpus.jsonl`, `metadata.json` | ELCC, XferBench | a message as a list of numbers; where it comes from |
| `csar.jsonl` | CSAR | a message as a list of numbers, a comma, its meaning as a list of labels |
| `marl-eval.json` | marl-eval | environment, task, algorithm, run: the scores of each evaluation |
| `messages.parquet` | pandas and others | a message as it was heard by one listener |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from marl import conversation
from marl.config import read_toml
from marl.errors import UserError
from marl.study import composition, lexicon
from marl.study.corpus import Sample
from marl.study.source import Source
from protocols.channel import PUBLIC
from protocols.envelope import EVERYONE, REFEREE, Kind


def elcc(sources: Sequence[Source], folder: Path) -> list[Path]:
    """Write the messages of all sources as an ELCC corpus, which XferBench reads; returns the files.

    One message a line, as numbers from 1 (0 is left for the end of a message), and beside them JSON (which is YAML too)
    with the vocabulary and what is known of each source.
    """
    samples = [each for source in sources for each in source.samples]
    number = _numbers(samples)
    lines = [json.dumps([number[symbol] for symbol in each.message]) for each in samples]
    about = {
        "origin": {"program": "sabir", "sources": [str(source.path) for source in sources]},
        "system": {
            "game_type": sorted({source.arena for source in sources if source.arena}),
            "speakers": sorted({each.speaker for each in samples}),
            "episodes": sum(source.episodes for source in sources),
        },
        "corpus": {"utterances": len(samples), "vocabulary_size": len(number)},
        "vocabulary": {str(n): symbol for symbol, n in number.items()},
        "meanings": "csar.jsonl has them, line by line",
    }
    paths = [folder / "corpus.jsonl", folder / "metadata.json"]
    paths[0].write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    paths[1].write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def csar(sources: Sequence[Source], folder: Path) -> list[Path]:
    """Write pairs of message and meaning as CSAR reads them: two JSON lists a line, a comma between them.

    The numbers are those of the ELCC corpus. Meanings are taken apart into attributes speaker by speaker.
    """
    samples = [each for source in sources for each in source.samples]
    number = _numbers(samples)
    labels: dict[int, tuple[str, ...]] = {}
    for speaker in dict.fromkeys((each.speaker, each.place) for each in samples):
        own = [i for i, each in enumerate(samples) if (each.speaker, each.place) == speaker]
        vectors = lexicon.attributes([samples[i].meaning for i in own])
        parts = composition.concepts(vectors)
        labels |= {i: part or (samples[i].meaning,) for i, part in zip(own, parts, strict=True)}
    path = folder / "csar.jsonl"
    path.write_text(
        "".join(
            f"{json.dumps([number[symbol] for symbol in each.message])}, {json.dumps(labels[i], ensure_ascii=False)}\n"
            for i, each in enumerate(samples)
        ),
        encoding="utf-8",
    )
    return [path]


def _numbers(samples: Iterable[Sample]) -> dict[str, int]:
    """Number the symbols from 1, in natural order."""
    symbols = {symbol for each in samples for symbol in each.message}
    return {symbol: n for n, symbol in enumerate(sorted(symbols, key=lexicon.natural), 1)}


def marl_eval(sources: Sequence[Source], folder: Path) -> list[Path]:
    """Write the evaluations of runs in the JSON of marl-eval (Gorsane et al. 2022); raises UserError without one.

    environment -> task -> algorithm -> run -> `step_0`, `step_1` ... with `step_count` (episodes seen in training),
    and the mean return, and `absolute_metrics` of the last one. The algorithm is the run's `algorithm.type`: runs with
    other settings that differ in more than the seed belong into files of their own.
    """
    tree: dict[str, Any] = {}
    for source in sources:
        if source.run is None:
            continue
        settings = read_toml(source.run.config)
        rows = [row for row in source.run.read_metrics() if row.get("eval/score") is not None]
        steps: dict[str, Any] = {f"step_{k}": _step(row) for k, row in enumerate(rows)}
        if rows:
            steps["absolute_metrics"] = {"mean_episode_return": [rows[-1]["eval/score"]]}
        algorithm = str(settings.get("algorithm", {}).get("type", "unknown"))
        runs = tree.setdefault("sabir", {}).setdefault(source.arena, {}).setdefault(algorithm, {})
        name = f"seed_{source.seed}"
        runs[name if name not in runs else f"{name}_{source.path.name}"] = steps
    if not tree:
        raise UserError("marl-eval: there is no evaluation in what was named; it takes folders of runs")
    path = folder / "marl-eval.json"
    path.write_text(json.dumps(tree, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return [path]


def _step(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "step_count": row.get("episodes", row["update"]),
        "mean_episode_return": [row["eval/score"]],
    }


def parquet(sources: Sequence[Source], folder: Path) -> list[Path]:
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


def _told(source: Source) -> Iterable[dict[str, Any]]:
    for each in source.samples:
        for listener, answer in each.answers.items() or ((None, None),):
            yield {
                "run": source.path.name,
                "episode": each.episode,
                "place": each.place,
                "speaker": each.speaker,
                "listener": listener,
                "meaning": each.meaning,
                "said": " ".join(each.message),
                "answer": answer,
                "score": each.score,
                "held_out": each.held_out,
            }


def _heard(source: Source) -> Iterable[dict[str, Any]]:
    for log in source.logs:
        answers = {u.seq: u for u in lexicon.utterances([log])}
        score = conversation.score(log)
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
                "meaning": conversation.shown(log, envelope),
                "said": envelope.body,
                "score": score,
                "held_out": log.deal.get("split", "train") != "train",
            }
            for each in heard:
                answer = u.answers.get(each.to) if u else None
                delay = None if each.body is None else each.time - envelope.time
                yield row | {"listener": each.to, "heard": each.body, "delay": delay, "answer": answer}
            if not heard:
                yield row


EXPORTS: Final[dict[str, Callable[[Sequence[Source], Path], list[Path]]]] = {
    "elcc": elcc,
    "csar": csar,
    "marl-eval": marl_eval,
    "parquet": parquet,
}


def export(kinds: Sequence[str], sources: Sequence[Source], folder: Path) -> list[Path]:
    """Write exports of these kinds into a folder; returns the files. Raises UserError for a kind there is not."""
    if unknown := [kind for kind in kinds if kind not in EXPORTS]:
        raise UserError(f"there is no export {unknown[0]!r}; there are {', '.join(EXPORTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    return [path for kind in dict.fromkeys(kinds) for path in EXPORTS[kind](sources, folder)]
