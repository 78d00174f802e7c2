"""Cross-play: one seat of each run with the other seats of every other run, over the same deals.

Agents that learned together play well together; that a stranger understands them shows what of their language is more
than a private convention. Symbols are arbitrary, so two runs that found the same code in other words seem to share
nothing: the matrix comes again after the best relabelling of symbols. Runs must differ in more than their last updates:
copies of one run understand each other for no reason. (Hu et al. 2020, "Other-play"; Bullard et al. 2021.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.evaluation import evaluate
from marl.intervention.base import Intervention
from marl.intervention.message import Rewrite
from marl.metrics.measure import Interval, Measure, measured, undefined
from marl.rollout.collect import collect
from marl.rundir.load import Trained
from marl.scenario.world import World
from marl.study.data import lexicon
from marl.study.data.lexicon import Words
from marl.study.data.result import Crossplay
from protocols.draws import key

Array = NDArray[np.float64]
SymbolTable = dict[str, str]
REPLICATIONS: Final = 2_000


def crossplay(runs: Sequence[Trained], *, seat: str = "", episodes: int = evaluate.SAMPLE, seed: int = 0) -> Crossplay:
    """Play every run with every other one.

    Args:
        runs: what plays, two runs or more, all in the same scenario.
        seat: which seat the run of a row takes; the first one unless given.
        episodes: how many, where deals cannot be counted or channels draw.
        seed: of the episodes, the same for every pair.

    Raises UserError for one run, for runs of several scenarios, and for a seat that is not there.
    """
    world = _common(runs)
    seat = seat or world.agents[0]
    if seat not in world.agents:
        raise UserError(f"there is no seat {seat!r}; the seats are {', '.join(world.agents)}")
    alone = [_play(world, run, run, seat, episodes, seed) for run in runs]
    codes = [code(played) for played in alone]
    why = _unfit(world, codes)
    scores, relabelled = np.zeros((2, len(runs), len(runs)))
    for i, row in enumerate(runs):
        for j, column in enumerate(runs):
            played = alone[i] if i == j else _play(world, row, column, seat, episodes, seed)
            scores[i, j] = relabelled[i, j] = _score(played)
            if i != j and not why:
                do = _translations(world, seat, codes[i], codes[j])
                relabelled[i, j] = _score(_play(world, row, column, seat, episodes, seed, do))
    names = [str(run.dir.path) for run in runs]
    return Crossplay(
        runs=names,
        seat=seat,
        scores=scores.tolist(),
        relabelled=[] if why else relabelled.tolist(),
        why=why,
        within=_mean("self-play", scores, seed, diagonal=True),
        across=_mean("cross-play", scores, seed),
        gap=_gap(scores, seed),
        across_relabelled=undefined("cross-play, relabelled", why, unit="score", n=len(runs))
        if why
        else _mean("cross-play, relabelled", relabelled, seed),
    )


SpokenCode = dict[tuple[str, int], dict[str, Counter[Words]]]
"""(speaker, place in the episode) -> meaning -> messages."""


def code(episodes: Sequence[Episode]) -> SpokenCode:
    """Count the messages of every speaker for every meaning."""
    table: SpokenCode = {}
    for u in lexicon.utterances([episode.log for episode in episodes]):
        table.setdefault((u.speaker, u.place), {}).setdefault(u.meaning, Counter())[u.message] += 1
    return table


def relabelling(spoken: SpokenCode, heard: SpokenCode, symbols: Sequence[str]) -> SymbolTable:
    """Return the one-to-one table of symbols by which one language comes closest to another.

    C[w, v] counts how often the first language has symbol w where, for the same meaning at the same place of the
    message, the second has v; the table maximises sum_w C[w, table(w)] (Kuhn 1955, the Hungarian method). It brings
    together codes that differ in their symbols, not those that differ in what stands at which place.
    """
    from scipy.optimize import linear_sum_assignment

    number = {symbol: i for i, symbol in enumerate(symbols)}
    confusion = np.zeros((len(symbols), len(symbols)))
    for place in spoken.keys() & heard.keys():
        for meaning in spoken[place].keys() & heard[place].keys():
            mine, theirs = spoken[place][meaning], heard[place][meaning]
            for message, often in mine.items():
                for other, times in theirs.items():
                    for w, v in zip(message, other, strict=False):
                        confusion[number[w], number[v]] += often * times / (mine.total() * theirs.total())
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    return {symbols[w]: symbols[v] for w, v in zip(rows.tolist(), columns.tolist(), strict=True)}


def _common(runs: Sequence[Trained]) -> World:
    """Return the common world of the runs; raises UserError if their scenarios differ."""
    if len(runs) < 2:
        raise UserError("cross-play takes two runs or more: name their folders")
    first = runs[0].world
    for run in runs[1:]:
        if run.world.scenario.wire != first.scenario.wire:
            raise UserError(f"{run.dir.path} was trained in another scenario than {runs[0].dir.path}: name runs of one")
    return first


def _play(
    world: World, row: Trained, column: Trained, seat: str, episodes: int, seed: int, do: Sequence[Intervention] = ()
) -> list[Episode]:
    seats = {**column.seats, seat: row.seats[seat]}
    plans = [
        replace(plan, do=do)
        for plan in evaluate.plans(world, seats, seed, episodes)
        if plan.deal.get("split", "train") == "train"
    ]
    played = collect(world, plans)
    if failed := next((e for e in played if e.stop is Stop.ERROR), None):
        raise UserError(f"{row.dir.path} and {column.dir.path} cannot play together: {failed.error}")
    return played


def _score(episodes: Sequence[Episode]) -> float:
    return float(np.mean([episode.score for episode in episodes]))


def _unfit(world: World, codes: Sequence[SpokenCode]) -> str:
    """Return why symbols cannot be relabelled; empty if they can."""
    if len(world.agents) != 2:
        return f"a message may be heard by agents of both runs, as there are {len(world.agents)} seats"
    if world.free(None):
        return "talk is free text here, which has no symbols to relabel"
    return "" if any(codes) else "nothing is said"


def _translations(world: World, seat: str, mine: SpokenCode, theirs: SpokenCode) -> list[Intervention]:
    """Return interventions that translate what two seats hear into the words of their own run."""
    interventions: list[Intervention] = []
    for sender in world.agents:
        spoken, heard = (mine, theirs) if sender == seat else (theirs, mine)
        symbols = world.symbols(sender)
        own = {place: said for place, said in spoken.items() if place[0] == sender}
        if own and symbols:
            interventions.append(Rewrite(sender=sender, table=relabelling(own, heard, symbols)))
    return interventions


def _mean(name: str, scores: Array, seed: int, *, diagonal: bool = False) -> Measure:
    """Return the mean within or across runs, with its interval over runs."""
    return _estimated(name, lambda chosen: _part(scores, chosen, diagonal), len(scores), seed)


def _gap(scores: Array, seed: int) -> Measure:
    return _estimated(
        "cross-play gap", lambda chosen: _part(scores, chosen, True) - _part(scores, chosen, False), len(scores), seed
    )


def _part(scores: Array, chosen: NDArray[np.int64], diagonal: bool) -> float:
    """Return the mean over chosen runs of their self-play, or over pairs of different ones; nan if there are none."""
    if diagonal:
        return float(scores[chosen, chosen].mean())
    table = scores[np.ix_(chosen, chosen)]
    different = chosen[:, None] != chosen[None, :]
    return float(table[different].mean()) if different.any() else float("nan")


def _estimated(name: str, statistic: Callable[[NDArray[np.int64]], float], runs: int, seed: int) -> Measure:
    rng = np.random.default_rng(key(seed, "bootstrap", name))
    drawn = [statistic(rng.integers(runs, size=runs)) for _ in range(REPLICATIONS)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    interval = Interval(low=float(low), high=float(high), of=f"bootstrap over {runs} runs")
    return measured(name, statistic(np.arange(runs)), unit="score", n=runs, interval=interval)
