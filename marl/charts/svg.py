"""Line and interval charts as inline SVG, drawn with matplotlib without its global state, deterministic."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

INK: Final = "#1f2933"
FAINT: Final = "#9aa5b1"
LINES: Final = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#b08800", "#0b7285", "#c2255c", "#495057")
"""Colours of lines; a chart shows no more than there are."""
STYLE: Final = {
    "svg.hashsalt": "sabir",
    "svg.fonttype": "none",  # text stays text; the page sets its font
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
Points = Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """An SVG chart, its caption, and its legend (name and colour) for narrow screens."""

    svg: str
    caption: str
    names: list[tuple[str, str]]


def curves(
    caption: str,
    lines: Mapping[str, Points],
    *,
    label: str,
    levels: Mapping[str, float] | None = None,
    noisy: str = "",
    limits: tuple[float, float] | None = None,
    bands: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    over: str = "updates",
) -> Chart:
    """Draw lines over updates, each named at its end.

    Args:
        caption: a sentence or two under the chart.
        lines: name -> (update, value) points.
        label: of the vertical axis.
        levels: known values as horizontal lines, with their names.
        noisy: the line that is drawn thin and pale.
        limits: what the vertical axis shows at least.
        bands: the lower and upper end of an interval around each point of a line.
        over: what the horizontal axis counts.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(9.4, 3.2))
        FigureCanvasSVG(figure)
        shown = {name: points for name, points in lines.items() if points}
        axes = figure.add_axes((0.07, 0.15, 0.93 - _room(shown, 0.2), 0.82))  # mostly the same in all figures of a page
        names = list(zip(shown, LINES, strict=False))
        ends = _draw(axes, [(name, color, shown[name]) for name, color in names], levels or {}, noisy)
        for name, color in names:
            if bands and (band := bands.get(name)):
                low, high = zip(*band, strict=True)
                axes.fill_between([x for x, _ in shown[name]], low, high, color=color, alpha=0.15, linewidth=0)
        axes.set_xlabel(over)
        axes.set_ylabel(label)
        axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.set_xlim(left=0)
        if limits:
            bottom, top = axes.get_ylim()
            axes.set_ylim(min(bottom, limits[0] - 0.03), max(top, limits[1] + 0.03))
        _name_ends(axes, ends)
        return Chart(_svg(figure), caption, names)


def intervals(
    caption: str,
    estimates: Mapping[str, tuple[float, float, float]],
    *,
    label: str,
    levels: Mapping[str, float] | None = None,
    colors: Mapping[str, str] | None = None,
) -> Chart:
    """Draw a point with its interval for each name, one below the other.

    Args:
        caption: a sentence or two under the chart.
        estimates: name -> (value, low, high).
        label: of the horizontal axis.
        levels: known values as vertical lines, with their names.
        colors: of names; one after the other unless given.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(9.4, 0.95 + 0.34 * len(estimates)))
        FigureCanvasSVG(figure)
        high = figure.get_figheight()
        room = _room(estimates, 0.2)
        axes = figure.add_axes((room, 0.5 / high, 0.96 - room, 1 - 0.8 / high))
        for name, level in (levels or {}).items():
            axes.axvline(level, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            axes.text(level, -0.6, name, ha="center", va="bottom", color="#616e7c")
        for place, (name, (value, low, up)) in enumerate(estimates.items()):
            color = (colors or {}).get(name, LINES[place % len(LINES)])
            axes.plot((low, up), (place, place), color=color, linewidth=6, alpha=0.3, solid_capstyle="butt")
            axes.plot(value, place, "o", color=color, markersize=6)
        axes.set_yticks(range(len(estimates)), list(estimates))
        axes.set_ylim(len(estimates) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        return Chart(_svg(figure), caption, [])


def _room(names: Iterable[str], least: float) -> float:
    """Return the share of a figure's width needed by names."""
    return min(max([least, *(0.0085 * len(name) + 0.01 for name in names)]), 0.5)


def _svg(figure: Any) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return inline(file.getvalue())


def _draw(
    axes: Any, lines: Sequence[tuple[str, str, Points]], levels: Mapping[str, float], noisy: str
) -> list[tuple[float, str, str]]:
    """Draw (name, colour, points) and levels; return (height, name, colour) of the labels to write."""
    ends: list[tuple[float, str, str]] = []
    for name, level in levels.items():
        axes.axhline(level, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        ends.append((level, name, "#616e7c"))
    for name, color, points in lines:
        x, y = zip(*points, strict=True)
        pale = name == noisy
        axes.plot(
            x,
            y,
            color=color,
            linewidth=1.2 if pale else 2.2,
            alpha=0.45 if pale else 1,
            marker="o" if len(points) < 25 and not pale else "",
            markersize=4,
            zorder=2 + len(ends),
        )
        ends.append((y[-1], name, color))
    return ends


def _name_ends(axes: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write labels to the right of the axes, at the height of their lines but without overlap."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    step = (top - bottom) * 0.085
    heights: list[float] = []
    for wanted, _, _ in sorted(ends):
        heights.append(max(wanted, heights[-1] + step) if heights else wanted)
    excess = max(heights[-1] - top, 0.0) if heights else 0.0
    for i in reversed(range(len(heights))):  # what was pushed beyond the top moves down again, with what is below it
        ceiling = heights[i + 1] - step if i + 1 < len(heights) else heights[i] - excess
        heights[i] = min(heights[i], ceiling)
    for height, (_, name, color) in zip(heights, sorted(ends), strict=True):
        axes.annotate(
            name,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color,
            annotation_clip=False,
        )


def inline(svg: str) -> str:
    """Make a stand-alone SVG part of a page: no prolog, metadata or style of its own, and as wide as it may be."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    used = set(re.findall(r"#([\w-]+)", svg))
    return re.sub(r' id="([\w-]+)"', lambda match: match[0] if match[1] in used else "", svg)
