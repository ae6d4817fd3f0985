"""Go on or stop? Pure: the history of steps and the floor in, a reason out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.records import Step

MAX_ROUNDS = 8
ONE_ROUND_SPEEDUP = 3.0  # a deeper cut in one go costs more than training gets back
MAX_FAILED = 3
CLOSE = 1.05  # between a valid model and a failed one: not worth another round
Verdict = Literal["go on", "met", "floor", "exhausted", "rounds"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next.

    Attributes:
        goal: the pressure to prune to next, 1 being the budget itself; None at the
            end.
        resume: index of the step whose model the next round starts from, -1 for the
            baseline.
    """

    verdict: Verdict
    reason: str
    goal: float | None = None
    resume: int = -1


@dataclass(frozen=True, slots=True)
class Standing:
    """A step, and how much of the budget it uses.

    Attributes:
        pressure: the largest share of any limit; at most 1 is within the budget.
        reached: whether its round got where it was to get.
    """

    step: Step
    pressure: float
    reached: bool


def decide(
    history: Sequence[Standing], baseline_pressure: float, floor: float
) -> Decision:
    """The next goal, or why there is none.

    Deep cuts are taken in several rounds. When the accuracy falls below the floor, the
    last valid model is taken up again and pruned half as far, a few times or until the
    two have come close.
    """
    valid = [index for index, standing in enumerate(history) if standing.step.valid]
    failed = [standing for standing in history if not standing.step.valid]
    last = valid[-1] if valid else -1
    here = history[last].pressure if valid else baseline_pressure
    if here <= 1:
        return Decision("met", "all budgets are met", resume=last)
    if len(history) >= MAX_ROUNDS:
        return Decision("rounds", f"{MAX_ROUNDS} rounds did not reach it", resume=last)
    if not failed:
        if history and not history[-1].reached:
            return Decision("exhausted", "nothing is left to remove", resume=last)
        return Decision("go on", "towards the budget", _next_goal(here), last)
    goal = (here * max(1.0, failed[-1].pressure)) ** 0.5
    if len(failed) >= MAX_FAILED or here / goal < CLOSE:
        reason = (
            f"pruning to it falls below the accuracy floor {floor:.2%}; more --epochs "
            "or a larger --max-drop would help"
        )
        return Decision("floor", reason, resume=last)
    return Decision("go on", "half as far, after the floor", goal, last)


def _next_goal(pressure: float) -> float:
    """The budget itself, or a part of the way there."""
    rounds = 1
    while pressure ** (1 / rounds) > ONE_ROUND_SPEEDUP:
        rounds += 1
    return pressure ** (1 - 1 / rounds)
