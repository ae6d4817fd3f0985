"""Exchanges: a solution made better where losses do not simply add up.

The solver adds losses that were measured one by one. Together they are more than
their sum, and some pairs get on better than others. So each single move from a
solution is judged where it stands, and pairs of moves that keep the time, one that
gives back and one that takes, are tried in the order of what they promise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from edgeprune.prune.blocks import freed
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.solver import Solution
from edgeprune.records import Budget, pressure_of

JUDGED = 300  # networks in all, or twice as many as there are moves
TRIED = 6  # pairs before the singles are taken as exhausted
AHEAD = 2  # of them estimated beside each other; all the same on any number of cores
NOISE = 0.002  # of the error


class Objective(Protocol):
    """A function to minimise."""

    def error(self, solution: Solution, near: Solution | None = None) -> float:
        """The error of a solution's network.

        Args:
            near: one much like it, of which more is known by now.
        """
        ...

    def estimates(
        self, solutions: Iterable[Solution], near: Solution
    ) -> Iterator[float]:
        """Much the same of several sooner, by how they differ from another one."""
        ...

    def possible(self, solution: Solution) -> bool:
        """Whether a network can be made of it at all."""
        ...


@dataclass(frozen=True)
class Move:
    """One change: a group to another width, or a block out or back.

    Attributes:
        width: None for a block.
    """

    name: str
    width: int | None
    error: float = 0.0


Pair = tuple[Move, Move]


@dataclass
class BudgetedObjective:
    """An objective that judges so many networks; the same one again costs nothing.

    Attributes:
        left: how many more it is to judge.
        noise: a gain of less than this share of the error is none.
    """

    objective: Objective
    left: int
    noise: float = NOISE
    _known: dict[object, float] = field(default_factory=dict)
    _estimated: dict[object, float] = field(default_factory=dict)

    def error(self, solution: Solution, near: Solution | None = None) -> float:
        """The error of a solution's network."""
        key = _key(solution)
        if key not in self._known:
            self.left -= 1
            self._known[key] = self.objective.error(solution, near)
        return self._known[key]

    def estimates(self, solutions: Sequence[Solution], near: Solution) -> list[float]:
        """The errors that are known, about as much for the others."""
        beside = _key(near)
        keys = [_key(solution) for solution in solutions]
        new = {
            (key, beside): solution
            for key, solution in zip(keys, solutions, strict=True)
            if key not in self._known and (key, beside) not in self._estimated
        }
        found = self.objective.estimates(new.values(), near) if new else ()
        self._estimated |= zip(new, found, strict=True)
        self.left -= len(new)
        return [
            self._known[key] if key in self._known else self._estimated[key, beside]
            for key in keys
        ]


def _key(solution: Solution) -> object:
    return frozenset(solution.widths.items()), frozenset(solution.bypassed)


def exchange(
    model: CostModel, solution: Solution, budget: Budget, objective: BudgetedObjective
) -> Solution:
    """Find a solution of less error within the same limits, by prediction.

    All moves from the start are judged, and those from each better solution, as long as
    so many networks are left to be judged. What a move changes is taken to be the same
    after exchanges that it was no part of, until nothing seems to help any more.
    """
    best, least = solution, objective.error(solution)
    changes: dict[Move, float] = {}
    fresh = True
    while True:
        moves = moves_from(model, best)
        new = [move for move in moves if move not in changes]
        if objective.left < len(new):
            return best
        changed = [_after(model, best, [move]) for move in new]
        found = objective.estimates(changed, best)
        changes |= {move: error - least for move, error in zip(new, found, strict=True)}
        judged = [replace(move, error=least + changes[move]) for move in moves]
        start = best, least
        best, least, touched = _better(model, start, budget, objective, judged)
        if touched:
            fresh = False
            touched |= freed(model.blocks, touched)
            changes = {
                move: change
                for move, change in changes.items()
                if move.name not in touched
            }
        elif fresh:
            return best
        else:
            fresh, changes = True, {}


def _better(
    model: CostModel,
    start: tuple[Solution, float],
    budget: Budget,
    objective: BudgetedObjective,
    moves: Sequence[Move],
) -> tuple[Solution, float, set[str]]:
    """Make as many promising exchanges as really help.

    Returns:
        The solution, its error, and the groups and blocks that were changed.
    """
    best, least = start
    helps = 1 - objective.noise
    within = max(1.0, pressure_of(model.predict(best.widths, best.bypassed), budget))
    promised = _promised(moves, least, helps)
    failed, touched = 0, set[str]()
    while failed < TRIED and objective.left > 0:
        promised = [pair for pair in promised if not touched & _names(pair)]
        changes = ((pair, _after(model, best, pair)) for pair in promised)
        fitting = (
            (pair, changed)
            for pair, changed in changes
            if pressure_of(model.predict(changed.widths, changed.bypassed), budget)
            <= within
        )
        tried = list(itertools.islice(fitting, min(AHEAD, TRIED - failed)))
        if not tried:
            break
        estimated = objective.estimates([changed for _, changed in tried], best)
        for (pair, changed), error in zip(tried, estimated, strict=True):
            promised = promised[promised.index(pair) + 1 :]
            if error < least * helps:
                error = objective.error(changed, best)
            if error < least * helps and objective.objective.possible(changed):
                best, least = changed, error
                touched |= _names(pair)
                break
            failed += 1
    return best, least, touched


def _promised(moves: Sequence[Move], least: float, helps: float) -> list[Pair]:
    """Pairs of moves that seem to help, the best ones first."""
    found = sorted(
        (one.error + other.error - 2 * least, index, (one, other))
        for index, (one, other) in enumerate(itertools.combinations(moves, 2))
        if one.name != other.name and one.error + other.error < (1 + helps) * least
    )
    return [pair for _, _, pair in found]


def _names(pair: Pair) -> set[str]:
    return {move.name for move in pair}


def most_judged(model: CostModel, solution: Solution) -> int:
    """How many networks exchanges from a solution judge, at most."""
    return max(JUDGED, 2 * len(moves_from(model, solution)))


def moves_from(model: CostModel, solution: Solution) -> list[Move]:
    """Every group one width up or down, every block out or back."""
    gone = freed(model.blocks, solution.bypassed)
    moves = [Move(block.name, None) for block in model.blocks]
    for group in model.graph.groups:
        if group.name in gone:
            continue
        widths = model.steps[group.name]
        at = widths.index(solution.widths[group.name])
        moves += [
            Move(group.name, widths[index])
            for index in (at - 1, at + 1)
            if 0 <= index < len(widths)
        ]
    return moves


def _after(model: CostModel, solution: Solution, moves: Sequence[Move]) -> Solution:
    """Apply some moves; groups of a block that is back are whole."""
    widths: dict[str, int] = dict(solution.widths)
    bypassed = list(solution.bypassed)
    for move in moves:
        if move.width is not None:
            widths[move.name] = move.width
        elif move.name in bypassed:
            bypassed.remove(move.name)
            back = freed(model.blocks, [move.name])
            widths |= {name: model.sizes[name] for name in back}
        else:
            nested = [name for name in bypassed if name.startswith(f"{move.name}.")]
            bypassed = [name for name in bypassed if name not in nested]
            if not any(move.name.startswith(f"{name}.") for name in bypassed):
                bypassed.append(move.name)
    gone = freed(model.blocks, bypassed)
    widths = {name: width for name, width in widths.items() if name not in gone}
    return replace(solution, widths=widths, bypassed=tuple(bypassed))
