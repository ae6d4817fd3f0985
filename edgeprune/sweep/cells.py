"""From `sweep.toml` to cells: each choice of settings, checked before any work."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.errors import ConfigError
from edgeprune.settings import CompressSettings, read_toml, settings_of_call

GRID = "sweep"
MOST = 1000  # cells
APART = ("data", "task", "input")  # of which each has metrics of its own


@dataclass(frozen=True)
class Cell:
    """One choice of settings.

    Attributes:
        changes: those that are not the same in all cells.
    """

    name: str
    changes: Mapping[str, Any]
    settings: CompressSettings


def cells_of(path: Path) -> list[Cell]:
    """All cells of a file: settings of `compress`, and a table of lists.

    Raises:
        ConfigError: which setting is wrong, before anything is run.
    """
    held = read_toml(path)
    grid = held.pop(GRID, None)
    if not isinstance(grid, dict) or not grid:
        message = f"{path} needs a table [{GRID}] of lists, such as"
        raise ConfigError(f'{message} budget-ms = ["70%", "50%"].')
    lists = {name.replace("-", "_"): values for name, values in grid.items()}
    for name, values in lists.items():
        if not isinstance(values, list) or not values:
            message = f"{path}: {name} in [{GRID}] must be a list of values"
            raise ConfigError(f"{message}, found {values!r}.")
        if name in held:
            raise ConfigError(f"{path}: {name} is set twice, alone and in [{GRID}].")
    _check_comparable(path, lists)
    if "out" in {**held, **lists}:
        raise ConfigError(f"{path}: give --out on the command line, not out.")
    count = math.prod(map(len, lists.values()))
    if count > MOST:
        raise ConfigError(f"{path}: {count} cells are more than {MOST}.")
    choices = [
        dict(zip(lists, chosen, strict=True))
        for chosen in itertools.product(*lists.values())
    ]
    return [_cell(number, held, changes) for number, changes in enumerate(choices)]


def _check_comparable(path: Path, lists: Mapping[str, Any]) -> None:
    """Refuse cells that no table could show side by side.

    Raises:
        ConfigError: which list makes them such.
    """
    for name in APART:
        if name in lists:
            message = f"{path}: cells of several {name} cannot be compared: give each"
            raise ConfigError(f"{message} a sweep of its own.")
    if any("=" in str(value) for value in lists.get("target", ())):
        message = f"{path}: a target in [{GRID}] is a name alone: its budgets belong"
        raise ConfigError(f"{message} in budget-ms.")


def _cell(number: int, held: Mapping[str, Any], changes: Mapping[str, Any]) -> Cell:
    told = ", ".join(
        f"{name.replace('_', '-')} {value}" for name, value in changes.items()
    )
    try:
        settings = settings_of_call({**held, **changes}, "sweep", CompressSettings)
        settings.check()
        settings.check_sources()
    except ConfigError as error:
        raise ConfigError(f"The cell of {told}: {error}") from error
    wrong = settings.missing_budget()
    if len(settings.for_each_target()) > 1:
        wrong = "a cell has one target: list targets in [sweep]."
    if wrong:
        raise ConfigError(f"The cell of {told}: {wrong}")
    name = re.sub(r"[^\w.%=-]+", "-", f"{number:03d} {told}").strip("-")
    return Cell(name[:100], changes, settings)
