"""How many of a network's weights are zero, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records.device import Machine
from edgeprune.records.groups import DataFacts
from edgeprune.records.measurement import Timing
from edgeprune.records.run import Parity, Plan
from edgeprune.records.training import Training

SPARSITY_SCHEMA = 1
REMOVED = ("materialised", "retrained")  # steps behind the removal of the zeros


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Zeros of a network.

    Attributes:
        weights: of all convolutions and linear layers; biases and norms do not count.
        overall: share of these that are zero.
        convolutions: share of the convolutions' weights; None where there are none.
        channels: share of the prunable channels that are zero throughout.
        gzip_bytes: of all tensors in one file, compressed.
    """

    weights: int
    overall: float
    convolutions: float | None
    channels: float
    gzip_bytes: int


@dataclass(frozen=True, slots=True)
class SparseStep:
    """A network on its way to a share of zeros.

    Attributes:
        latency_ms: median, in milliseconds of the baseline's time in the measurement
            in which all that have one were timed in turn.
        latency_ratio: the same as a share of the baseline's time.
        size_bytes: of the ONNX file.
    """

    name: str
    sparsity: Sparsity
    validation_accuracy: float
    macs: int
    params: int
    latency_ms: float | None = None
    size_bytes: int | None = None
    test_accuracy: float | None = None
    latency_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class PenaltyFound:
    """The penalty that made the zeros of sparse training.

    Attributes:
        weight: of the penalty or prior at its end.
        by_itself: share that was zero then, before the smallest of the rest joined.
    """

    weight: float
    by_itself: float


@dataclass(frozen=True, slots=True)
class SparsityReport:
    """The content of `sparsity.json`.

    Example:
        >>> import edgeprune
        >>> from examples import data, nets
        >>> settings = {"sparsity": 0.5, "epochs": 1, "max_drop": 100}
        >>> done = edgeprune.sparsify(nets.make_net(), data.make_data(), **settings)
        >>> report = done.report
        >>> report.steps[-1].sparsity.weights >= report.wanted
        True

    Attributes:
        wanted: share that was to be zero, of what the method makes zero.
        steps: from the baseline on; the last one is the result.
        timings: the baseline, the sparse network and, if it was made, the smaller
            one, their rounds in turn.
        removed: what was cut out because it was zero throughout; None if it was not
            asked for.
        difference: largest one that the removal made to outputs, as a share of the
            largest output.
    """

    schema_version: int
    status: str
    sentence: str
    created: str
    seconds: float
    versions: Mapping[str, str]
    machine: Machine
    settings: Mapping[str, object]
    model: str
    method: str
    wanted: float
    accuracy_floor: float
    data: DataFacts
    steps: tuple[SparseStep, ...]
    training: tuple[Training, ...]
    timings: tuple[Timing, ...]
    penalty: PenaltyFound | None
    removed: Plan | None
    difference: float | None
    parity: Parity
    notes: tuple[str, ...] = ()
    metric: Metric = ACCURACY
