"""Widths and blocks with the least loss, or the least time, within all limits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgeprune.prune.blocks import freed
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.loss import Loss
from edgeprune.prune.program import INFEASIBLE, Program
from edgeprune.records import Budget, pressure_of

TIME_LIMIT_S = 20.0
NO_LIMIT = Budget()
HALVED = 8  # times at most, the range of the number of parameters that are left
SETTLED = 0.01  # of the weights come from memory or not: of no more importance
CORRECTED = 2  # solutions at most that take longer than predicted
NEARLY = 1.01  # of a limit: sums of groups are taken as straight lines


@dataclass(frozen=True)
class Solution:
    """A choice.

    Attributes:
        widths: of every group that stays.
        gap: how far, at most, its loss is from the least, as a share; None if the
            choice is a greedy one.
        feasible: whether it is within the limits by prediction.
    """

    widths: Mapping[str, int]
    bypassed: tuple[str, ...]
    feasible: bool
    gap: float | None
    seconds: float
    note: str = ""


def least_loss(
    model: CostModel,
    loss: Loss,
    budget: Budget,
    *,
    params: float | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Solution:
    """The choice that loses least within all limits.

    Args:
        params: about how many will be left; the present number if missing.

    Returns:
        The fastest choice where none is within the limits, and a greedy one, with a
        note, where the time ends before any is found.
    """
    start = time.perf_counter()
    program = _losing(model, loss, budget, params)
    values, gap, status = program.solve(program.vector("loss"), time_limit_s)
    seconds = time.perf_counter() - start
    if values is not None:
        return Solution(*program.choice(values), True, gap, seconds)
    if status == INFEASIBLE:
        least = fastest(model, budget=budget.without_time(), params=params)
        return replace(least, feasible=False, gap=None, seconds=seconds)
    return _greedy(model, loss, budget, start)


def params_left(
    model: CostModel, loss: Loss, budget: Budget, params: float
) -> float | None:
    """About how many parameters `least_loss` leaves, from its relaxation.

    Args:
        params: as if about so many were left.

    Returns:
        None where nothing is within the limits.
    """
    program = _losing(model, loss, budget, params)
    values, _, _ = program.solve(program.vector("loss"), TIME_LIMIT_S, relaxed=True)
    return None if values is None else program.amount("params", values)


def solve_fixed_point(model: CostModel, loss: Loss, budget: Budget) -> Solution:
    """Find the least loss, with as many weights in the cache as the solution has there.

    How much of the weights the processor's cache holds depends on how many are left,
    which the solution decides.
    """
    limit = model.limit_ms(budget)
    if limit is None:
        return least_loss(model, loss, budget)
    start = time.perf_counter()
    params, share = _fixed_point_params(model, loss, budget), 1.0
    solution = least_loss(model, loss, budget, params=params)
    for _ in range(CORRECTED):
        found = model.predict(solution.widths, solution.bypassed)
        if not solution.feasible or found.latency_ms <= NEARLY * limit:
            break
        share *= limit / found.latency_ms
        within = budget.with_time_scaled(share)
        solution = least_loss(model, loss, within, params=found.params)
    return replace(solution, seconds=time.perf_counter() - start)


def _fixed_point_params(model: CostModel, loss: Loss, budget: Budget) -> float:
    """Find the number of parameters for which the solution leaves about as many.

    Too large a number makes everything slower, so that fewer are left, and too small
    a one more: it is searched between the two.
    """
    low, high = 0.0, model.predict({}).params
    params = high
    for _ in range(HALVED):
        if model.missed(high) - model.missed(low) < SETTLED:
            break
        left = params_left(model, loss, budget, params)
        if left is None:
            high = params
        elif left < params:
            low, high = max(low, left), params
        else:
            low = params
        params = (low + high) / 2
    return high


def fastest(
    model: CostModel,
    *,
    budget: Budget = NO_LIMIT,
    params: float | None = None,
    channels: float = 0.0,
    time_limit_s: float = TIME_LIMIT_S,
) -> Solution:
    """The choice that takes the least time by prediction.

    Args:
        budget: further limits; the narrowest widths where none is within them.
        channels: how many must be left, as a share of all.
    """
    start = time.perf_counter()
    program = _program(model, params)
    program.limit_all(budget)
    if channels:
        variables, factors = [], []
        for name, chosen in program.widths.items():
            variables += chosen
            factors += [float(width) for width in program.steps[name]]
        least = channels * sum(model.sizes.values())
        program.row(variables, factors, least, np.inf)
    values, gap, _ = program.solve(program.vector("latency_ms"), time_limit_s)
    seconds = time.perf_counter() - start
    if values is not None:
        return Solution(*program.choice(values), True, gap, seconds)
    bypassed = _outermost(model)
    gone = freed(model.blocks, bypassed)
    widths = {
        name: steps[0] for name, steps in program.steps.items() if name not in gone
    }
    return Solution(widths, bypassed, False, None, seconds)


def _outermost(model: CostModel) -> tuple[str, ...]:
    """All blocks, without those that go with one around them."""
    names = [block.name for block in model.blocks]
    return tuple(
        name
        for name in names
        if not any(name.startswith(f"{other}.") for other in names)
    )


def _losing(
    model: CostModel, loss: Loss, budget: Budget, params: float | None
) -> Program:
    """The program with its losses and limits."""
    program = _program(model, params)
    for name, variables in program.widths.items():
        for width, variable in zip(program.steps[name], variables, strict=True):
            program.cost("loss", variable, loss.widths[name][width])
    for name, variable in program.blocks.items():
        program.cost("loss", variable, loss.blocks[name])
    program.limit_all(budget)
    return program


def _program(model: CostModel, params: float | None) -> Program:
    present = model.predict({}).params if params is None else params
    program = Program(model)
    for table in model.cost_tables(present):
        program.add(table)
    return program


def _greedy(model: CostModel, loss: Loss, budget: Budget, start: float) -> Solution:
    """Step down where least is lost per relief, until the prediction fits."""
    steps = model.steps
    at = {name: len(widths) - 1 for name, widths in steps.items()}

    def widths() -> dict[str, int]:
        return {name: steps[name][index] for name, index in at.items()}

    pressure = pressure_of(model.predict(widths()), budget)
    while pressure > 1:
        best: tuple[float, str] | None = None
        for name, index in at.items():
            if index == 0:
                continue
            lower = {**widths(), name: steps[name][index - 1]}
            gain = pressure - pressure_of(model.predict(lower), budget)
            losses = loss.widths[name]
            more = losses[steps[name][index - 1]] - losses[steps[name][index]]
            price = more / max(gain, 1e-12)
            if best is None or price < best[0]:
                best = (price, name)
        if best is None:
            break
        at[best[1]] -= 1
        pressure = pressure_of(model.predict(widths()), budget)
    note = "the solver found nothing in its time: a greedy choice"
    seconds = time.perf_counter() - start
    return Solution(widths(), (), pressure <= 1, None, seconds, note)
