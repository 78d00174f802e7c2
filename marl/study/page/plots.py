"""Interactive plots of a study: Plotly figures (https://plotly.com/javascript) as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marl.charts.svg import FAINT, INK, LINES
from marl.metrics.compositionality import levenshtein
from marl.metrics.measure import Interval, Measure
from marl.study.data.lexicon import natural
from marl.study.data.result import Crossplay, Language, Moment

MOST: Final = 60
"""Rows and columns of a table, and messages of a map: the most frequent."""
Figure = dict[str, Any]


class Plot(NamedTuple):
    """A figure with its caption. `pixels` is its height."""

    figure: Figure
    caption: str
    pixels: int = 340


def layout(**more: Any) -> dict[str, Any]:
    """Return the common layout of all figures: narrow margins, transparent background, the page's colours."""
    common = {
        "margin": {"l": 46, "r": 14, "t": 14, "b": 44},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"align": "left"},
    }
    return common | more


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return an axis."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": "#e4e7eb",
        "zeroline": False,
        "automargin": True,
    } | more


def curves(moments: Sequence[Moment], names: Sequence[str], label: str, caption: str, **axes: Any) -> Plot | None:
    """Draw measures over training, with their intervals; None if none of them has a value."""
    data: list[Figure] = []
    for name, color in zip(names, LINES, strict=False):
        points = [
            (moment.update, moment.measures[name])
            for moment in moments
            if name in moment.measures and moment.measures[name].value is not None
        ]
        if not points:
            continue
        x = [update for update, _ in points]
        if bands := [(update, measure.interval) for update, measure in points if measure.interval]:
            data.append(_band(bands, color))
        data.append(_line(x, [measure.value for _, measure in points], name, color))
        if any(measure.null for _, measure in points):
            chance = [measure.null.mean if measure.null else None for _, measure in points]
            data.append(_line(x, chance, f"{name} by chance", color, dash="dot"))
    if not data:
        return None
    shape = layout(xaxis=axis("updates", rangemode="tozero"), yaxis=axis(label, **axes), hovermode="x unified")
    return Plot({"data": data, "layout": shape}, caption)


def _band(bands: Sequence[tuple[float, Interval]], color: str) -> Figure:
    x = [at for at, _ in bands]
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "type": "scatter",
        "x": [*x, *reversed(x)],
        "y": [*(interval.high for _, interval in bands), *(interval.low for _, interval in reversed(bands))],
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.15)",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _line(x: Sequence[Any], y: Sequence[Any], name: str, color: str, dash: str = "solid") -> Figure:
    mode = "lines+markers" if dash == "solid" and len(x) < 40 else "lines"
    return {
        "type": "scatter",
        "mode": mode,
        "x": [*x],
        "y": [*y],
        "name": name,
        "line": {"color": color, "width": 2 if dash == "solid" else 1.2, "dash": dash},
        "hovertemplate": "%{y:.3f}",
    }


def table(language: Language) -> Plot | None:
    """Draw the heat map meaning x message: the share of each message among those for a meaning."""
    if not language.pairs:
        return None
    sent: dict[str, dict[str, int]] = {}
    totals: dict[str, int] = {}
    for pair in language.pairs:
        sent.setdefault(pair.meaning, {})[pair.message] = pair.count
        totals[pair.message] = totals.get(pair.message, 0) + pair.count
    meanings = sorted(sent, key=natural)[:MOST]
    kept = sorted(totals, key=lambda m: (-totals[m], m))[:MOST]
    first = {m: min((i for i, x in enumerate(meanings) if m in sent[x]), default=len(meanings)) for m in kept}
    messages = sorted(kept, key=lambda m: (first[m], natural(m)))  # so that a one-to-one code is a diagonal
    share = [[sent[x].get(m, 0) / sum(sent[x].values()) for m in messages] for x in meanings]
    left_out = len(sent) - len(meanings) + len(totals) - len(messages)
    data = {
        "type": "heatmap",
        "x": [m or "(nothing)" for m in messages],
        "y": meanings,
        "z": share,
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "#ffffff"], [1, LINES[0]]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "%{y}<br>%{x}<br>%{z:.0%}<extra></extra>",
    }
    shape = layout(
        xaxis=axis("message", type="category", tickangle=-60, tickfont={"size": 10}, showgrid=False),
        yaxis=axis(type="category", autorange="reversed", tickfont={"size": 10}, showgrid=False),
    )
    caption = (
        "Which message for which meaning: the darker, the larger the share of the meaning's messages. Messages stand "
        "in the order of the meanings they are sent for, so a code of one message for each meaning is a diagonal."
    )
    if left_out > 0:
        caption += f" Left out: {left_out} rarer messages and further meanings."
    return Plot({"data": [data], "layout": shape}, caption, 150 + 15 * len(meanings))


def clusters(language: Language) -> Plot | None:
    """Draw a map of messages by edit distance; None for fewer than three."""
    often: dict[str, int] = {}
    means: dict[str, dict[str, int]] = {}
    for pair in language.pairs:
        often[pair.message] = often.get(pair.message, 0) + pair.count
        means.setdefault(pair.message, {})[pair.meaning] = pair.count
    messages = sorted(often, key=lambda m: (-often[m], m))[:MOST]
    if len(messages) < 3:
        return None
    words = [tuple(m.split()) for m in messages]
    apart = np.array([[levenshtein(a, b) for b in words] for a in words])
    spots, kept = scaled(apart)
    usual = [max(means[m], key=lambda x, m=m: (means[m][x], x)) for m in messages]  # type: ignore[misc]
    groups = _groups(usual)
    most = max(often.values())
    data = []
    for group, color in zip(dict.fromkeys(groups), LINES * MOST, strict=False):
        mine = [i for i, other in enumerate(groups) if other == group]
        data.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "name": group,
                "x": [float(spots[i, 0]) for i in mine],
                "y": [float(spots[i, 1]) for i in mine],
                "text": [messages[i] or "(nothing)" for i in mine],
                "customdata": [usual[i] for i in mine],
                "textposition": "top center",
                "textfont": {"size": 10},
                "marker": {"color": color, "size": [8 + 10 * (often[messages[i]] / most) ** 0.5 for i in mine]},
                "hovertemplate": "%{text}<br>mostly for %{customdata}<extra></extra>",
            }
        )
    plain = axis(showgrid=False, showticklabels=False)
    shape = layout(xaxis=plain, yaxis=plain, margin={"l": 24, "r": 24, "t": 14, "b": 14})
    caption = (
        "Messages by their edit distances, as close as a plane allows (classical scaling; it keeps "
        f"{100 * kept:.0f} % of the spread). The colour is the first attribute of what a message mostly stands for, "
        "its size how often it is sent."
    )
    return Plot({"data": data, "layout": shape}, caption, 380)


def _groups(meanings: Sequence[str]) -> list[str]:
    """Return the value of the first varying attribute for each meaning."""
    from marl.study.data.lexicon import attributes

    return [vector[0] if vector else "the only meaning" for vector in attributes(meanings)]


def scaled(apart: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Classical multidimensional scaling to the plane (Torgerson 1952); return points and the share kept."""
    n = len(apart)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centre @ apart**2 @ centre / 2)
    order = np.argsort(values)[::-1][:2]
    positive = values[values > 0].sum()
    spots = vectors[:, order] * np.sqrt(np.maximum(values[order], 0))
    spots *= np.where(spots.sum(0) < 0, -1, 1)  # the same picture on every machine
    return spots, float(np.maximum(values[order], 0).sum() / positive) if positive > 0 else 0.0


def matrices(cross: Crossplay) -> Plot:
    """Draw the cross-play matrix, and the one after the best relabelling."""
    names = [run.rstrip("/").rpartition("/")[2] for run in cross.runs]
    tables = {"as they speak": cross.scores} | ({"relabelled": cross.relabelled} if cross.relabelled else {})
    low = min(0.0, *(x for rows in tables.values() for row in rows for x in row))
    high = max(x for rows in tables.values() for row in rows for x in row)
    data = [
        {
            "type": "heatmap",
            "x": names,
            "y": names,
            "z": rows,
            "text": [[f"{x:.2f}" for x in row] for row in rows],
            "texttemplate": "%{text}" if len(names) <= 12 else "",
            "zmin": low,
            "zmax": high,
            "colorscale": [[0, "#ffffff"], [1, LINES[2]]],
            "showscale": False,
            "xaxis": f"x{place}" if place > 1 else "x",
            "yaxis": f"y{place}" if place > 1 else "y",
            "hovertemplate": f"{title}<br>{cross.seat} of %{{y}}, the others of %{{x}}<br>%{{z:.3f}}<extra></extra>",
        }
        for place, (title, rows) in enumerate(tables.items(), 1)
    ]
    shape = layout(grid={"rows": len(tables), "columns": 1, "pattern": "independent", "ygap": 0.35})
    for place, title in enumerate(tables, 1):
        suffix = str(place) if place > 1 else ""
        shape[f"xaxis{suffix}"] = axis(title, type="category", showgrid=False)
        shape[f"yaxis{suffix}"] = axis(type="category", autorange="reversed", showgrid=False)
    caption = f"Mean score of {cross.seat} of the run of a row beside the other seats of the run of a column, greedy."
    if cross.relabelled:
        caption += (
            " Relabelled: each hears the other in the words of its own run, by the best one-to-one table of symbols."
        )
    return Plot({"data": data, "layout": shape}, caption + _scores_text(cross), len(tables) * (140 + 44 * len(names)))


def _scores_text(cross: Crossplay) -> str:
    figures = (cross.within, cross.across, cross.across_relabelled)
    parts = [f" {measure.name} {measure.value:.3f}" for measure in figures if measure.value is not None]
    return ";".join(parts) + "."


def spread(runs: Mapping[str, Mapping[str, Measure]], across: Mapping[str, Measure], unit: str) -> Plot | None:
    """Draw the measures of one unit for each run, and across runs with intervals."""
    names = [name for name, measure in across.items() if measure.unit == unit and measure.value is not None]
    if not names:
        return None
    dots = [(values[name].value, name, run) for run, values in runs.items() for name in names if name in values]
    defined = [dot for dot in dots if dot[0] is not None]
    whole = [across[name] for name in names]
    over = [
        (measure.interval.high - measure.value, measure.value - measure.interval.low)
        if measure.interval and measure.value is not None
        else (0.0, 0.0)
        for measure in whole
    ]
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "a run",
            "x": [value for value, *_ in defined],
            "y": [name for _, name, _ in defined],
            "text": [run for *_, run in defined],
            "marker": {"color": FAINT, "size": 7},
            "hovertemplate": "%{text}: %{x:.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "all runs, 95 %",
            "x": [measure.value for measure in whole],
            "y": names,
            "error_x": {"type": "data", "array": [a for a, _ in over], "arrayminus": [b for _, b in over], "width": 0},
            "marker": {"color": LINES[0], "size": 10},
            "hovertemplate": "%{x:.3f}<extra></extra>",
        },
    ]
    shape = layout(xaxis=axis(unit), yaxis=axis(type="category", autorange="reversed", tickfont={"size": 10}))
    caption = "Each run, and the interquartile mean over the runs with its bootstrap interval."
    return Plot({"data": data, "layout": shape}, caption, 120 + 30 * len(names))
