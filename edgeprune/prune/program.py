"""A mixed-integer program for widths and blocks, written down and solved.

One binary variable for every width of every group, of which one is chosen; one for
every block that may go. A cost that depends on two groups is a table over pairs of
widths: a pair has a continuous variable, and the pairs of a row sum to the variable
of the row's width, so that they can only be what the binary ones say.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from edgeprune.prune.blocks import freed
from edgeprune.prune.cost_model import CostModel, CostTable
from edgeprune.records import Budget
from edgeprune.records.latency import Floats

GAP = 0.01  # of the objective: good enough, and proved
TOLERANCE = 1e-5  # of a limit; the solver may break it by a little less
INFEASIBLE = 2  # scipy's status


@dataclass(frozen=True)
class AbsenceConstraint:
    """A table is absent to the extent of 1 - (total - factor * sum of variables)."""

    variables: list[int]
    factor: float
    total: float


class Program:
    """Variables and rows, filled in table by table."""

    def __init__(self, model: CostModel) -> None:
        self.model, self.steps = model, model.steps
        self.count = 0
        self.integral: list[int] = []
        self.upper: list[float] = []
        self.rows: list[tuple[list[int], list[float], float, float]] = []
        self.costs: dict[str, dict[int, float]] = {}
        self.constants: dict[str, float] = {}
        self.blocks = {
            block.name: self.variable(integral=True) for block in model.blocks
        }
        self.widths = {
            name: [self.variable(integral=True) for _ in widths]
            for name, widths in self.steps.items()
        }
        self._shown: dict[tuple[str, tuple[str, ...], str], list[int]] = {}
        self._choose_one()

    def variable(self, *, integral: bool = False, upper: float = 1.0) -> int:
        """A new variable from 0 to an upper bound."""
        self.integral.append(int(integral))
        self.upper.append(upper)
        self.count += 1
        return self.count - 1

    def row(
        self,
        variables: Sequence[int],
        factors: Sequence[float],
        low: float,
        high: float,
    ) -> None:
        """Low <= sum of factors times variables <= high."""
        self.rows.append((list(variables), list(factors), low, high))

    def cost(self, resource: str, variable: int, value: float) -> None:
        """Add the costs of a variable."""
        held = self.costs.setdefault(resource, {})
        held[variable] = held.get(variable, 0.0) + value

    def _choose_one(self) -> None:
        """One width for each group, none for the groups of a block that goes."""
        for name, chosen in self.widths.items():
            gone = [
                self.blocks[block.name]
                for block in self.model.blocks
                if name in block.groups
            ]
            self.row([*chosen, *gone], [1.0] * (len(chosen) + len(gone)), 1.0, 1.0)
        names = [block.name for block in self.model.blocks]
        for outer in names:
            for inner in names:
                if inner.startswith(f"{outer}."):  # what is gone cannot go
                    pair = [self.blocks[outer], self.blocks[inner]]
                    self.row(pair, [1.0, 1.0], 0.0, 1.0)

    def add(self, table: CostTable) -> None:
        """The costs of a table."""
        if table.further:
            self._add_sloped(table)
        elif len(table.groups) == 2:
            self._add_pairs(table)
        elif table.groups:
            shown = self._presence(table.groups[0], table)
            for resource, values in table.costs.items():
                for variable, value in zip(shown, values.tolist(), strict=True):
                    self.cost(resource, variable, value)
        else:
            for resource, value in table.costs.items():
                self._add_constant(resource, float(value), table)

    def _add_constant(self, resource: str, value: float, table: CostTable) -> None:
        absence = self._absence(table)
        held = self.constants.get(resource, 0.0)
        self.constants[resource] = held + value * absence.total
        for variable in absence.variables:
            self.cost(resource, variable, -absence.factor * value)

    def _absence(self, table: CostTable) -> AbsenceConstraint:
        """Express the absence of a table: 1 where absent, `total` less a sum."""
        if table.instead:
            return AbsenceConstraint([self.blocks[table.instead]], -1.0, 0.0)
        return AbsenceConstraint(
            [self.blocks[block] for block in table.blocks], 1.0, 1.0
        )

    def _frees(self, group: str, blocks: Sequence[str]) -> bool:
        """Whether the group goes with each of the blocks, so that none need be said."""
        freed = {block.name for block in self.model.blocks if group in block.groups}
        return set(blocks) <= freed

    def _presence(self, group: str, table: CostTable) -> list[int]:
        """Per width, what is 1 if it is chosen and the table is there."""
        if not table.instead and self._frees(group, table.blocks):
            return self.widths[group]
        key = (group, table.blocks, table.instead)
        if key not in self._shown:
            shown = [self.variable() for _ in self.widths[group]]
            for variable, width in zip(shown, self.widths[group], strict=True):
                self.row([variable, width], [1.0, -1.0], -np.inf, 0.0)
            self._there(shown, table)
            self._shown[key] = shown
        return self._shown[key]

    def _there(self, shown: Sequence[int], table: CostTable) -> None:
        """One of these variables is 1 where a table is there, none where it is not."""
        absence = self._absence(table)
        factors = [1.0] * len(shown) + [absence.factor] * len(absence.variables)
        total = absence.total
        self.row([*shown, *absence.variables], factors, total, total)

    def _add_pairs(self, table: CostTable) -> None:
        first, second = (self._presence(name, table) for name in table.groups)
        pairs = np.array([[self.variable() for _ in second] for _ in first])
        for row, variable in zip(pairs, first, strict=True):
            self.row([*row.tolist(), variable], [*[1.0] * len(row), -1.0], 0.0, 0.0)
        for column, variable in zip(pairs.T, second, strict=True):
            self.row(
                [*column.tolist(), variable], [*[1.0] * len(column), -1.0], 0.0, 0.0
            )
        for resource, values in table.costs.items():
            for variable, value in zip(
                pairs.ravel().tolist(), values.ravel().tolist(), strict=True
            ):
                self.cost(resource, variable, value)

    def _add_sloped(self, table: CostTable) -> None:
        """Its further groups' positions, split over the widths of the first one."""
        highest = sum(each * self.model.sizes[name] for name, each in table.further)
        if table.groups:
            shown = self._presence(table.groups[0], table)
            costs = {key: values.tolist() for key, values in table.costs.items()}
            slopes = {key: values.tolist() for key, values in table.slopes.items()}
        else:
            shown = [self.variable()]
            self._there(shown, table)
            costs = {key: [float(value)] for key, value in table.costs.items()}
            slopes = {key: [float(value)] for key, value in table.slopes.items()}
        parts = [self.variable(upper=highest) for _ in shown]
        for part, variable in zip(parts, shown, strict=True):
            self.row([part, variable], [1.0, -highest], -np.inf, 0.0)
        variables, factors = list(parts), [1.0] * len(parts)
        for name, each in table.further:
            for width, variable in zip(
                self.steps[name], self.widths[name], strict=True
            ):
                variables.append(variable)
                factors.append(-each * width)
        absence = self._absence(table)
        variables += absence.variables
        factors += [highest * absence.factor] * len(absence.variables)
        self.row(variables, factors, highest * (absence.total - 1), np.inf)
        for resource in costs:
            for index, variable in enumerate(shown):
                self.cost(resource, variable, costs[resource][index])
                self.cost(resource, parts[index], slopes[resource][index])

    def vector(self, resource: str) -> Floats:
        """The costs of all variables."""
        found = np.zeros(self.count)
        for variable, value in self.costs.get(resource, {}).items():
            found[variable] = value
        return found

    def amount(self, resource: str, values: Floats) -> float:
        """How much of a resource a choice takes."""
        return self.constants.get(resource, 0.0) + float(self.vector(resource) @ values)

    def limit(self, resource: str, highest: float) -> None:
        """No more of a resource than this."""
        highest *= 1 - TOLERANCE
        held = self.costs.get(resource, {})
        scale = max(highest, 1e-12)
        factors = [value / scale for value in held.values()]
        most = (highest - self.constants.get(resource, 0.0)) / scale
        self.row(list(held), factors, -np.inf, most)

    def limit_memory(self, highest: float) -> None:
        """No more bytes of activations than this while any operator runs."""
        highest *= 1 - TOLERANCE
        for alive in self.model.alive_together():
            variables, factors = [], []
            for name, each in alive.positions:
                if each:
                    variables += self.widths[name]
                    factors += [each * width / highest for width in self.steps[name]]
            self.row(variables, factors, -np.inf, 1.0 - alive.base / highest)

    def limit_all(self, budget: Budget) -> None:
        """No more of anything than a budget allows; file size is one of parameters."""
        if (limit_ms := self.model.limit_ms(budget)) is not None:
            self.limit("latency_ms", limit_ms)
        if budget.macs is not None:
            self.limit("macs", budget.macs)
        if budget.params is not None:
            self.limit("params", budget.params)
        if budget.size_bytes is not None:
            self.limit("params", max(1.0, self.model.params_of(budget.size_bytes)))
        if budget.memory_bytes is not None:
            self.limit_memory(budget.memory_bytes)

    def solve(
        self, objective: Floats, time_limit_s: float, *, relaxed: bool = False
    ) -> tuple[Floats | None, float, int]:
        """The best values, the gap and scipy's status.

        Args:
            relaxed: variables may lie between 0 and 1, which takes a moment only.
        """
        low: Any = np.array([row[2] for row in self.rows])  # scipy's stubs want floats
        high: Any = np.array([row[3] for row in self.rows])
        if not self.count:
            fits = bool((low <= 0).all() and (high >= 0).all())
            return (np.zeros(0), 0.0, 0) if fits else (None, 0.0, INFEASIBLE)
        rows, columns, factors = [], [], []
        for index, (variables, values, _, _) in enumerate(self.rows):
            rows += [index] * len(variables)
            columns += variables
            factors += values
        matrix = coo_array(
            (factors, (rows, columns)), shape=(len(self.rows), self.count)
        ).tocsr()
        upper: Any = np.array(self.upper)
        scale = max(float(np.abs(objective).max()), 1e-30)
        with _muted():
            found = milp(
                objective / scale,
                integrality=np.array(self.integral) * (not relaxed),
                bounds=Bounds(0.0, upper),
                constraints=LinearConstraint(matrix, low, high),
                options={"time_limit": time_limit_s, "mip_rel_gap": GAP},
            )
        gap = found.mip_gap if found.mip_gap is not None else 0.0
        return found.x, float(gap), int(found.status)

    def choice(self, values: Floats) -> tuple[dict[str, int], tuple[str, ...]]:
        """Widths and blocks by the values of the variables."""
        bypassed = tuple(
            name for name, variable in self.blocks.items() if values[variable] > 0.5
        )
        gone = freed(self.model.blocks, bypassed)
        widths = {
            name: self.steps[name][int(np.argmax(values[variables]))]
            for name, variables in self.widths.items()
            if name not in gone
        }
        return widths, bypassed


@contextmanager
def _muted() -> Iterator[None]:
    """HiGHS prints a line now and then, past its options; `--json` must stay JSON."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
            yield
            library = ctypes.CDLL(None if os.name == "posix" else "ucrtbase")
            library.fflush(None)  # what is not written yet
    finally:
        os.dup2(kept, 1)
        os.close(kept)
