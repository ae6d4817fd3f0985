"""Networks measured beside the baseline, so that drift of the machine cancels."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace

from torch import nn

from edgeprune.graph.groups import ChannelGraph, bypass
from edgeprune.graph.indices import copies_of
from edgeprune.graph.surgery import apply
from edgeprune.measure.bench import Bench, Exported
from edgeprune.measure.memory import activations
from edgeprune.profile.network import Profile
from edgeprune.records import Attempt, Budget, Plan, Timing, pressure_of


@dataclass
class Trials:
    """Measures networks in turn with the baseline.

    Attributes:
        baseline: the fp32 file of the unpruned network.
        seen_ms: its median in every measurement so far.
        share: of its time that the unpruned network's file takes which counts: that
            of the fastest form, or the int8 one.
    """

    bench: Bench
    baseline: Exported
    seen_ms: list[float] = field(default_factory=list)
    share: float = 1.0

    @classmethod
    def of(cls, profile: Profile, bench: Bench) -> Trials:
        """Beside the profiled network, which was timed once, or in two forms."""
        seen_ms = [profile.figures.latency_ms]
        if profile.bench.convolved:
            seen_ms.append(profile.timings[0].median_ms)
        return cls(bench, profile.exported, seen_ms, profile.share)

    @property
    def usual_ms(self) -> float:
        """What the baseline takes on this machine most of the time."""
        return statistics.median(self.seen_ms)

    @property
    def unpruned_ms(self) -> float:
        """The same of the file that counts."""
        return self.share * self.usual_ms

    def as_usual(self, timing: Timing, base: Timing) -> float:
        """What a file takes, in ms, where the baseline takes its usual time.

        Args:
            base: the baseline's timing from the same measurement.
        """
        return timing.share_of(base) * self.usual_ms

    def attempt(
        self, model: nn.Module, graph: ChannelGraph, plan: Plan, limits: Budget
    ) -> Attempt:
        """Apply a plan, export it and measure the file beside the baseline's.

        Raises:
            PlanError: the plan does not fit.
        """
        exported = self.bench.export(apply(model, graph, plan), "attempt", draft=True)
        base, timing = self.timed(exported)
        found = self.costs(exported, (base, timing), limits)
        exported.discard()
        times = copies_of(graph, plan)
        widths = {name: int(copies.sum()) for name, copies in times.items()}
        stay = bypass(graph, plan.bypassed).groups if plan.bypassed else graph.groups
        left = sum(widths.get(group.name, group.size) for group in stay)
        share = left / max(sum(group.size for group in graph.groups), 1)
        return replace(found, widths=widths, bypassed=plan.bypassed, kept_share=share)

    def timed(self, exported: Exported) -> tuple[Timing, Timing]:
        """The baseline's timing and the file's, in turn."""
        base, timing = self.bench.compare([self.baseline, exported], self.usual_ms)
        self.seen_ms.append(base.median_ms)
        return base, timing

    def costs(
        self, exported: Exported, timings: tuple[Timing, Timing], limits: Budget
    ) -> Attempt:
        """What a file costs, its time as it would be with the baseline's usual one."""
        base, timing = timings
        found = Attempt(
            round=0,
            widths={},
            bypassed=(),
            kept_share=1.0,
            predicted_ms=None,
            latency_ms=self.as_usual(timing, base),
            macs=exported.cost.macs,
            params=exported.cost.params,
            size_bytes=exported.path.stat().st_size,
            memory_bytes=activations(exported.in_fp32.path).peak_bytes,
            within_budget=False,
        )
        return replace(found, within_budget=pressure_of(found, limits) <= 1)
