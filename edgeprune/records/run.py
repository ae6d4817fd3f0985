"""The findings that stages hand on, and the report that collects them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records.budget import Budget
from edgeprune.records.device import Machine, Sustained
from edgeprune.records.groups import DataFacts, RefusedGroup
from edgeprune.records.latency import LatencySummary
from edgeprune.records.measurement import ModelFigures
from edgeprune.records.spectrum import Spectra
from edgeprune.records.training import Training

REPORT_SCHEMA = 1
UNPRUNED = ("baseline", "convolved", "int8")  # steps before the first round


@dataclass(frozen=True, slots=True)
class Plan:
    """Which channels and modules stay.

    Attributes:
        kept: for each group that loses any, the rising numbers of those that stay.
        bypassed: modules that become an identity.
        copies: for each group that gets wider, the rising numbers of the channels that
            are there once more; as often as a number stands there.

    Example:
        >>> import edgeprune
        >>> plan = edgeprune.Plan({"stem": (0, 3, 5)}, bypassed=("blocks.2",))
        >>> len(plan.kept["stem"])
        3
    """

    kept: Mapping[str, tuple[int, ...]]
    bypassed: tuple[str, ...] = ()
    copies: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupScores:
    """One score per channel of one group; larger is kept."""

    name: str
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rescored:
    """The channels near the cut that a second criterion ranked anew.

    Attributes:
        channels: those that it saw, of all that there are.
        estimated_seconds_of_all: what it would have taken for all of them; an
            estimate, None where there is none.
    """

    criterion: str
    channels: int
    of: int
    seconds: float
    estimated_seconds_of_all: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """The score of each channel by one criterion, or by two."""

    criterion: str
    groups: tuple[GroupScores, ...]
    samples: int
    seconds: float
    seed: int
    rescored: Rescored | None = None


@dataclass(frozen=True, slots=True)
class GroupLoss:
    """The loss of a network in which one group alone has another width.

    Attributes:
        accuracy: on the samples that were looked at; None in a run, which chooses by
            losses.
    """

    name: str
    width: int
    loss: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The losses of a network by group at a few widths, and by block left out.

    Losses are minus the logarithm of the share of the outputs that is explained
    still, but for a factor and constant shifts.

    Attributes:
        blocks: loss by module.
        accuracy: of the unpruned network on these samples; None in a run.
    """

    groups: tuple[GroupLoss, ...]
    blocks: Mapping[str, float]
    samples: int
    seconds: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class MeasuredCosts:
    """The costs of a file that was measured in turn with the baseline's.

    Attributes:
        latency_ms: `latency_ratio` in milliseconds of the baseline's reference time.
        memory_bytes: of activations in fp32, also of an int8 file.
    """

    latency_ratio: float
    latency_ms: float
    macs: int
    params: int
    size_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One plan that was applied, exported and measured.

    Attributes:
        bypassed: modules that became an identity.
        kept_share: of all prunable channels.
        predicted_ms: what the planner expected; an estimate.
        latency_ms: `latency_ratio` in milliseconds of the baseline's reference time.
        memory_bytes: of activations in fp32, also where the int8 file counts.
        gap: how far from the least possible loss the plan is at most, by the solver;
            None where it was not asked.
        variance: that the principal components were to explain, where they decided.
        accuracy: on the validation split, untrained: after a quick reconstruction, or
            with batch norms' statistics estimated anew where there is to be none; None
            where the plan does not fit.
        latency_ratio: time as a share of the baseline's, measured in turn with it;
            None in reports of earlier versions.
    """

    round: int
    widths: Mapping[str, int]
    bypassed: tuple[str, ...]
    kept_share: float
    predicted_ms: float | None
    latency_ms: float
    macs: int
    params: int
    size_bytes: int
    memory_bytes: int
    within_budget: bool
    gap: float | None = None
    variance: float | None = None
    accuracy: float | None = None
    latency_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Layers fitted by least squares to what they made before, without labels.

    Attributes:
        accuracy_before: on the validation split, right after channels were removed.
    """

    purpose: str
    layers: int
    samples: int
    seconds: float
    accuracy_before: float
    accuracy_after: float


@dataclass(frozen=True, slots=True)
class Step:
    """The state after one round of pruning and fine-tuning; a point on the curve.

    Attributes:
        latency_ms: in milliseconds of the baseline's reference time.
        latency_ratio: as a share of the baseline's time, measured in turn with it;
            None in reports of earlier versions.
    """

    name: str
    latency_ms: float
    macs: int
    params: int
    accuracy_before_training: float
    validation_accuracy: float
    valid: bool
    latency_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """An exported file against the PyTorch model, on real validation inputs.

    Attributes:
        largest_relative: largest difference as a share of the largest output.
        tolerance: of it; None for int8, which differs and is judged by its accuracy.
        passed: None where there is no tolerance.
    """

    file: str
    samples: int
    largest_absolute: float
    largest_relative: float
    top1_agreement: float
    tolerance: float | None
    passed: bool | None


@dataclass(frozen=True, slots=True)
class AccuracyLoss:
    """The metric that one file loses against another on the same samples.

    Attributes:
        points: how much it is lower, of an accuracy as a share, 0..1; below 0 where it
            is higher.
        error: the standard error of that, from the samples on which the two differ;
            None where the metric is no mean over samples.
        samples: of the test split.
    """

    points: float
    error: float | None
    samples: int

    def text(self, metric: Metric) -> str:
        """The change in its unit, with the interval that holds it 19 times of 20."""
        return metric.change(-self.points, self.error)


@dataclass(frozen=True, slots=True)
class Quantisation:
    """The outcome of int8: kept where it is faster, or where budgets are about it.

    Attributes:
        in_float: operators of that file which stay in float, though int8 has kernels
            for them.
    """

    kept: bool
    reason: str
    latency_ms: float | None = None
    speedup: float | None = None
    validation_accuracy: float | None = None
    size_bytes: int | None = None
    in_float: tuple[str, ...] = ()


Status = Literal["met", "unmet"]


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything that a run found; the content of `report.json`.

    Example:
        >>> import edgeprune
        >>> report = edgeprune.read_report("runs/first")
        >>> before, after = report.baseline, report.counted
        >>> after.latency_ratio <= 0.6, after.size_bytes < before.size_bytes
        (True, True)
    """

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
    latency_model: LatencySummary | None
    scores: Scores | None
    sensitivity: Sensitivity | None
    attempts: tuple[Attempt, ...]
    steps: tuple[Step, ...]
    training: tuple[Training, ...]
    refused: tuple[RefusedGroup, ...]
    plans: tuple[Plan, ...] = ()
    reconstructions: tuple[Reconstruction, ...] = ()
    notes: tuple[str, ...] = ()
    int8: ModelFigures | None = None
    spectra: Spectra | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    test_loss: AccuracyLoss | None = None
    on_device: tuple[Parity, ...] = ()
    sustained: Sustained | None = None
    deployed: Literal["fp32", "int8"] | None = None
    run_id: str = ""
    metric: Metric = ACCURACY

    @property
    def counted(self) -> ModelFigures:
        """The figures of the file that budget and floor were about."""
        asked = self.settings.get("precision")  # older reports say no more
        in_int8 = (self.deployed or asked) == "int8"
        return self.int8 if in_int8 and self.int8 else self.result
