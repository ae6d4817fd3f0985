"""Builds HTML pages: one file each that opens without a network connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, select_autoescape
from plotly.offline import get_plotlyjs

from edgeprune.units import megabytes, millions, milliseconds, percent

BEFORE, AFTER, LIMIT = "#8a94a6", "#1a73e8", "#d93025"
LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 20, "b": 60},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "legend": {"orientation": "h", "y": 1.08},
}


def rendered(template: str, **content: Any) -> str:
    """A page's HTML, with the plotting library in it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        milliseconds=milliseconds,
        millions=millions,
        megabytes=megabytes,
        percent=percent,
    )
    page = environment.get_template(template)
    return page.render(plotly=get_plotlyjs(), **content)


def plot(figure: go.Figure) -> str:
    """A figure's HTML; the library itself stands once in the page."""
    options: dict[str, Any] = {"displaylogo": False, "responsive": True}
    return figure.to_html(full_html=False, include_plotlyjs=False, config=options)
