"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table


def plain_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Without lines; the first column is text, the others are figures."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
