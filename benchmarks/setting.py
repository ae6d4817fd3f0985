"""A network on this machine: profiled, with its latency table, ready to be timed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from edgeprune import targets
from edgeprune.devices.runner import runner_for
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.trace import Inputs
from edgeprune.measure.benchmark import Benchmark, Exported
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.evaluation import Evaluator
from edgeprune.pipeline.search.evaluation import OutputErrors
from edgeprune.pipeline.search.smallest import costs_of
from edgeprune.pipeline.search.space import PlainSpace
from edgeprune.profile.network import profile_network
from edgeprune.prune import planner
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.exchange import JUDGED
from edgeprune.prune.loss import Loss
from edgeprune.prune.problem import ErrorEvaluator, Problem, SearchResult, Trial
from edgeprune.records import Attempt, Budget, ModelFigures, Plan
from edgeprune.score.context import Context
from edgeprune.score.sensitivity import OutputErrorEvaluator


@dataclass
class Setting:
    """A network, profiled, on this machine.

    Attributes:
        evaluator: writes all files but the baseline in the form that is fastest here,
            and times them in turn with the baseline.
    """

    model: nn.Module
    graph: ChannelGraph
    evaluator: Evaluator
    figures: ModelFigures
    costs: CostModel

    @property
    def benchmark(self) -> Benchmark:
        """Writes and times files."""
        return self.evaluator.benchmark

    @property
    def baseline(self) -> Exported:
        """The unpruned network's file."""
        return self.evaluator.baseline

    def errors(self, context: Context, scores: dict[str, Tensor]) -> ErrorEvaluator:
        """Judges plans by the outputs of their networks, as surgery leaves them."""
        space = PlainSpace(self.model, self.graph, self.costs, scores)
        return OutputErrors(space, OutputErrorEvaluator(context, JUDGED))

    def attempt(self, plan: Plan, budget: Budget) -> Attempt:
        """A plan, applied, exported and measured."""
        return self.evaluator.attempt(Candidate(self.model, self.graph, plan), budget)


@dataclass
class Measured:
    """Measures the planner's plans, and keeps what was tried.

    Attributes:
        trials: so far.
    """

    held: Setting
    budget: Budget
    trials: list[Trial] = field(default_factory=list)

    def measure(self, trial: Trial) -> Attempt:
        """Export a plan's network and time the file."""
        self.trials.append(trial)
        return self.held.attempt(trial.plan, self.budget)


def setting(model: nn.Module, inputs: Inputs, folder: str) -> Setting:
    """Profile a network and measure its latency table."""
    plain = Benchmark(runner_for(targets.load("host")), inputs, Path(folder))
    profile = profile_network(model, plain)
    evaluator = Evaluator.of(profile, profile.benchmark)
    costs = costs_of(profile, evaluator)
    return Setting(model, profile.graph, evaluator, profile.figures, costs)


def search(
    held: Setting,
    scores: dict[str, Tensor],
    loss: Loss,
    budget: Budget,
    errors: ErrorEvaluator | None = None,
) -> tuple[SearchResult, list[Trial]]:
    """The closed loop: what it found, and what was measured on the way."""
    problem = Problem(held.graph, scores, held.costs, loss, budget, errors)
    measured = Measured(held, budget)
    return planner.search(problem, measured), measured.trials


def final_share(held: Setting, model: nn.Module) -> float:
    """The exported file's time as a share of the baseline's, measured by itself."""
    return held.evaluator.time(held.benchmark.export(model, "final")).ratio
