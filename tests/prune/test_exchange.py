"""Exchanges, with errors that do not add up."""

import pytest
import torch

from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.prune.exchange import BudgetedObjective, exchange
from edgeprune.prune.solver import Solution
from edgeprune.records import Budget
from tests.choices import Residual, choices, named
from tests.tables import costs_of

X = (torch.randn(1, 3, 8, 8),)
BUDGET = Budget(latency_ms=6.0)


@pytest.fixture
def costs():
    model = Residual().eval()
    return costs_of(model, X, build_channel_graph(model, X))


class Objective:
    """An error by a formula, which estimates know, too."""

    def __init__(self, error):
        self._error = error

    def error(self, solution, near=None):
        return self._error(solution)

    def estimates(self, solutions, near):
        return [self.estimate(solution, near) for solution in solutions]

    def estimate(self, solution, near):
        return self._error(solution)

    def possible(self, solution):
        return True


def judging(error, count=300):
    return BudgetedObjective(Objective(error), count)


def fits(costs, widths, bypassed):
    return costs.predict(widths, bypassed).latency_ms <= BUDGET.latency_ms


def test_a_pair_that_gets_on_badly_is_taken_apart(costs):
    """Both inner groups narrow is bad; one narrower and the other whole is not."""

    def error(solution):
        first, second = (
            solution.widths.get(f"{name}.narrow", 24) for name in ("first", "second")
        )
        outs = 10.0 * len(solution.bypassed)
        return (24 - first) * (24 - second) + 24 - solution.widths["stem"] + outs

    start = Solution(
        {"stem": 16, "first.narrow": 16, "second.narrow": 8}, (), True, 0.0, 0.0
    )
    assert fits(costs, start.widths, ())
    found = exchange(costs, start, BUDGET, judging(error))
    assert error(found) < error(start) / 2
    assert fits(costs, named(costs, found), found.bypassed)
    least = min(
        error(Solution({**start.widths, **widths}, bypassed, True, 0.0, 0.0))
        for widths, bypassed in choices(costs)
        if fits(costs, widths, bypassed) and not bypassed
    )
    assert error(found) <= 2 * least


def test_a_block_comes_back_for_another(costs):
    def error(solution):
        return {(): 3.0, ("first",): 5.0, ("second",): 1.0}.get(solution.bypassed, 6.0)

    start = Solution(dict(costs.sizes), ("first",), True, 0.0, 0.0)
    taken = costs.predict(named(costs, start), start.bypassed).latency_ms
    found = exchange(costs, start, Budget(latency_ms=1.01 * taken), judging(error))
    assert found.bypassed == ("second",)
    assert set(found.widths) == {"stem", "first.narrow"}
    assert found.widths["first.narrow"] == costs.sizes["first.narrow"]


def test_what_is_best_already_stays(costs):
    start = Solution(dict(costs.sizes), ("first",), True, 0.0, 0.0)
    assert exchange(costs, start, BUDGET, judging(lambda _: 1.0)) == start


class Counted(Objective):
    """Keeps what it was asked for."""

    def __init__(self, error):
        super().__init__(error)
        self.asked = []

    def error(self, solution, near=None):
        self.asked.append(
            ("error", frozenset(solution.widths.items()), solution.bypassed)
        )
        return self._error(solution)

    def estimate(self, solution, near):
        others = near.bypassed, frozenset(near.widths.items())
        self.asked.append(
            (others, frozenset(solution.widths.items()), solution.bypassed)
        )
        return self._error(solution)


def test_a_network_is_judged_once(costs):
    def error(solution):
        return {(): 3.0, ("first",): 5.0, ("second",): 1.0}.get(solution.bypassed, 6.0)

    start = Solution(dict(costs.sizes), ("first",), True, 0.0, 0.0)
    taken = costs.predict(named(costs, start), start.bypassed).latency_ms
    objective = Counted(error)
    counted = BudgetedObjective(objective, 100)
    found = exchange(costs, start, Budget(latency_ms=1.01 * taken), counted)
    assert len(objective.asked) == len({*objective.asked})
    assert counted.left == 100 - len(objective.asked)
    again = exchange(costs, found, Budget(latency_ms=1.01 * taken), counted)
    assert again == found
    assert counted.left == 100 - len(objective.asked)


class Hopeful(Objective):
    """Its estimates promise what errors do not keep, or no network can be made."""

    def __init__(self, error, *, makes):
        super().__init__(error)
        self.makes = makes

    def estimate(self, solution, near):
        return self._error(solution) - (10.0 if self.makes else 0.0)

    def possible(self, solution):
        return self.makes


@pytest.mark.parametrize("makes", [True, False])
def test_only_what_is_better_and_possible_is_taken(costs, makes):
    def error(solution):
        change = 0.5 if makes else -0.5
        return 20.0 + change * (solution.bypassed != ("first",))

    start = Solution(dict(costs.sizes), ("first",), True, 0.0, 0.0)
    taken = costs.predict(named(costs, start), start.bypassed).latency_ms
    objective = BudgetedObjective(Hopeful(error, makes=makes), 100)
    found = exchange(costs, start, Budget(latency_ms=1.5 * taken), objective)
    assert objective.left < 95
    assert found == start


def test_what_a_move_changes_is_kept_until_it_may_be_another(costs):
    """Moves of what was not exchanged are not judged anew, but once at the end."""

    def error(solution):
        return {(): 3.0, ("first",): 5.0, ("second",): 1.0}.get(solution.bypassed, 6.0)

    start = Solution(dict(costs.sizes), ("first",), True, 0.0, 0.0)
    taken = costs.predict(named(costs, start), start.bypassed).latency_ms
    objective = Counted(error)
    budget = Budget(latency_ms=1.01 * taken)
    found = exchange(costs, start, budget, BudgetedObjective(objective, 1000))
    assert found.bypassed == ("second",)
    after = (found.bypassed, frozenset(found.widths.items()))
    judged = [
        {name for name, width in widths if found.widths.get(name, width) != width}
        | {*out} ^ {*found.bypassed}
        for near, widths, out in objective.asked
        if near == after
    ]
    stem = [index for index, names in enumerate(judged) if names == {"stem"}]
    assert {"second"} in judged[: stem[0]]  # a block that was exchanged, first
    assert len(stem) == 1  # and all else once, as nothing helps any more
