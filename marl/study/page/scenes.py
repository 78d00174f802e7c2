"""Animated plots: an episode event by event, and the influence graph over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import atan2, degrees
from textwrap import wrap
from typing import Any, Final

from marl.charts.graph import layout as spots_of
from marl.charts.svg import FAINT, INK, LINES
from marl.evaluation import log_lines
from marl.study.data.result import Moment, Tie
from marl.study.page.plots import Figure, Plot, layout
from protocols.envelope import Kind
from protocols.log import Log

MOST_EVENTS: Final = 60
"""Events of an episode that are drawn: the first."""
SURE: Final = 0.05
WIDTH: Final = 18
"""Characters of a line in a column of an episode."""
Point = tuple[float, float]


def influence(moments: Sequence[Moment]) -> Plot | None:
    """Draw the mutual information of messages and replies over training; None if nobody replies."""
    edges = sorted({(tie.speaker, tie.listener) for moment in moments for tie in moment.ties})
    if not edges:
        return None
    seats = sorted({seat for edge in edges for seat in edge})
    spots = spots_of(seats, dict.fromkeys(edges))
    most = max(max(tie.bits for moment in moments for tie in moment.ties), 1e-9)
    frames = [
        {
            "name": str(moment.update),
            "data": _edges(edges, {(t.speaker, t.listener): t for t in moment.ties}, spots, most),
        }
        for moment in moments
    ]
    x, y = zip(*(spots[seat] for seat in seats), strict=True)
    nodes = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [*x],
        "y": [*y],
        "text": seats,
        "textposition": ["top center" if up >= 0 else "bottom center" for up in y],
        "marker": {"size": 16, "color": INK},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    plain: dict[str, Any] = {"visible": False, "range": [-1.45, 1.45]}
    shape = layout(
        xaxis=plain, yaxis=plain, margin={"l": 8, "r": 8, "t": 8, "b": 96}, **_player(frames, "update ", 700)
    )
    caption = (
        "How many bits a listener's next decision shares with what it heard, stretch by stretch of training: the "
        "thicker, the more. Grey where chance would do as well (p > 0.05). Replies and messages may also go together "
        "because both go by what both saw; what messages do is asked of forks."
    )
    pixels = 280 if len(seats) == 2 else 460
    return Plot({"data": [*frames[-1]["data"], nodes], "layout": shape, "frames": frames}, caption, pixels)


def _edges(
    edges: Sequence[tuple[str, str]], ties: Mapping[tuple[str, str], Tie], spots: Mapping[str, Point], most: float
) -> list[Figure]:
    """Return a line trace for each edge, and one trace of arrowheads."""
    data: list[Figure] = []
    heads: list[tuple[float, float, float, str, str]] = []
    for edge in edges:
        tie = ties.get(edge)
        sure = tie is not None and tie.p <= SURE
        color = LINES[0] if sure else FAINT
        bits = tie.bits if tie else 0.0
        points = _curve(spots[edge[0]], spots[edge[1]])
        label = f"{edge[0]} → {edge[1]}: " + (
            f"{bits:.2f} bits, p = {tie.p:.2f}, n = {tie.n}" if tie else "nothing heard"
        )
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [x for x, _ in points],
                "y": [y for _, y in points],
                "line": {"width": 0.6 + 4.5 * bits / most if sure else 0.6, "color": color},
                "text": label,
                "hoverinfo": "text",
                "showlegend": False,
            }
        )
        (x, y), (after, up) = points[9], points[10]
        heads.append((x, y, 90 - degrees(atan2(up - y, after - x)), color, label))
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": [h[0] for h in heads],
            "y": [h[1] for h in heads],
            "marker": {
                "symbol": "triangle-up",
                "size": 13,
                "line": {"color": "#ffffff", "width": 1},
                "angle": [h[2] for h in heads],
                "color": [h[3] for h in heads],
            },
            "text": [h[4] for h in heads],
            "hoverinfo": "text",
            "showlegend": False,
        }
    )
    return data


def _curve(a: Point, b: Point, bend: float = 0.12) -> list[Point]:
    """Return points of a quadratic curve from a to b, bent so that opposite edges do not overlap."""
    middle = ((a[0] + b[0]) / 2 + bend * (b[1] - a[1]), (a[1] + b[1]) / 2 - bend * (b[0] - a[0]))
    steps = [i / 15 for i in range(16)]
    return [
        tuple((1 - t) ** 2 * p + 2 * t * (1 - t) * m + t**2 * q for p, m, q in zip(a, middle, b, strict=True))  # type: ignore[misc]
        for t in steps
    ]


def _player(frames: Sequence[Figure], prefix: str, milliseconds: int) -> dict[str, Any]:
    """Return the slider and the play button for frames."""
    jump = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    play = {**jump, "fromcurrent": False, "frame": {"duration": milliseconds, "redraw": True}}
    steps = [{"label": f["name"], "method": "animate", "args": [[f["name"]], jump]} for f in frames]
    slider = {
        "active": len(frames) - 1,
        "currentvalue": {"prefix": prefix, "font": {"size": 12}},
        "x": 0.2,
        "len": 0.8,
        "pad": {"t": 12},
        "ticklen": 0,
        "font": {"size": 1, "color": "rgba(0,0,0,0)"},  # the labels of steps would lie over each other on a phone
        "steps": steps,
    }
    button = {
        "type": "buttons",
        "showactive": False,
        "x": 0,
        "y": 0,
        "xanchor": "left",
        "yanchor": "top",
        "pad": {"t": 24},
        "buttons": [{"label": "▶ play", "method": "animate", "args": [None, play]}],
    }
    return {"sliders": [slider], "updatemenus": [button]}


def episode(log: Log, worth: Mapping[tuple[str, int], float]) -> Plot:
    """Draw an episode as an animation, one column per seat, time from top to bottom.

    Args:
        log: the episode.
        worth: (episode, entry) -> what a message was worth, where that was measured.
    """
    shown = [line for line in log_lines.lines(log) if line.kind != Kind.END and line.act != "hears"]
    left_out = max(len(shown) - MOST_EVENTS, 0)
    shown = shown[:MOST_EVENTS]
    spoke = {line.who for line in shown}
    columns = ["arena", *(seat for seat in log.seats if seat in spoke)]
    texts: list[tuple[int, int, str, str]] = []  # row, column, text, colour
    arrows: list[list[tuple[int, int]]] = []  # of each row: (from column, to column)
    for row, line in enumerate(shown):
        column = columns.index(line.who) if line.who in columns else 0
        color = {Kind.SAY: LINES[0], Kind.MOVE: LINES[2]}.get(line.kind, INK if column else "#616e7c")
        credit = worth.get((log.episode, line.seq))
        what = line.text or line.act if column else f"{line.who} {line.text}"
        said = _wrapped(f"{what}{f' ({credit:+.2f})' if credit is not None else ''}")
        if line.note:
            said += f"<br><i>{_wrapped(line.note)}</i>"
        heard = log.entries[line.seq].heard if line.kind is Kind.SAY else ()
        texts.append((row, column, f"<b>{said}</b>" if line.kind is Kind.SAY else said, color))
        arrows.append([(column, columns.index(h.to)) for h in heard if h.to in columns and h.body is not None])
    frames = [{"name": str(k + 1), "data": _rows(texts[: k + 1], arrows[: k + 1])} for k in range(len(texts))]
    shape = layout(
        xaxis={
            "tickvals": [*range(len(columns))],
            "ticktext": columns,
            "side": "top",
            "range": [-0.5, len(columns) - 0.5],
            "gridcolor": "#e4e7eb",
            "zeroline": False,
            "fixedrange": True,
        },
        yaxis={"visible": False, "range": [len(texts) - 0.3, -0.7], "fixedrange": True},
        margin={"l": 8, "r": 8, "t": 28, "b": 90},
        showlegend=False,
        **_player(frames, "event ", 900),
    )
    caption = f"{log.episode}: score {log_lines.score(log):.3g}. Messages are blue, moves green; arrows lead to who "
    caption += "heard them."
    caption += " In brackets, what a message was worth." if any(e == log.episode for e, _ in worth) else ""
    caption += f" {left_out} later events are in the log." if left_out else ""
    return Plot(
        {"data": frames[-1]["data"] if frames else [], "layout": shape, "frames": frames},
        caption,
        150 + 44 * len(texts),
    )


def _wrapped(text: str) -> str:
    """Wrap a text to the column width, and escape HTML."""
    return "<br>".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in wrap(text, WIDTH))


def _rows(texts: Sequence[tuple[int, int, str, str]], arrows: Sequence[Sequence[tuple[int, int]]]) -> list[Figure]:
    """Return the traces of events so far: arrows, arrowheads and texts."""
    drawn = [(row + 0.28, a, b) for row, pairs in enumerate(arrows) for a, b in pairs]
    lines: Figure = {
        "type": "scatter",
        "mode": "lines",
        "x": [*chain.from_iterable((a, b, None) for _, a, b in drawn)],
        "y": [*chain.from_iterable((y, y, None) for y, *_ in drawn)],
        "line": {"color": LINES[0], "width": 1.5},
        "hoverinfo": "skip",
    }
    heads: Figure = {
        "type": "scatter",
        "mode": "markers",
        "x": [b for _, _, b in drawn],
        "y": [y for y, *_ in drawn],
        "marker": {
            "symbol": ["triangle-right" if b > a else "triangle-left" for _, a, b in drawn],
            "size": 9,
            "color": LINES[0],
        },
        "hoverinfo": "skip",
    }
    words: Figure = {
        "type": "scatter",
        "mode": "text",
        "x": [column or -0.46 for _, column, *_ in texts],
        "y": [row for row, *_ in texts],
        "text": [text for *_, text, _ in texts],
        "textposition": ["middle center" if column else "middle right" for _, column, *_ in texts],
        "textfont": {"color": [color for *_, color in texts], "size": 11},
        "hoverinfo": "skip",
    }
    return [lines, heads, words]
