"""Pages of HTML: templates of this package, one style for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def figure(x: float | None, digits: int = 3) -> str:
    """Return a figure; a dash where there is none."""
    if x is None:
        return "–"
    text = f"{x:.{digits}f}"
    return text if float(text) else text.lstrip("-")


def percent(x: float | None) -> str:
    """Return a share in percent; a dash where there is none."""
    return "–" if x is None else f"{100 * x:.0f} %"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill in a template, named by its path in this package; what it names and is not given is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    loader = FunctionLoader(lambda name: files("marl").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, loader=loader
    )
    environment.filters |= {"figure": figure, "percent": percent}
    return environment.get_template(template).render(values)
