"""Measurements: every figure beside its circumstances."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from edgeprune.records.device import Conditions, Machine
from edgeprune.records.roofline import Roofline

TOLD = "timed there by somebody"  # of a device that is not connected
ESTIMATED = "estimated"  # how the runtime's name begins where nothing ran
IQR_WARN = 0.10  # of the median; above this two timings are not comparable
DRIFT_WARN = 0.05  # first against last third; above this the machine changed state
P99_SAMPLES = 300  # fewer samples say nothing about the slowest hundredth
CLOCK_WARN = 0.8  # of its highest; a processor that is slower than that is another
QUICK = 2  # percent of the samples
SIGMAS = 1.4826  # in one median distance from the median of normal samples
MEDIAN_ERROR = 1.2533  # of their median, in those of the mean
CLEAR = 2  # times its doubt a figure is off a limit that it is surely beyond


@dataclass(frozen=True, slots=True)
class Timing:
    """One model's latency: every sample, and how it was taken.

    Attributes:
        rounds_ms: one list of samples per round, in the order they were taken; in each
            round all models that are compared take a turn, forwards, then backwards.
        warmup_ms: the runs before the first round, which count for nothing.
        provider: the execution provider that ran, not the one asked for.
        processes: that the rounds were taken in, one after another.
        conditions: before and after each of them, in turn.
    """

    rounds_ms: tuple[tuple[float, ...], ...]
    warmup_ms: tuple[float, ...]
    load_ms: float
    threads: int
    provider: str
    runtime: str
    pinned_cpus: tuple[int, ...]
    machine: Machine
    seed: int
    processes: int = 1
    conditions: tuple[Conditions, ...] = ()

    @property
    def is_estimate(self) -> bool:
        """Whether nothing was timed: the device is not connected."""
        return self.runtime.startswith(ESTIMATED)

    @property
    def samples_ms(self) -> list[float]:
        """All samples, in order."""
        return [sample for samples in self.rounds_ms for sample in samples]

    @property
    def median_ms(self) -> float:
        """The middle one of all samples, whatever else the machine was doing."""
        return statistics.median(self.samples_ms)

    def percentile_ms(self, percent: int) -> float:
        """Nearest-rank percentile of all samples."""
        ordered = sorted(self.samples_ms)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    def ratios_to(self, other: Timing) -> list[float]:
        """Its time as a share of another's whose rounds alternated with its own.

        Two rounds in a row run in opposite orders, so a load that comes and goes with
        every turn falls on both files alike: one share for each two rounds in a row.
        Of a round the quick samples count: a longer run is interrupted more often, so
        on a busy machine it would seem to take a larger share than it does.
        """
        mine, theirs = (
            [quick_ms(samples) for samples in timing.rounds_ms]
            for timing in (self, other)
        )
        if len(mine) == 1:
            return [mine[0] / theirs[0]]
        return [
            sum(these) / sum(those)
            for these, those in zip(pairwise(mine), pairwise(theirs), strict=True)
        ]

    def followed_by(self, later: Timing) -> Timing:
        """The rounds of two measurements of one file as those of one."""
        return replace(
            self,
            rounds_ms=(*self.rounds_ms, *later.rounds_ms),
            warmup_ms=(*self.warmup_ms, *later.warmup_ms),
            processes=self.processes + later.processes,
            conditions=(*self.conditions, *later.conditions),
        )

    @property
    def processes_ms(self) -> list[float]:
        """The median of each process."""
        each = max(1, len(self.rounds_ms) // self.processes)
        return [
            statistics.median(chain(*self.rounds_ms[at : at + each]))
            for at in range(0, each * self.processes, each)
        ]

    @property
    def is_throttled(self) -> bool:
        """Whether the device was slowed down, so that its times are not its own."""
        return any(state.throttled for state in self.conditions)

    @property
    def doubt(self) -> float:
        """By what share the time of its rounds may be off, see `doubt_of`."""
        return doubt_of([quick_ms(samples) for samples in self.rounds_ms])

    @property
    def spread(self) -> float:
        """Interquartile range as a share of the median."""
        return (self.percentile_ms(75) - self.percentile_ms(25)) / self.median_ms

    @property
    def warnings(self) -> tuple[str, ...]:
        """The reasons why this timing cannot be compared; empty if there are none."""
        found = []
        if self.spread > IQR_WARN:
            found.append(
                f"spread {self.spread:.0%} of the median is above {IQR_WARN:.0%}"
            )
        third = max(1, len(self.samples_ms) // 3)
        first = statistics.median(self.samples_ms[:third])
        last = statistics.median(self.samples_ms[-third:])
        if abs(last / first - 1) > DRIFT_WARN:
            found.append(f"drifted by {last / first - 1:+.0%} from first to last third")
        apart = self.processes_ms
        if (wide := max(apart) / min(apart) - 1) > IQR_WARN:
            found.append(f"its {self.processes} processes differ by up to {wide:.0%}")
        if self.is_throttled:
            found.append("the device was throttled, by heat or a weak supply")
        clocks = [item.frequency_mhz for item in self.conditions if item.frequency_mhz]
        if clocks and min(clocks) < CLOCK_WARN * max(clocks):
            span = f"{max(clocks):.0f} to {min(clocks):.0f} MHz"
            found.append(f"the processor's clock went from {span}")
        return tuple(found)


def pooled(timings: Sequence[Timing], later: Sequence[Timing]) -> list[Timing]:
    """Two measurements of the same files as one."""
    return [one.followed_by(two) for one, two in zip(timings, later, strict=True)]


def quick_ms(samples: Sequence[float]) -> float:
    """The sample that one in fifty is quicker than.

    Whatever else a machine does only ever slows a run.
    """
    return sorted(samples)[len(samples) * QUICK // 100]


def doubt_of(rounds: Sequence[float]) -> float:
    """The standard error of the median over some rounds, as a share of it.

    By the median of the distances from it, which one round that is far off does not
    change; 0 for one round, which says nothing of it.
    """
    middle = statistics.median(rounds)
    distance = statistics.median(abs(value - middle) for value in rounds)
    return SIGMAS * MEDIAN_ERROR * distance / middle / math.sqrt(len(rounds))


@dataclass(frozen=True, slots=True)
class PairedTiming:
    """A file's timing and the baseline's, their rounds in turn in one measurement.

    All that decides, or that is reported, goes by `ratio`: a machine that is slower for
    a while makes both slower.
    """

    timing: Timing
    baseline: Timing

    @property
    def ratio(self) -> float:
        """The file's time as a share of the baseline's.

        The median over rounds leaves out what disturbed the machine for a moment.
        """
        return statistics.median(self.timing.ratios_to(self.baseline))

    @property
    def doubt(self) -> float:
        """By what share the ratio may be off, see `doubt_of`."""
        return doubt_of(self.timing.ratios_to(self.baseline))

    def is_clear(self, ratio: float) -> bool:
        """Whether it surely is on one side of a share of the baseline's time."""
        return abs(ratio / self.ratio - 1) >= CLEAR * self.doubt

    def followed_by(self, later: PairedTiming) -> PairedTiming:
        """Two measurements of one pair as one."""
        return PairedTiming(
            self.timing.followed_by(later.timing),
            self.baseline.followed_by(later.baseline),
        )


@dataclass(frozen=True, slots=True)
class TimingSummary:
    """The figures of a timing, for readers of the report."""

    median_ms: float
    p90_ms: float
    p99_ms: float | None
    min_ms: float
    spread: float
    samples: int
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, timing: Timing) -> TimingSummary:
        """Summarise; p99 only where there are samples enough to mean something."""
        enough = len(timing.samples_ms) >= P99_SAMPLES
        return cls(
            median_ms=timing.median_ms,
            p90_ms=timing.percentile_ms(90),
            p99_ms=timing.percentile_ms(99) if enough else None,
            min_ms=min(timing.samples_ms),
            spread=timing.spread,
            samples=len(timing.samples_ms),
            warnings=timing.warnings,
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that a model needs.

    Attributes:
        process_peak_bytes: highest resident size of a child process that loads and
            runs the model, less that of the same child with the runtime imported.
        run_peak_bytes: by how much running raises the resident size, once what
            loading freed has been handed back; measured in such a child.
        activation_peak_bytes: most bytes of activations alive at once in the graph
            that the runtime runs: counted, a lower bound of the one above.
    """

    process_peak_bytes: int | None
    run_peak_bytes: int | None = None
    activation_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One weighted layer: counted cost, and time from the runtime's own profile.

    Attributes:
        latency_ms: None where the runtime's profile could not be told apart.
        moved_bytes: that its own operator reads and writes, weights among them; None
            where the runtime does not say.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    macs: int
    params: int
    activation_bytes: int
    latency_ms: float | None = None
    moved_bytes: int | None = None

    @property
    def channels(self) -> int:
        """How many it makes."""
        return self.output_shape[-1 if self.kind == "linear" else 1]


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model file, counted and measured.

    Attributes:
        timing: from a measurement in turn with the baseline.
        latency_ratio: the time as a share of the baseline's in that measurement; None
            in reports of earlier versions and of a file that was timed alone.
        reference_ms: what the baseline takes on this device as a rule: the median over
            all measurements of the run.
        profiled_ms: all operators together, by the runtime's profiler.
        roofline: of the device; None where it was not measured.
    """

    file: str
    sha256: str
    precision: str
    size_bytes: int
    macs: int
    params: int
    memory: Memory
    timing: Timing
    summary: TimingSummary
    layers: tuple[LayerCost, ...] = ()
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    latency_ratio: float | None = None
    reference_ms: float | None = None
    profiled_ms: float | None = None
    roofline: Roofline | None = None

    @property
    def is_estimate(self) -> bool:
        """Whether its time is estimated, not measured."""
        return self.timing.is_estimate

    @property
    def latency_ms(self) -> float:
        """Median, in milliseconds of the baseline's reference time."""
        if self.latency_ratio is None or self.reference_ms is None:
            return self.summary.median_ms
        return self.latency_ratio * self.reference_ms

    @property
    def p90_ms(self) -> float:
        """The time that a tenth of the samples exceed, in the same milliseconds."""
        return self.summary.p90_ms * self.latency_ms / self.summary.median_ms

    def measured(self, paired: PairedTiming, reference_ms: float) -> ModelFigures:
        """The same file by another measurement."""
        return replace(
            self,
            timing=paired.timing,
            summary=TimingSummary.of(paired.timing),
            latency_ratio=paired.ratio,
            reference_ms=reference_ms,
        )

    @property
    def memory_bytes(self) -> float:
        """Activations that are alive at once; 0 where that was not counted."""
        return self.memory.activation_peak_bytes or 0
