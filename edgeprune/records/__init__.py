"""Records: plain frozen data that travel between the stages and into the report."""

from edgeprune.records.budget import (
    COUNTED,
    Budget,
    Costs,
    pressure_of,
    time_pressure,
)
from edgeprune.records.check import DeviceCheck
from edgeprune.records.device import Conditions, Device, Machine, Sustained
from edgeprune.records.doctor import FileCheck, Finding
from edgeprune.records.groups import (
    DataFacts,
    GroupsReport,
    PrunableGroup,
    RefusedGroup,
)
from edgeprune.records.json import (
    from_json,
    from_values,
    to_json,
)
from edgeprune.records.latency import LatencySummary, LatencyTable, OperatorTime
from edgeprune.records.measurement import (
    LayerCost,
    Memory,
    ModelFigures,
    PairedTiming,
    Timing,
    TimingSummary,
)
from edgeprune.records.measurements import FileTiming, Measurements
from edgeprune.records.memory import Activation, MemoryTable
from edgeprune.records.profile import ProfileReport, Reach, ReachPoint
from edgeprune.records.roofline import Roofline
from edgeprune.records.run import (
    REPORT_SCHEMA,
    UNPRUNED,
    AccuracyLoss,
    Attempt,
    GroupLoss,
    GroupScores,
    MeasuredCosts,
    Parity,
    Plan,
    Quantisation,
    Reconstruction,
    Rescored,
    RunReport,
    Scores,
    Sensitivity,
    Status,
    Step,
)
from edgeprune.records.score import SCORE_SCHEMA, BlockScore, ScoreReport
from edgeprune.records.several import ModelOnTargets, TargetsReport
from edgeprune.records.sparsity import (
    REMOVED,
    SPARSITY_SCHEMA,
    PenaltyFound,
    SparseStep,
    Sparsity,
    SparsityReport,
)
from edgeprune.records.spectrum import Spectra, Spectrum
from edgeprune.records.surgery import HeldNumber, KeptIndices, Surgery
from edgeprune.records.training import (
    Epoch,
    SecondHead,
    Training,
)

__all__ = [
    "COUNTED",
    "REMOVED",
    "REPORT_SCHEMA",
    "SCORE_SCHEMA",
    "SPARSITY_SCHEMA",
    "UNPRUNED",
    "AccuracyLoss",
    "Activation",
    "Attempt",
    "BlockScore",
    "Budget",
    "Conditions",
    "Costs",
    "DataFacts",
    "Device",
    "DeviceCheck",
    "Epoch",
    "FileCheck",
    "FileTiming",
    "Finding",
    "GroupLoss",
    "GroupScores",
    "GroupsReport",
    "HeldNumber",
    "KeptIndices",
    "LatencySummary",
    "LatencyTable",
    "LayerCost",
    "Machine",
    "MeasuredCosts",
    "Measurements",
    "Memory",
    "MemoryTable",
    "ModelFigures",
    "ModelOnTargets",
    "OperatorTime",
    "PairedTiming",
    "Parity",
    "PenaltyFound",
    "Plan",
    "ProfileReport",
    "PrunableGroup",
    "Quantisation",
    "Reach",
    "ReachPoint",
    "Reconstruction",
    "RefusedGroup",
    "Rescored",
    "Roofline",
    "RunReport",
    "ScoreReport",
    "Scores",
    "SecondHead",
    "Sensitivity",
    "SparseStep",
    "Sparsity",
    "SparsityReport",
    "Spectra",
    "Spectrum",
    "Status",
    "Step",
    "Surgery",
    "Sustained",
    "TargetsReport",
    "Timing",
    "TimingSummary",
    "Training",
    "from_json",
    "from_values",
    "pressure_of",
    "time_pressure",
    "to_json",
]
