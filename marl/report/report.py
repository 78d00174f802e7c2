"""The HTML report of a run: one self-contained file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from marl.charts import html
from marl.charts.graph import Flow, picture
from marl.charts.svg import Chart, curves
from marl.errors import UserError
from marl.evaluation import evaluate, log_lines, traffic
from marl.rollout.collect import collect
from marl.rollout.replay import replay
from marl.rundir import load
from marl.rundir.folder import RunDir
from marl.scenario.world import World
from marl.settings import read_toml
from marl.study.data import corpus, lexicon
from marl.study.data.lexicon import CodeRow, Utterance, Words
from marl.study.data.result import Language
from marl.study.experiments.causal import Influence, influence
from marl.study.language import summary as language
from marl.study.language.encoding import names
from protocols import log
from protocols.envelope import Kind
from protocols.log import Log

ANCHORS: Final = {"random": "random", "silent": "without talk", "equilibrium": "equilibrium", "full": "optimum"}
CONVERSATIONS: Final = 4
MOST_ROWS: Final = 256
MOST_EDGES: Final = 24
"""Edges of a channel in its table: the busiest."""


Points = list[tuple[float, float]]


class GridCell(NamedTuple):
    """A meaning in the grid of a language with two attributes."""

    row: CodeRow
    held_out: bool


class SymbolMeaning(NamedTuple):
    """Meaning of a symbol at a position: its most frequent attribute value, with share and count."""

    value: str
    share: float
    meanings: int


@dataclass(frozen=True, slots=True)
class SpeakerCode:
    """Template data: the code of one speaker at one place in the episode."""

    speaker: str
    place: int
    rows: list[CodeRow]
    left_out: int
    attributes: list[str]
    grid: dict[str, dict[str, GridCell]]
    """First attribute -> second attribute -> cell; empty unless there are exactly two."""
    columns: list[str]
    hues: dict[str, tuple[int, int]]
    """Symbol -> hue and lightness of its colour."""
    language: Language
    signs: dict[str, list[SymbolMeaning | None]]
    """Symbol -> what it stands for at each position."""
    held_out: frozenset[str]
    target: float
    """The score of an episode that went as well as it can: the optimum, or under prices and noise the best there is."""


class ChannelTraffic(NamedTuple):
    """Template data: the traffic of a channel."""

    channel: str
    account: traffic.Account
    chart: Chart
    busiest: list[tuple[str, str, traffic.Tally]]


def write(folder: RunDir) -> None:
    """Write the report of a run, finished or not; raises UserError when there is nothing to report yet."""
    folder.report.write_text(html.render("report/report.html.jinja", gather(folder)), encoding="utf-8")


def gather(folder: RunDir) -> dict[str, Any]:
    """Collect the template data from the folder and, if there is a checkpoint, from its policies."""
    settings = read_toml(folder.config)
    world = load.scene(folder)
    metrics = folder.read_metrics()
    if not metrics or not folder.eval_log.is_file():
        raise UserError(f"{folder.path} has no evaluation yet: there is nothing to report yet")
    logs = list(log.load(folder.eval_log))
    # A replay from the log alone: the figures are those of the log, whatever the weights are by now.
    episodes = collect(world, [replay(episode_log) for episode_log in logs])
    result = evaluate.summarise(world, episodes)
    influences, remark = _influences(folder, world, logs)
    return {
        "arena": world.arena.name,
        "rules": _rules(world),
        "seats": world.agents,
        "closed": world.scenario.closed,
        "finished": folder.finished,
        "last": metrics[-1],
        "seed": settings.get("seed"),
        "result": result,
        "anchors": {label: result["anchors"][name] for name, label in ANCHORS.items()},
        "splits": evaluate.splits(result),
        "charts": _charts(world, metrics),
        "talks": _talks(world, traffic.count(world, episodes)),
        "silences": result["traffic"]["silences"],
        "perfect": not world.channel.effects,
        "codes": [_code(world, *item) for item in lexicon.by_speaker(lexicon.utterances(logs)).items()],
        "habits": {seat: _habits(seat, logs) for seat in world.agents},
        "influences": influences,
        "remark": remark,
        "conversations": [_conversation(episode_log) for episode_log in _choice(logs)],
        "config": folder.config.read_text(encoding="utf-8"),
    }


def _rules(world: World) -> str:
    """Return the first paragraph of the rules."""
    return " ".join(world.arena.rules.partition("\n\n")[0].replace("`", "").split())


def _charts(world: World, metrics: Sequence[dict[str, Any]]) -> list[Chart]:
    """Return the learning curves."""

    def series(name: str) -> list[tuple[float, float]]:
        return [(row["update"], row[name]) for row in metrics if isinstance(row.get(name), int | float)]

    heights: dict[float, list[str]] = {}  # anchors of the same height share a line
    for name, label in ANCHORS.items():
        if (value := getattr(world.anchors, name)) is not None:
            heights.setdefault(round(value, 9), []).append(label)
    scores = {"training": series("train/score"), "evaluation": series("eval/score")}
    for split in world.arena.splits():
        if split != "train":
            scores[split.replace("_", " ")] = series(f"eval/{split}/score")
    gain = series("eval/communication_gain")
    shares = {"success": series("eval/success"), "communication gain": gain}
    policies = [key.split("/")[1] for key in metrics[-1] if key.startswith("policy/") and key.endswith("/entropy")]
    charts = [
        curves(
            "Score: mean of the agents' returns. Training replies are sampled, evaluation replies are the most "
            "probable ones; dashed lines are scores known from the rules.",
            scores,
            label="score",
            levels={" = ".join(labels): height for height, labels in heights.items()},
            noisy="training",
        ),
    ]
    if any(shares.values()):
        charts.append(
            curves(
                "Success: share of evaluation episodes that reach the optimum."
                + (" Communication gain: 0 is the best score without talk, 1 the optimum." if gain else ""),
                shares,
                label="share",
                limits=(0, 1),
            )
        )
    charts += _selfplay(series("eval/exploitability"), series("eval/exploitability_average"), series("league/rating"))
    if policies:
        charts.append(
            curves(
                "Entropy of the policies in nats per trained token: 0 is a policy that no longer varies its replies.",
                {policy: series(f"policy/{policy}/entropy") for policy in policies},
                label="entropy",
            )
        )
    return charts


def _selfplay(now: Points, average: Points, rating: Points) -> list[Chart]:
    """Return the curves of self-play: exploitability and league rating, if measured."""
    charts = []
    if now:
        text = "Exploitability: what a best response to the policies gains; 0 is an equilibrium."
        lines = {"policies": now} | ({"average over the league": average} if average else {})
        charts.append(curves(text, lines, label="exploitability"))
    if rating:
        text = "Rating of the policies in training against their own frozen versions; a lead of 6.5 wins 3 of 4 games."
        charts.append(curves(text, {"rating": rating}, label="rating"))
    return charts


def _talks(world: World, counts: traffic.Traffic) -> list[ChannelTraffic]:
    """Draw the communication graph of each channel, in the scenario's order."""
    talks = []
    for name in (name for name in world.channels if name in counts.channels):
        account = counts.channels[name]
        over = world.channels[name].topology
        flows = {
            edge: Flow(tally.messages or tally.overheard, tally.disturbed or 0.0, not tally.messages)
            for edge, tally in account.edges.items()
        }
        seats = dict.fromkeys([*(over.seats if over else ()), *(seat for edge in flows for seat in edge)])
        ordered = sorted(account.edges.items(), key=lambda item: (-item[1].messages, item[0]))
        caption = "An arrow is as wide as it has messages, and as red as they were lost or altered on the way."
        chart = picture(caption, [seat for seat in world.agents if seat in seats], flows)
        talks.append(ChannelTraffic(name, account, chart, [(*edge, tally) for edge, tally in ordered[:MOST_EDGES]]))
    return talks


def _code(world: World, who: tuple[str, int], utterances: list[Utterance]) -> SpeakerCode:
    """Prepare the code of one speaker and place; measured on deals seen in training, shown for all."""
    full = world.anchors.full
    held = frozenset(u.meaning for u in utterances if u.log.deal.get("split", "train") != "train")
    rows = lexicon.rows(utterances)
    vectors = dict(zip([r.meaning for r in rows], lexicon.attributes([r.meaning for r in rows]), strict=True))
    values = [sorted(set(column), key=lexicon.natural) for column in zip(*vectors.values(), strict=True)]
    grid: dict[str, dict[str, GridCell]] = {}
    if len(values) == 2:
        for row in rows:
            first, second = vectors[row.meaning]
            grid.setdefault(first, {})[second] = GridCell(row, row.meaning in held)
    symbols = sorted({symbol for u in utterances for symbol in u.message}, key=lexicon.natural)
    return SpeakerCode(
        *who,
        rows=rows[:MOST_ROWS],
        left_out=max(len(rows) - MOST_ROWS, 0),
        attributes=names(list(vectors.values())),
        grid=grid,
        columns=values[1] if grid else [],
        hues={symbol: (360 * i // len(symbols), 82 + 8 * (i % 2)) for i, symbol in enumerate(symbols)},
        language=language.measure(corpus.samples(utterances), *who),
        signs=_signs(utterances, vectors, symbols) if len(values) > 1 else {},
        held_out=held,
        target=max(row.score for row in rows) if full is None or world.channel.effects else full,
    )


def _signs(
    utterances: Sequence[Utterance], vectors: dict[str, Words], symbols: Sequence[str]
) -> dict[str, list[SymbolMeaning | None]]:
    """Return, for each symbol and position, the attribute value that goes with it most often."""
    length = max(len(u.message) for u in utterances)
    signs: dict[str, list[SymbolMeaning | None]] = {symbol: [None] * length for symbol in symbols}
    for position in range(length):
        for symbol in symbols:
            together = [vectors[u.meaning] for u in utterances if u.message[position : position + 1] == (symbol,)]
            if together:
                value, count = Counter(value for vector in together for value in vector).most_common(1)[0]
                signs[symbol][position] = SymbolMeaning(value, count / len(together), len(together))
    return signs


def _habits(seat: str, logs: Iterable[Log]) -> list[tuple[str, Counter[str]]]:
    """Count the replies of a seat to each view, for arenas without talk."""
    habits: dict[str, Counter[str]] = {}
    for episode_log in logs:
        for envelope in episode_log.replies(seat):
            habits.setdefault(log_lines.shown(episode_log, envelope), Counter())[envelope.body] += 1
    return sorted(habits.items(), key=lambda item: lexicon.natural(item[0]))[:MOST_ROWS]


def _influences(folder: RunDir, world: World, logs: Sequence[Log]) -> tuple[list[Influence], str]:
    """Return the measured influence of messages and a remark; no influence and the reason if it cannot be measured."""
    if not any(envelope.kind is Kind.SAY for log in logs for envelope, _ in log.entries):
        return [], ""
    try:
        trained = load.trained(folder.path, play_in=world)
        logged = {envelope.data["version"] for log in logs for envelope in log.replies() if "version" in envelope.data}
        remark = ""
        if logged and logged != {trained.version}:
            remark = (
                f"The log is of update {max(logged)}; the forks are answered by the checkpoint of {trained.version}."
            )
        return influence(world, trained.seats, logs), remark
    except ModuleNotFoundError as error:
        return [], f"Not measured: it needs the policies, and the package {error.name} to load them."
    except UserError as error:
        return [], f"Not measured: {error}."


def _choice(logs: Sequence[Log]) -> list[Log]:
    """Return a few episodes: the first ones, and the worst."""
    worst = min(logs, key=log_lines.score)
    chosen = list(logs[:CONVERSATIONS])
    if worst not in chosen and log_lines.score(worst) < min(map(log_lines.score, chosen)):
        chosen[-1] = worst
    return chosen


def _conversation(log: Log) -> dict[str, Any]:
    return {"episode": log.episode, "lines": list(log_lines.lines(log)), "score": log_lines.score(log)}
