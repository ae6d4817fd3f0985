"""Figures with their units, as people read them."""

from __future__ import annotations


def milliseconds(value: float) -> str:
    """`12.34 ms`; below 1, as `0.0123 ms`, in three digits that count."""
    return f"{value:.2f} ms" if value >= 1 else f"{value:.3g} ms"


def millions(value: float) -> str:
    """`12.3 M`."""
    return f"{value / 1e6:.3g} M" if value < 1e8 else f"{value / 1e6:.0f} M"


def megabytes(value: float) -> str:
    """`1.23 MB`."""
    return f"{value / 1e6:.2f} MB"


def percent(value: float) -> str:
    """`97.41 %`."""
    return f"{value * 100:.2f} %"
