"""Draw the communication graph of a channel as inline SVG, deterministic for the same run.

Small trees and stars are laid out by their distances (Kamada & Kawai 1989), all else on a circle in seat order. An edge
is as wide as it has messages and as red as they were lost or altered. Where there are very many, they are drawn without
arrows, both directions as one line.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from math import atan2, ceil, degrees, hypot
from typing import Any, Final, NamedTuple

import networkx as nx

from marl.charts.svg import FAINT, INK, STYLE, Chart, inline

SeatPair = tuple[str, str]
Point = tuple[float, float]
WHOLE: Final = (31, 111, 235)
BROKEN: Final = (201, 42, 42)
SHADES: Final = 5  # colours of edges, from WHOLE to BROKEN
WIDTHS: Final = 4  # from thin to thick
MOST_ARROWS: Final = 240
"""Edges of more messages than this are drawn as plain lines."""
SMALL: Final = 16
"""Up to so many seats are named in full size."""


class Flow(NamedTuple):
    """Traffic of one edge: message count, share lost or altered, and whether all of it was overheard."""

    messages: int
    disturbed: float
    overheard: bool = False


def picture(caption: str, seats: Sequence[str], flows: Mapping[SeatPair, Flow]) -> Chart:
    """Draw the communication graph of a channel.

    Args:
        caption: a sentence or two under the picture.
        seats: the nodes, in seat order.
        flows: (speaker, listener) -> traffic of that edge; edges without messages are left out.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    flows = {edge: flow for edge, flow in flows.items() if flow.messages}
    spots = layout(seats, flows)
    height = 2.2 if len(seats) == 2 else 4.4 if len(seats) <= SMALL else 7.0
    with rc_context(STYLE):
        figure = Figure(figsize=(9.4, height))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.02, 0.02, 0.76, 0.96))
        axes.set_axis_off()
        axes.set_aspect("equal")
        _frame(axes, spots, height)
        most = max((flow.messages for flow in flows.values()), default=1)
        thick = 1.0 if len(seats) <= SMALL else 0.5 if len(flows) < 1000 else 0.3
        (_arrows if len(flows) <= MOST_ARROWS else _lines)(axes, spots, flows, lambda n: thick * _width(n, most))
        _nodes(axes, spots)
        _key(figure, flows, {n: thick * _width(n, most) for n in (max(most // WIDTHS, 1), most)})
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return Chart(inline(file.getvalue()), caption, [])


def layout(seats: Sequence[str], edges: Mapping[SeatPair, object]) -> dict[str, Point]:
    """Return the position of each seat within the unit circle."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(seats)
    graph.add_edges_from(edges)
    branching = max((degree for _, degree in graph.degree), default=0) > 2
    positions: Mapping[str, Any]
    if len(seats) <= SMALL and branching and nx.is_tree(graph):
        positions = nx.kamada_kawai_layout(graph)
    else:
        circle = nx.circular_layout(graph)  # counter-clockwise from the right; here clockwise from the top
        positions = {seat: (-x, y) if len(seats) == 2 else (y, x) for seat, (x, y) in circle.items()}
    return {seat: (round(float(x), 4), round(float(y), 4)) for seat, (x, y) in positions.items()}


def shade(disturbed: float) -> str:
    """Return the colour, one of SHADES, for a share of lost or altered messages."""
    step = ceil(disturbed * (SHADES - 1) - 1e-9) / (SHADES - 1)  # what is not quite whole does not look whole
    return "#" + "".join(f"{round(a + step * (b - a)):02x}" for a, b in zip(WHOLE, BROKEN, strict=True))


def _width(messages: int, most: int) -> float:
    """Return the width of a line, one of WIDTHS."""
    return 0.7 + 3.3 * ceil(WIDTHS * messages / most) / WIDTHS


def _frame(axes: Any, spots: Mapping[str, Point], height: float) -> None:
    """Set axis limits that leave room for the names around the nodes."""
    tall = max(abs(y) for _, y in spots.values()) + (0.28 if len(spots) <= SMALL else 0.2)
    wide = max(tall * 0.76 * 9.4 / (0.96 * height), 1.45)
    axes.set_xlim(-wide, wide)
    axes.set_ylim(-tall, tall)


def _arrows(
    axes: Any, spots: Mapping[str, Point], flows: Mapping[SeatPair, Flow], width: Callable[[int], float]
) -> None:
    from matplotlib.patches import FancyArrowPatch

    small = len(spots) <= SMALL
    for (speaker, listener), flow in sorted(flows.items(), key=lambda item: item[1].messages):
        mutual = (listener, speaker) in flows
        axes.add_patch(
            FancyArrowPatch(
                spots[speaker],
                spots[listener],
                arrowstyle="-|>",
                mutation_scale=11 if small else 5,
                shrinkA=9 if small else 3,
                shrinkB=9 if small else 3,
                connectionstyle="arc3,rad=0.14" if mutual else "arc3",
                linewidth=width(flow.messages),
                linestyle=(0, (3, 2)) if flow.overheard else "-",
                color=FAINT if flow.overheard else shade(flow.disturbed),
                capstyle="butt",
                joinstyle="miter",
            )
        )


def _lines(
    axes: Any, spots: Mapping[str, Point], flows: Mapping[SeatPair, Flow], width: Callable[[int], float]
) -> None:
    """Draw all lines of equal style as one path, for speed: a complete graph of 64 seats has two thousand lines."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    looks: dict[tuple[float, str], list[Point]] = {}
    for speaker, listener in sorted({(min(edge), max(edge)) for edge in flows}):
        ways = [flows[edge] for edge in ((speaker, listener), (listener, speaker)) if edge in flows]
        messages = sum(flow.messages for flow in ways)
        disturbed = sum(flow.messages * flow.disturbed for flow in ways) / messages
        color = FAINT if all(flow.overheard for flow in ways) else shade(disturbed)
        look = (width(max(flow.messages for flow in ways)), color)
        looks.setdefault(look, []).extend((spots[speaker], spots[listener]))
    for (thick, color), ends in sorted(looks.items()):
        codes = [Path.MOVETO, Path.LINETO] * (len(ends) // 2)
        axes.add_patch(PathPatch(Path(ends, codes), facecolor="none", edgecolor=color, linewidth=thick, alpha=0.5))


def _nodes(axes: Any, spots: Mapping[str, Point]) -> None:
    """Draw the seats and their names, outwards from the middle."""
    small = len(spots) <= SMALL
    x, y = zip(*spots.values(), strict=True)
    axes.scatter(x, y, s=90 if small else 22, color=INK, zorder=3)
    for seat, (left, up) in spots.items():
        far = hypot(left, up)
        angle = 0.0 if small or far < 0.5 else degrees(atan2(up, left))
        away = (left / far, up / far) if far > 0.05 else (0.0, -1.0)
        right = left >= -1e-9
        text = angle if right else angle + 180
        level = abs(away[0]) < 0.35 and small  # above or below a node
        axes.annotate(
            seat,
            (left, up),
            xytext=(away[0] * (11 if small else 6), away[1] * (13 if small else 6)),
            textcoords="offset points",
            ha="center" if level else "left" if right else "right",
            va=("bottom" if away[1] > 0 else "top") if level else "center",
            fontsize=10 if small else min(7.0, 450 / len(spots)),
            rotation=text % 360 if not small else 0,
            rotation_mode="anchor",
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "alpha": 0.8, "edgecolor": "none"},
        )


def _key(figure: Any, flows: Mapping[SeatPair, Flow], widths: Mapping[int, float]) -> None:
    """Draw the legend of widths and colours on the right."""
    inches = figure.get_size_inches()[1]
    rows: list[tuple[str, str, float, Any]] = []
    if flows:
        rows += [(f"{n:,} message" + "s" * (n != 1), FAINT, width, "-") for n, width in widths.items()]
        rows += [("all as said", shade(0), 2.2, "-")]
        if any(flow.disturbed for flow in flows.values()):
            rows += [("half lost or altered", shade(0.5), 2.2, "-"), ("all lost or altered", shade(1), 2.2, "-")]
        if any(flow.overheard for flow in flows.values()):
            rows += [("overheard", FAINT, 1.6, (0, (3, 2)))]
    axes = figure.add_axes((0.8, 0.02, 0.2, 0.96))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(-inches * 0.96 / 2, inches * 0.96 / 2)
    for place, (name, color, width, style) in enumerate(rows):
        at = 0.26 * ((len(rows) - 1) / 2 - place)
        axes.plot((0, 0.14), (at, at), color=color, linewidth=width, linestyle=style, solid_capstyle="butt")
        axes.text(0.2, at, name, va="center", fontsize=9)
