"""Go on or stop? Pure: the history of steps and the floor in, a reason out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records import Step

MAX_ROUNDS = 8
ONE_ROUND_SPEEDUP = 3.0  # a deeper cut in one go costs more than training gets back
FIRST_SPEEDUP = 1.5  # of a first round that is to find out how far it can go
LEAST_SPEEDUP = 1.1  # less is not worth a round
GROWS = 2.0  # a round goes at most twice as far as the last, or half, in log time
SLACK = 1e-9  # of rounding
MAX_FAILED = 3
CLOSE = 1.05  # between a valid model and a failed one: not worth another round
Verdict = Literal[
    "go on", "met", "floor", "exhausted", "rounds", "interrupted", "untimed"
]


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step of a run.

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
class RoundResult:
    """A step, and how much of the budget it uses.

    Attributes:
        pressure: the largest share of any limit; at most 1 is within the budget.
        reached: whether its round got where it was to get.
    """

    step: Step
    pressure: float
    reached: bool


def met(step: int) -> Decision:
    """The end of a run whose budgets the model of a step meets, -1 the baseline's."""
    return Decision("met", "all budgets are met", resume=step)


def decide(
    history: Sequence[RoundResult],
    baseline: RoundResult,
    floor: float,
    *,
    until_floor: bool = False,
    metric: Metric = ACCURACY,
) -> Decision:
    """The next goal, or why there is none.

    Deep cuts are taken in several rounds, each as far as the losses of earlier
    rounds suggest. When the accuracy falls below the floor, the last valid model is
    taken up again and pruned half as far, a few times or until the two have come close.

    Args:
        until_floor: there is no budget: the floor is where to get to.
    """
    valid = [index for index, result in enumerate(history) if result.step.valid]
    failed = [result for result in history if not result.step.valid]
    last = valid[-1] if valid else -1
    here = history[last].pressure if valid else baseline.pressure

    def ended(verdict: Verdict, reason: str) -> Decision:
        if until_floor and valid:
            return Decision(
                "met", f"it was pruned until the {metric.name} floor", resume=last
            )
        return Decision(verdict, reason, resume=last)

    if here <= 1:
        return met(last)
    if len(history) >= MAX_ROUNDS:
        return ended("rounds", f"{MAX_ROUNDS} rounds did not reach it")
    if not failed:
        if history and not history[-1].reached:
            return ended("exhausted", "nothing is left to remove")
        taken = [baseline, *(history[index] for index in valid)]
        goal = _next_goal(taken, floor, until_floor=until_floor)
        return Decision("go on", "towards the budget", goal, last)
    goal = (here * max(1.0, failed[-1].pressure)) ** 0.5
    if len(failed) >= MAX_FAILED or here / goal < CLOSE:
        return ended(*_why(failed[-1], floor, metric))
    return Decision("go on", "half as far, after the floor", goal, last)


def _why(failed: RoundResult, floor: float, metric: Metric) -> tuple[Verdict, str]:
    """Say what a round that is not valid has failed at."""
    if failed.step.validation_accuracy >= floor:
        return "exhausted", "pruning further made its file no faster"
    return "floor", (
        f"pruning to it falls below the {metric.name} floor {metric.text(floor)}; more "
        "training or a larger --max-drop would help"
    )


def _next_goal(
    taken: Sequence[RoundResult], floor: float, *, until_floor: bool
) -> float:
    """The budget itself, or a part of the way there.

    The first of several parts is one of equal ones. A later one is as long as the last,
    on a logarithmic scale, times half of what may still be lost over what that lost.

    Args:
        taken: the baseline and all valid rounds.
    """
    here = taken[-1].pressure
    if len(taken) > 1:
        before, now = taken[-2:]
        lost = before.step.validation_accuracy - now.step.validation_accuracy
        left = now.step.validation_accuracy - floor
        share = left / (2 * lost) if lost > 0 else GROWS
        power = min(GROWS, max(1 / GROWS, share))
        stride = max(LEAST_SPEEDUP, before.pressure / here) ** power
    elif until_floor:
        stride = FIRST_SPEEDUP
    else:
        rounds = math.ceil(math.log(here) / math.log(ONE_ROUND_SPEEDUP) - SLACK)
        stride = here ** (1 / max(rounds, 1))
    stride = min(ONE_ROUND_SPEEDUP, max(LEAST_SPEEDUP, stride))
    goal = max(1.0, here / stride)
    return goal if goal > LEAST_SPEEDUP else 1.0
