"""Exchanges: a solution made better where losses do not simply add up.

The solver adds losses that were measured one by one. Together they are more than
their sum, and some pairs get on better than others. So each single step from a
solution is judged where it stands, and pairs of steps that keep the time, one that
gives back and one that takes, are tried in the order of what they promise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from edgeprune.prune.blocks import freed
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.solver import Solution
from edgeprune.records import Budget, pressure_of

JUDGED = 300  # networks in all, or twice as many as there are steps
TRIED = 6  # pairs before the singles are taken as exhausted
NOISE = 0.002  # of the error

Errors = Callable[[Solution], float]


@dataclass(frozen=True)
class Step:
    """One change: a group to another width, or a block out or back.

    Attributes:
        width: None for a block.
    """

    name: str
    width: int | None
    error: float = 0.0


@dataclass
class Counted:
    """An error that is taken of so many networks; of the same one it costs nothing.

    Attributes:
        error: of a solution's network.
        left: how many more are to be judged.
        noise: a gain of less than this share of the error is none.
    """

    error: Errors
    left: int
    noise: float = NOISE
    _known: dict[object, float] = field(default_factory=dict)

    def __call__(self, solution: Solution) -> float:
        """Of a solution's network."""
        key = frozenset(solution.widths.items()), frozenset(solution.bypassed)
        if key not in self._known:
            self.left -= 1
            self._known[key] = self.error(solution)
        return self._known[key]


def exchange(
    model: CostModel, solution: Solution, budget: Budget, error: Counted
) -> Solution:
    """A solution of less error within the same limits, by prediction.

    All steps from the start are judged; those from what is better while as many are
    left to be judged.
    """
    best, least = solution, error(solution)
    steps = steps_from(model, best)
    while True:
        judged = [
            replace(step, error=error(_after(model, best, [step]))) for step in steps
        ]
        found = _better(model, (best, least), budget, error, judged)
        if found is None:
            return best
        best, least = found
        steps = steps_from(model, best)
        if error.left < len(steps):
            return best


def _better(
    model: CostModel,
    start: tuple[Solution, float],
    budget: Budget,
    error: Counted,
    steps: Sequence[Step],
) -> tuple[Solution, float] | None:
    """The start with as many promising exchanges as really help; None if none does."""
    best, least = start
    helps = 1 - error.noise
    within = max(1.0, pressure_of(model.predict(best.widths, best.bypassed), budget))
    promised = sorted(
        (one.error + other.error - 2 * least, index, (one, other))
        for index, (one, other) in enumerate(itertools.combinations(steps, 2))
        if one.name != other.name and one.error + other.error < (1 + helps) * least
    )
    failed, touched = 0, set[str]()
    for _, _, pair in promised:
        if failed >= TRIED or error.left <= 0:
            break
        if touched & {step.name for step in pair}:
            continue
        changed = _after(model, best, pair)
        predicted = model.predict(changed.widths, changed.bypassed)
        if pressure_of(predicted, budget) > within:
            continue
        found = error(changed)
        if found < least * helps:
            best, least = changed, found
            touched |= {step.name for step in pair}
        else:
            failed += 1
    return (best, least) if touched else None


def steps_from(model: CostModel, solution: Solution) -> list[Step]:
    """Every group one width up or down, every block out or back."""
    gone = freed(model.blocks, solution.bypassed)
    found = [Step(block.name, None) for block in model.blocks]
    for group in model.graph.groups:
        if group.name in gone:
            continue
        widths = model.steps[group.name]
        at = widths.index(solution.widths[group.name])
        found += [
            Step(group.name, widths[index])
            for index in (at - 1, at + 1)
            if 0 <= index < len(widths)
        ]
    return found


def _after(model: CostModel, solution: Solution, steps: Sequence[Step]) -> Solution:
    """The solution after some steps; groups of a block that is back are whole."""
    widths: dict[str, int] = dict(solution.widths)
    bypassed = list(solution.bypassed)
    for step in steps:
        if step.width is not None:
            widths[step.name] = step.width
        elif step.name in bypassed:
            bypassed.remove(step.name)
            back = freed(model.blocks, [step.name])
            widths |= {name: model.sizes[name] for name in back}
        else:
            nested = [name for name in bypassed if name.startswith(f"{step.name}.")]
            bypassed = [name for name in bypassed if name not in nested]
            if not any(step.name.startswith(f"{name}.") for name in bypassed):
                bypassed.append(step.name)
    gone = freed(model.blocks, bypassed)
    widths = {name: width for name, width in widths.items() if name not in gone}
    return replace(solution, widths=widths, bypassed=tuple(bypassed))
