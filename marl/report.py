"""The page of a run: one HTML file, readable without a network, a program or another file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, NamedTuple

from marl import build, conversation, evaluate
from marl.config import read_toml
from marl.errors import UserError
from marl.figures import curves
from marl.rollout import collect, replay
from marl.rundir import RunDir
from marl.scenario import World
from marl.study import lexicon
from marl.study.causal import Influence, influence
from marl.study.lexicon import Language, Row, Utterance, Words
from protocols import log
from protocols.envelope import Kind
from protocols.log import Log

ANCHORS: Final = {"random": "random", "silent": "without talk", "equilibrium": "equilibrium", "full": "optimum"}
CONVERSATIONS: Final = 4
MOST_ROWS: Final = 256


class Cell(NamedTuple):
    """A meaning in the grid of a world with two attributes."""

    row: Row
    held_out: bool


class Sign(NamedTuple):
    """What a symbol at a position stands for: the value seen most often with it, and how often that is."""

    value: str
    share: float


@dataclass(frozen=True, slots=True)
class Code:
    """The code of one speaker (and place in the episode), ready to be shown."""

    speaker: str
    place: int
    rows: list[Row]
    left_out: int
    attributes: list[str]
    grid: dict[str, dict[str, Cell]]
    """First attribute -> second attribute -> cell; empty unless there are exactly two."""
    columns: list[str]
    hues: dict[str, tuple[int, int]]
    """Symbol -> hue and lightness of its colour."""
    language: Language
    signs: dict[str, list[Sign | None]]
    """Symbol -> what it stands for at each position."""
    held_out: frozenset[str]


def write(folder: RunDir) -> None:
    """Write the report of a run, finished or not; raises UserError when there is nothing to report yet."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["figure"] = lambda x, digits=3: "–" if x is None else f"{x:.{digits}f}"
    environment.filters["percent"] = lambda x: "–" if x is None else f"{100 * x:.0f} %"
    template = environment.from_string(files("marl").joinpath("report.html.jinja").read_text(encoding="utf-8"))
    folder.report.write_text(template.render(gather(folder)), encoding="utf-8")


def gather(folder: RunDir) -> dict[str, Any]:
    """Collect what the page shows, from the folder and, where there is a checkpoint, from its policies."""
    settings = read_toml(folder.config)
    world = build.world(settings.get("scenario", {}), str(folder.config))
    metrics = folder.read_metrics()
    if not metrics or not folder.eval_log.is_file():
        raise UserError(f"{folder.path} has not come to its first evaluation: there is nothing to report yet")
    logs = list(log.load(folder.eval_log))
    # A replay from the log alone: the figures are those of the log, whatever the weights are by now.
    result = evaluate.summarise(world, collect(world, [replay(each) for each in logs]))
    influences, why_not = _influences(folder, world, logs)
    return {
        "arena": world.arena.name,
        "rules": _rules(settings["scenario"]["arena"]),
        "seats": world.agents,
        "finished": folder.finished,
        "last": metrics[-1],
        "seed": settings.get("seed"),
        "result": result,
        "anchors": {label: result["anchors"][name] for name, label in ANCHORS.items()},
        "splits": {split: figures for split, figures in result.items() if split not in ("anchors", "errors")},
        "figures": _figures(world, metrics),
        "codes": [_code(*item) for item in lexicon.by_speaker(lexicon.utterances(logs)).items()],
        "habits": {seat: _habits(seat, logs) for seat in world.agents},
        "influences": influences,
        "why_not": why_not,
        "conversations": [_conversation(each) for each in _choice(logs)],
        "config": folder.config.read_text(encoding="utf-8"),
    }


def _rules(arena: dict[str, Any]) -> str:
    """Return the arena's first sentence about itself."""
    import inspect
    import sys

    from arenas import ARENAS

    module = sys.modules[ARENAS[arena["name"]].__module__]
    return (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")


def _figures(world: World, metrics: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (caption, SVG) of the learning curves."""

    def series(name: str) -> list[tuple[float, float]]:
        return [(row["update"], row[name]) for row in metrics if isinstance(row.get(name), int | float)]

    heights: dict[float, list[str]] = {}  # anchors of the same height share a line
    for name, label in ANCHORS.items():
        if (value := getattr(world.anchors, name)) is not None:
            heights.setdefault(round(value, 9), []).append(label)
    levels = {" = ".join(labels): height for height, labels in heights.items()}
    splits = [split for split in world.arena.splits() if split != "train"]
    scores = {"training": series("train/score"), "evaluation": series("eval/score")}
    scores |= {split.replace("_", " "): series(f"eval/{split}/score") for split in splits}
    found = [
        (
            "Score: mean of the agents' returns. Training replies are sampled, evaluation replies are the most "
            "probable ones; dashed lines are scores known from the rules.",
            curves(scores, label="score", levels=levels, noisy="training"),
        )
    ]
    shares = {"success": series("eval/success"), "communication gain": series("eval/communication_gain")}
    if any(shares.values()):
        caption = "Success: share of evaluation episodes that reach the optimum."
        if shares["communication gain"]:
            caption += " Communication gain: 0 is the best score without talk, 1 the optimum."
        found.append((caption, curves({k: v for k, v in shares.items() if v}, label="share")))
    names = [key.split("/")[1] for key in metrics[-1] if key.startswith("policy/") and key.endswith("/entropy")]
    if names:
        entropies = {name: series(f"policy/{name}/entropy") for name in names}
        caption = "Entropy of the policies in nats per trained token: 0 is a policy that no longer varies its replies."
        found.append((caption, curves(entropies, label="entropy")))
    return found


def _code(who: tuple[str, int], found: list[Utterance]) -> Code:
    """Prepare the code of one speaker and place; measured on deals seen in training, shown for all."""
    held = frozenset(u.meaning for u in found if u.log.deal.get("split", "train") != "train")
    rows = lexicon.rows(found)
    vectors = dict(zip([r.meaning for r in rows], lexicon.attributes([r.meaning for r in rows]), strict=True))
    values = [sorted(set(column), key=lexicon.natural) for column in zip(*vectors.values(), strict=True)]
    grid: dict[str, dict[str, Cell]] = {}
    if len(values) == 2:
        for row in rows:
            first, second = vectors[row.meaning]
            grid.setdefault(first, {})[second] = Cell(row, row.meaning in held)
    symbols = sorted({symbol for u in found for symbol in u.message}, key=lexicon.natural)
    return Code(
        *who,
        rows=rows[:MOST_ROWS],
        left_out=max(len(rows) - MOST_ROWS, 0),
        attributes=[_attribute(k, column) for k, column in enumerate(values)],
        grid=grid,
        columns=values[1] if grid else [],
        hues={symbol: (360 * i // len(symbols), 82 + 8 * (i % 2)) for i, symbol in enumerate(symbols)},
        language=lexicon.measure([u for u in found if u.meaning not in held] or found),
        signs=_signs(found, vectors, symbols) if len(values) > 1 else {},
        held_out=held,
    )


def _attribute(k: int, values: Sequence[str]) -> str:
    """Name an attribute after the letters its values share: a of a0, a1, a2."""
    stems = {value.rstrip("0123456789") for value in values}
    return stems.pop() if len(stems) == 1 and all(stems) else f"attribute {k + 1}"


def _signs(
    found: Sequence[Utterance], vectors: dict[str, Words], symbols: Sequence[str]
) -> dict[str, list[Sign | None]]:
    """Return, for each symbol and position, the attribute value that goes with it most often."""
    length = max(len(u.message) for u in found)
    signs: dict[str, list[Sign | None]] = {symbol: [None] * length for symbol in symbols}
    for position in range(length):
        for symbol in symbols:
            together = [vectors[u.meaning] for u in found if u.message[position : position + 1] == (symbol,)]
            if together:
                value, count = Counter(value for vector in together for value in vector).most_common(1)[0]
                signs[symbol][position] = Sign(value, count / len(together))
    return signs


def _habits(seat: str, logs: Iterable[Log]) -> list[tuple[str, Counter[str]]]:
    """Return what a seat replied to each view, for arenas in which nothing is said."""
    habits: dict[str, Counter[str]] = {}
    for each in logs:
        for envelope in each.replies(seat):
            habits.setdefault(conversation.shown(each, envelope), Counter())[envelope.body] += 1
    return sorted(habits.items(), key=lambda item: lexicon.natural(item[0]))[:MOST_ROWS]


def _influences(folder: RunDir, world: World, logs: Sequence[Log]) -> tuple[list[Influence], str]:
    """Return what messages do, or why that cannot be said."""
    if not any(envelope.kind is Kind.SAY for each in logs for envelope, _ in each.entries):
        return [], ""
    try:
        trained = build.trained(folder.path, play_in=world)
        return influence(world, trained.seats, logs), ""
    except ModuleNotFoundError as error:
        return [], f"Not measured: it needs the policies, and the package {error.name} to load them."
    except UserError as error:
        return [], f"Not measured: {error}."


def _choice(logs: Sequence[Log]) -> list[Log]:
    """Return a few episodes: the first ones, and the worst."""
    worst = min(logs, key=conversation.score)
    chosen = list(logs[:CONVERSATIONS])
    if worst not in chosen and conversation.score(worst) < min(map(conversation.score, chosen)):
        chosen[-1] = worst
    return chosen


def _conversation(each: Log) -> dict[str, Any]:
    return {"episode": each.episode, "lines": list(conversation.lines(each)), "score": conversation.score(each)}
