"""From a network to its file, its time and its accuracy: the one place.

The evaluator exports a candidate's network, times the file in turn with the baseline's
and says what that costs. Nothing else in a run times anything that a decision goes by.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from edgeprune.data import Splits
from edgeprune.export import deliver
from edgeprune.finetune.loop import evaluate
from edgeprune.graph.device import CPU
from edgeprune.graph.groups import ChannelGraph
from edgeprune.measure.benchmark import Benchmark, Exported, parameter_shapes
from edgeprune.measure.memory import activations
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.profile.latency_table import measure_latency_table
from edgeprune.profile.network import Profile
from edgeprune.progress import SILENT, Progress
from edgeprune.prune.blocks import Block
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.widths import Steps
from edgeprune.records import (
    Attempt,
    Budget,
    LatencyTable,
    MeasuredCosts,
    ModelFigures,
    PairedTiming,
    Plan,
    Surgery,
    Timing,
    pressure_of,
)

UNCHANGED = Surgery()
MORE_VERDICTS = 3  # measurements, where one leaves doubt


class ReferenceTime:
    """The time that the baseline usually takes on the device.

    The median over all measurements of a run: a measurement in which the machine was
    busy does not move it.
    """

    def __init__(self, timings: Iterable[Timing]) -> None:
        self._seen_ms = [timing.median_ms for timing in timings]

    @property
    def ms(self) -> float:
        """In milliseconds."""
        return statistics.median(self._seen_ms)

    def see(self, timing: Timing) -> None:
        """Take another measurement of the baseline into account."""
        self._seen_ms.append(timing.median_ms)


@dataclass(frozen=True)
class Evaluator:
    """Exports networks and measures them in turn with the baseline.

    Attributes:
        benchmark: writes and times files in the deployed form.
        baseline: the fp32 file of the unpruned network, as the exporter writes it.
        reference: what that takes as a rule.
        splits: the data set; None where only time is measured.
        start_ratio: the time of the unpruned network's deployed file as a share of the
            baseline's: that of the fastest form, or the int8 one.
        device: where modules run.
    """

    benchmark: Benchmark
    baseline: Exported
    reference: ReferenceTime
    splits: Splits | None = None
    start_ratio: float = 1.0
    device: torch.device = CPU

    @classmethod
    def of(
        cls,
        profile: Profile,
        benchmark: Benchmark,
        splits: Splits | None = None,
        device: torch.device = CPU,
    ) -> Evaluator:
        """Measure beside a profiled network, which was timed once, or in two forms."""
        timings = [profile.figures.timing]
        if profile.benchmark.shortcuts_as_conv:
            timings.append(profile.paired.baseline)
        reference = ReferenceTime(timings)
        share = profile.start_ratio
        return cls(benchmark, profile.exported, reference, splits, share, device)

    @property
    def data(self) -> Splits:
        """The data set by which networks are judged."""
        assert self.splits is not None  # whoever judges has given it
        return self.splits

    @property
    def start_ms(self) -> float:
        """The time that the unpruned network's deployed file usually takes."""
        return self.start_ratio * self.reference.ms

    def time(self, exported: Exported) -> PairedTiming:
        """Time a file in turn with the baseline's.

        The baseline is its own measure: its ratio is 1.
        """
        if exported.path == self.baseline.path:
            alone = self.benchmark.compare([self.baseline])[0]
            self.reference.see(alone)
            return PairedTiming(alone, alone)
        return self.time_together([exported])[0]

    def _time_briefly(self, exported: Exported) -> PairedTiming:
        baseline, timing = self.benchmark.compare_briefly([self.baseline, exported])
        return PairedTiming(timing, baseline)

    def _time_again(self, exported: Exported) -> PairedTiming:
        if exported.path == self.baseline.path:
            return self.time(exported)
        return self._time_briefly(exported)

    def time_together(self, files: list[Exported]) -> list[PairedTiming]:
        """Time several files and the baseline's, all in turn, in one measurement."""
        baseline, *timings = self.benchmark.compare([self.baseline, *files])
        self.reference.see(baseline)
        return [PairedTiming(timing, baseline) for timing in timings]

    def costs(self, exported: Exported, paired: PairedTiming) -> MeasuredCosts:
        """Collect the costs of a file that budgets may limit."""
        return MeasuredCosts(
            latency_ratio=paired.ratio,
            latency_ms=paired.ratio * self.reference.ms,
            macs=exported.cost.macs,
            params=exported.cost.params,
            size_bytes=exported.path.stat().st_size,
            memory_bytes=activations(exported.in_fp32.path).peak_bytes,
        )

    def figures(self, exported: Exported, paired: PairedTiming) -> ModelFigures:
        """All figures of a file but its accuracies."""
        return self.benchmark.figures(exported, paired, self.reference.ms)

    def snapshot(
        self,
        exported: Exported,
        paired: PairedTiming,
        *,
        accuracy: float | None = None,
        plans: tuple[Plan, ...] = (),
        surgery: Surgery = UNCHANGED,
    ) -> ModelSnapshot:
        """A network with all that is known of its deployed file.

        Args:
            accuracy: on the validation split, if it is known; else it is read.
        """
        if accuracy is None:
            accuracy = deliver.validation_accuracy(exported.path, self.data)
        figures = self.figures(exported, paired)
        return ModelSnapshot(
            exported,
            replace(figures, validation_accuracy=accuracy),
            paired,
            self.costs(exported, paired),
            plans,
            surgery,
        )

    def remeasured(self, snapshot: ModelSnapshot, limits: Budget) -> ModelSnapshot:
        """The same network by a measurement of its own, which gives the verdict.

        In several processes, since what one of them happens to get stays with all its
        rounds. While there is doubt whether it is as fast as it has to be, more are
        taken, and all of them count.
        """
        recipe = self.benchmark.runner.target.verdict
        exported = snapshot.exported
        paired = self.time(exported)
        runner = self.benchmark.runner
        apart_s = 0.0 if runner.estimates else recipe.apart_s
        while paired.timing.processes < recipe.processes:
            time.sleep(apart_s)
            paired = paired.followed_by(self._time_again(exported))
        limit_ms = limits.most_ms(self.reference.ms)
        for _ in range(MORE_VERDICTS):
            if limit_ms is None or paired.is_clear(limit_ms / self.reference.ms):
                break
            time.sleep(apart_s)
            paired = paired.followed_by(self.time(exported))
        costs = self.costs(snapshot.exported, paired)
        figures = snapshot.figures.measured(paired, self.reference.ms)
        return replace(snapshot, paired=paired, costs=costs, figures=figures)

    def attempt(
        self, candidate: Candidate, limits: Budget, *, brief: bool = False
    ) -> Attempt:
        """Export a candidate's network and measure the file.

        Args:
            brief: what comes of it will be measured again.

        Raises:
            PlanError: the plan does not fit.
        """
        exported = self.benchmark.export(candidate.network, "attempt", draft=True)
        paired = self._time_briefly(exported) if brief else self.time(exported)
        candidate.timings.append(paired)
        costs = self.costs(exported, paired)
        exported.discard()
        return Attempt(
            round=0,
            widths=candidate.widths,
            bypassed=candidate.plan.bypassed,
            kept_share=candidate.kept_share,
            predicted_ms=None,
            latency_ms=costs.latency_ms,
            macs=costs.macs,
            params=costs.params,
            size_bytes=costs.size_bytes,
            memory_bytes=costs.memory_bytes,
            within_budget=pressure_of(costs, limits) <= 1,
            latency_ratio=costs.latency_ratio,
        )

    def accuracy(self, network: nn.Module) -> float:
        """A module's metric on the validation split."""
        data = self.data
        return evaluate(network, data.validation, self.device, data.task)

    def latency_table(
        self, model: nn.Module, graph: ChannelGraph, progress: Progress = SILENT
    ) -> LatencyTable:
        """A network's latency table, from the disk or measured now.

        Raises:
            EdgepruneError: it cannot be exported or timed at other widths.
        """
        return measure_latency_table(model, graph, self.benchmark, progress)

    def cost_model(  # noqa: PLR0913  what is measured, and what may be chosen
        self,
        model: nn.Module,
        graph: ChannelGraph,
        table: LatencyTable,
        figures: ModelFigures,
        *,
        ratio: float | None = None,
        steps: Steps | None = None,
        blocks: tuple[Block, ...] | None = None,
    ) -> CostModel:
        """Costs by widths.

        Args:
            model: the network that is pruned; it may have been pruned before.
            figures: of its file.
            ratio: time of the network that the table is of, as a share of the
                baseline's; that of the unpruned network if missing.
            steps, blocks: see `CostModel`.
        """
        share = self.start_ratio if ratio is None else ratio
        return CostModel(
            graph,
            table,
            original_ms=share * self.reference.ms,
            reference_ms=self.reference.ms,
            figures=figures,
            shapes=parameter_shapes(model),
            steps=steps,
            blocks=blocks,
        )

    def draft(self, model: nn.Module, name: str) -> tuple[PairedTiming, ModelFigures]:
        """The timing and the figures of a network whose file is not kept.

        Raises:
            EdgepruneError: it cannot be exported or timed.
        """
        exported = self.benchmark.export(model, name, draft=True)
        paired = self.time(exported)
        figures = self.figures(exported, paired)
        exported.discard()
        return paired, figures
