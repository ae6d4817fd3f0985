"""The smallest network within reach, measured before anything is scored or trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.surgery import apply
from edgeprune.measure.benchmark import Benchmark
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.evaluation import Evaluator
from edgeprune.profile.network import Profile
from edgeprune.progress import SILENT, Progress
from edgeprune.prune import planner
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.solver import fastest
from edgeprune.quantize.quantize import FEW
from edgeprune.records import (
    Attempt,
    Budget,
    LatencySummary,
    Plan,
    Reach,
    ReachPoint,
    pressure_of,
    time_pressure,
)
from edgeprune.units import millions, milliseconds

SHARES = tuple(tenth / 10 for tenth in range(1, 11))
FAR = 0.5  # of the limits: no error of a prediction makes that too much
SOLVE_S = 5.0  # for each point of the curve: it is an estimate anyway
SIDES = (0.75, 0.5)  # of the input, to try where the budget is out of reach


@dataclass(frozen=True)
class SmallestNetwork:
    """The fastest network that pruning can make of one, beside the limits."""

    evaluator: Evaluator
    graph: ChannelGraph
    costs: CostModel
    limits: Budget

    def refusal(self, progress: Progress) -> str | None:
        """Say why the limits are out of reach, and what would help, if they are.

        Where the smallest network is far below them by prediction, it is not measured.
        """
        if self.expected_pressure() < FAR:
            return None
        progress.start("smallest network within reach", 1)
        plan, found = self.measure()
        progress.finish(
            f"{milliseconds(found.latency_ms)}, {millions(found.macs)} MACs"
        )
        if found.within_budget:
            return None
        sentence = (
            "the budget is out of reach: the smallest network that pruning can make of "
            f"this one takes {self._known}{milliseconds(found.latency_ms)}, "
            f"{millions(found.macs)} MACs, "
            f"{found.params / 1e6:.3f} M parameters, {found.size_bytes / 1e6:.2f} MB "
            f"and {found.memory_bytes / 1e6:.2f} MB of activations"
        )
        limits = self.limits
        if not limits.limits_time or time_pressure(found, limits) <= 1:
            return f"{sentence}; another model would help"
        progress.start("what would help", len(SIDES) + 2)
        helps: list[str] = []
        for text in self._helps(plan):
            progress.advance(text)
            helps.append(text)
        progress.finish()
        how = "estimated" if self._is_estimate else "measured"
        return f"{sentence}; {how} of it: {', '.join(helps)}" if helps else sentence

    def expected_pressure(self) -> float:
        """The largest share of any limit that it takes, by prediction."""
        plan = planner.smallest(self.graph, self.costs, self.limits)
        widths = {name: len(kept) for name, kept in plan.kept.items()}
        return pressure_of(self.costs.predict(widths, plan.bypassed), self.limits)

    def measure(self) -> tuple[Plan, Attempt]:
        """Export and measure it."""
        plan = planner.smallest(self.graph, self.costs, self.limits)
        candidate = Candidate(self.evaluator.baseline.model, self.graph, plan)
        return plan, self.evaluator.attempt(candidate, self.limits)

    def reach(self, progress: Progress) -> Reach:
        """The fastest networks with a part of the channels, and the smallest one."""
        progress.start("reach", len(SHARES) + 1)
        points: list[ReachPoint] = []
        for share in SHARES:
            points.append(self._point(share))
            progress.advance(f"{share:.0%}")
        _, attempt = self.measure()
        progress.finish(f"{milliseconds(attempt.latency_ms)} at the least")
        return Reach(tuple(points), attempt, LatencySummary.of(self.costs.table))

    def _point(self, share: float) -> ReachPoint:
        found = fastest(self.costs, channels=share, time_limit_s=SOLVE_S)
        cost = self.costs.predict(found.widths, found.bypassed)
        return ReachPoint(
            share, cost.latency_ms, cost.macs, cost.params, len(found.bypassed)
        )

    @property
    def _known(self) -> str:
        return "an estimated " if self._is_estimate else ""

    @property
    def _is_estimate(self) -> bool:
        return self.evaluator.benchmark.runner.estimates

    def _helps(self, plan: Plan) -> Iterator[str]:
        """Times of the smallest network under other circumstances, measured."""
        benchmark = self.evaluator.benchmark
        pruned = apply(self.evaluator.baseline.model, self.graph, plan)
        limit = self.costs.limit_ms(self.limits) or 0.0
        whole = benchmark.inputs[0].shape
        in_int8 = benchmark.calibration is not None
        for part in SIDES:
            sides = [max(1, round(side * part)) for side in whole[2:]]
            smaller = replace(benchmark, inputs=(torch.randn(*whole[:2], *sides),))
            smaller = _quantizing(smaller) if in_int8 else smaller
            shape = "x".join(map(str, (whole[1], *sides)))
            if (ms := _time(pruned, smaller)) is not None:
                yield _verdict(f"{milliseconds(ms)} with --input {shape}", ms, limit)
        runner = benchmark.runner
        cores = runner.device.machine.cores
        if cores > runner.threads:
            more = replace(benchmark, runner=runner.with_threads(cores))
            if (ms := _time(pruned, more)) is not None:
                yield _verdict(f"{milliseconds(ms)} with {cores} threads", ms, limit)
        if in_int8 or self._is_estimate:  # which knows nothing of int8
            return
        if (ms := _time(pruned, _quantizing(benchmark))) is not None:
            yield _verdict(f"{milliseconds(ms)} with --precision int8", ms, limit)


def reach_of(profile: Profile, progress: Progress = SILENT) -> Reach:
    """Estimate how fast pruning can make a profiled network, from its latency table.

    Raises:
        EdgepruneError: the network cannot be exported or timed at other widths.
    """
    evaluator = Evaluator.of(profile, profile.benchmark)
    costs = costs_of(profile, evaluator, progress)
    return SmallestNetwork(evaluator, profile.graph, costs, Budget()).reach(progress)


def costs_of(
    profile: Profile, evaluator: Evaluator, progress: Progress = SILENT
) -> CostModel:
    """Costs of a profiled network, by its latency table.

    Raises:
        EdgepruneError: the network cannot be exported or timed at other widths.
    """
    model, graph = profile.exported.model, profile.graph
    table = evaluator.latency_table(model, graph, progress)
    return evaluator.cost_model(model, graph, table, profile.figures)


def _verdict(text: str, found_ms: float, limit_ms: float) -> str:
    return f"{text} ({'enough' if found_ms <= limit_ms else 'not enough'})"


def _quantizing(benchmark: Benchmark) -> Benchmark:
    """The same in int8, where only the time matters."""
    samples = [(benchmark.inputs[0], torch.zeros(1))] * FEW
    return replace(benchmark, calibration=samples)


def _time(model: nn.Module, benchmark: Benchmark) -> float | None:
    """None where the module does not run like this."""
    try:
        exported = benchmark.export(model, "circumstance", draft=True)
        return benchmark.compare([exported])[0].median_ms
    except Exception:  # noqa: BLE001  the user's code may fail in any way
        return None
