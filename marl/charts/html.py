"""HTML pages: render the Jinja templates of this package with one style sheet."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def figure(x: float | None, digits: int = 3) -> str:
    """Format a number; a dash for None."""
    if x is None:
        return "–"
    text = f"{x:.{digits}f}"
    return text if float(text) else text.lstrip("-")


def percent(x: float | None) -> str:
    """Format a share as a percentage; a dash for None."""
    return "–" if x is None else f"{100 * x:.0f} %"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Render a template, named by its path in this package; an undefined variable is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    loader = FunctionLoader(lambda name: files("marl").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, loader=loader
    )
    environment.filters |= {"figure": figure, "percent": percent}
    return environment.get_template(template).render(values)
