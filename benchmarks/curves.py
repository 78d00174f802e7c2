"""Draw a metric of several runs over updates or seconds: the curves in docs/ (not a benchmark).

    python benchmarks/curves.py runs/writing-1 runs/writing-2 --metric train/score --to docs/writing.svg

Prints for each run the mean of its first three rows and of its last three, and how many seconds lie between.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

from marl.charts.svg import curves
from marl.rundir import RunDir

ENDS = 3


def points(folder: Path, metric: str, over: str) -> list[tuple[float, float]]:
    """Return (update or second, value) of every row that has the metric."""
    rows = [json.loads(line) for line in RunDir(folder).metrics.read_text().splitlines()]
    return [(row["update" if over == "updates" else "time/seconds"], row[metric]) for row in rows if metric in row]


def main() -> None:
    """Draw, and say what the ends of the curves are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--metric", default="train/score")
    parser.add_argument("--over", choices=("updates", "seconds"), default="updates")
    parser.add_argument("--label", default="score")
    parser.add_argument("--to", type=Path, required=True, help="an .svg file")
    options = parser.parse_args()
    lines = {folder.name: points(folder, options.metric, options.over) for folder in options.runs}
    chart = curves(options.metric, lines, label=options.label, over=options.over)
    options.to.write_text(chart.svg + "\n", encoding="utf-8")
    for folder, name in zip(options.runs, lines, strict=True):
        values = [value for _, value in lines[name]]
        first, last = fmean(values[:ENDS]), fmean(values[-ENDS:])
        seconds = points(folder, options.metric, "seconds")[-1][0]
        row = {"run": name, "updates": len(values), "first": round(first, 3), "last": round(last, 3)}
        print(json.dumps(row | {"seconds": round(seconds)}))


if __name__ == "__main__":
    main()
