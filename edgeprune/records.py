"""What travels between the stages and into the report: plain frozen data.

Every figure stands beside how it was obtained. All records go to JSON and back
through `to_json` and `from_json`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from pydantic import TypeAdapter

REPORT_SCHEMA = 1

Record = TypeVar("Record")

IQR_WARN = 0.10  # of the median; above this two timings are not comparable
DRIFT_WARN = 0.05  # first against last third; above this the machine changed state
P99_SAMPLES = 300  # fewer samples say nothing about the slowest hundredth


def to_json(record: object, *, indent: int | None = 2) -> str:
    """A record as JSON text."""
    return TypeAdapter(type(record)).dump_json(record, indent=indent).decode()


def from_json(kind: type[Record], text: str | bytes) -> Record:
    """A record from JSON text; pydantic's ValidationError if it does not fit."""
    return TypeAdapter(kind).validate_json(text)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which channels stay: for each group that loses any, their rising numbers."""

    kept: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits, any number together; None is no limit."""

    latency_ms: float | None = None
    macs: int | None = None
    params: int | None = None
    size_bytes: int | None = None


class Costs(Protocol):
    """Anything with the four costs that a budget can limit."""

    @property
    def latency_ms(self) -> float:
        """Median."""
        ...

    @property
    def macs(self) -> float:
        """Multiply-accumulates of one call."""
        ...

    @property
    def params(self) -> float:
        """Number of weights."""
        ...

    @property
    def size_bytes(self) -> float:
        """Of the ONNX file."""
        ...


def pressure_of(costs: Costs, budget: Budget) -> float:
    """The largest share of any limit that is used up; at most 1 is within budget."""
    pairs = (
        (costs.latency_ms, budget.latency_ms),
        (costs.macs, budget.macs),
        (costs.params, budget.params),
        (costs.size_bytes, budget.size_bytes),
    )
    return max(
        (cost / limit for cost, limit in pairs if limit is not None), default=0.0
    )


@dataclass(frozen=True, slots=True)
class Machine:
    """Where something was measured; None is what could not be read."""

    system: str
    architecture: str
    cpu: str | None
    cores: int
    memory_bytes: int | None
    governor: str | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """One model's latency: every sample, and how it was taken.

    Attributes:
        rounds_ms: one list of samples per round, in the order they were taken; rounds
            of models that are compared alternate.
        warmup_ms: the runs before the first round, which count for nothing.
        provider: the execution provider that ran, not the one asked for.
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

    @property
    def samples_ms(self) -> list[float]:
        """All samples, in order."""
        return [sample for samples in self.rounds_ms for sample in samples]

    @property
    def median_ms(self) -> float:
        """The figure that is quoted and that a budget is compared with."""
        return statistics.median(self.samples_ms)

    def percentile_ms(self, percent: int) -> float:
        """Nearest-rank percentile of all samples."""
        ordered = sorted(self.samples_ms)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    @property
    def spread(self) -> float:
        """Interquartile range as a share of the median."""
        return (self.percentile_ms(75) - self.percentile_ms(25)) / self.median_ms

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes this timing useless for comparisons; empty if nothing does."""
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
        return tuple(found)


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
    """What a model needs in memory.

    Attributes:
        process_peak_bytes: highest resident size of a child process that loads and
            runs the model, less that of the same child with the runtime imported.
        activation_peak_bytes: most bytes of activations alive at once, computed from
            the layer order in float32: a lower bound, not a measurement.
    """

    process_peak_bytes: int | None
    activation_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One weighted layer: counted cost, and time from the runtime's own profile.

    Attributes:
        latency_ms: None where the runtime's profile could not be told apart.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    macs: int
    params: int
    activation_bytes: int
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model file, counted and measured."""

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

    @property
    def latency_ms(self) -> float:
        """Measured median."""
        return self.summary.median_ms


@dataclass(frozen=True, slots=True)
class ChannelStep:
    """By how many channels a layer must shrink before the runtime gets faster.

    Attributes:
        latency_ms: median of a probe network by its channel count.
    """

    step: int
    latency_ms: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class GroupScores:
    """One score per channel of one group; larger is kept."""

    name: str
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a network loses with each channel, by one criterion."""

    criterion: str
    groups: tuple[GroupScores, ...]
    samples: int
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One plan that was applied, exported and measured.

    Attributes:
        predicted_ms: what the planner expected; an estimate.
        latency_ms: measured median of the exported file.
        kept_share: of all prunable channels.
    """

    round: int
    widths: Mapping[str, int]
    kept_share: float
    predicted_ms: float | None
    latency_ms: float
    macs: int
    params: int
    size_bytes: int
    within_budget: bool


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training data."""

    number: int
    loss: float
    learning_rate: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Training:
    """One call of the training loop."""

    purpose: str
    epochs: tuple[Epoch, ...]
    best_epoch: int
    number_format: str
    memory_format: str
    distilled: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Step:
    """The state after one round of pruning and fine-tuning; a point on the curve."""

    name: str
    latency_ms: float
    macs: int
    params: int
    accuracy_before_training: float
    validation_accuracy: float
    valid: bool


@dataclass(frozen=True, slots=True)
class Parity:
    """An exported file against the PyTorch model, on real validation inputs."""

    file: str
    samples: int
    largest_absolute: float
    largest_relative: float
    top1_agreement: float
    tolerance: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What int8 gave: kept as a second file only where it is faster."""

    kept: bool
    reason: str
    latency_ms: float | None = None
    speedup: float | None = None
    validation_accuracy: float | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """Channels that were left alone, and why."""

    name: str
    channels: int
    reason: str


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data that accuracy was measured on."""

    name: str
    train: int
    validation: int
    test: int
    classes: int
    sample_shape: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """What `edgeprune profile --json` prints."""

    figures: ModelFigures
    channel_step: ChannelStep
    refused: tuple[RefusedGroup, ...]


Status = Literal["met", "unmet"]


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything that a run found; the content of `report.json`."""

    schema_version: int
    status: Status
    sentence: str
    created: str
    seconds: float
    versions: Mapping[str, str]
    machine: Machine
    settings: Mapping[str, object]
    target: str
    budget: Budget
    accuracy_floor: float
    data: DataFacts
    baseline: ModelFigures
    result: ModelFigures
    quantisation: Quantisation
    parity: tuple[Parity, ...]
    channel_step: ChannelStep | None
    scores: Scores | None
    attempts: tuple[Attempt, ...]
    steps: tuple[Step, ...]
    training: tuple[Training, ...]
    refused: tuple[RefusedGroup, ...]
    plans: tuple[Plan, ...] = ()
    notes: tuple[str, ...] = ()
    int8: ModelFigures | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
