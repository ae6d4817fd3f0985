"""Records: plain frozen data that travel between the stages and into the report."""

from edgeprune.records.budget import (
    Budget,
    pressure_of,
)
from edgeprune.records.json import (
    from_json,
    to_json,
)
from edgeprune.records.latency import LatencySummary, LatencyTable, OperatorTime
from edgeprune.records.measurement import (
    LayerCost,
    Machine,
    Memory,
    ModelFigures,
    Timing,
    TimingSummary,
)
from edgeprune.records.memory import Activation, MemoryTable
from edgeprune.records.run import (
    REPORT_SCHEMA,
    Attempt,
    DataFacts,
    Epoch,
    GroupLoss,
    GroupScores,
    GroupsReport,
    Parity,
    Plan,
    ProfileReport,
    PrunableGroup,
    Quantisation,
    Reach,
    ReachPoint,
    RefusedGroup,
    RunReport,
    Scores,
    Sensitivity,
    Status,
    Step,
    Training,
)
from edgeprune.records.spectrum import Spectra, Spectrum
from edgeprune.records.surgery import HeldNumber, KeptIndices, Surgery

__all__ = [
    "REPORT_SCHEMA",
    "Activation",
    "Attempt",
    "Budget",
    "DataFacts",
    "Epoch",
    "GroupLoss",
    "GroupScores",
    "GroupsReport",
    "HeldNumber",
    "KeptIndices",
    "LatencySummary",
    "LatencyTable",
    "LayerCost",
    "Machine",
    "Memory",
    "MemoryTable",
    "ModelFigures",
    "OperatorTime",
    "Parity",
    "Plan",
    "ProfileReport",
    "PrunableGroup",
    "Quantisation",
    "Reach",
    "ReachPoint",
    "RefusedGroup",
    "RunReport",
    "Scores",
    "Sensitivity",
    "Spectra",
    "Spectrum",
    "Status",
    "Step",
    "Surgery",
    "Timing",
    "TimingSummary",
    "Training",
    "from_json",
    "pressure_of",
    "to_json",
]
