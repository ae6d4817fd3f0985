"""Records: plain frozen data that travel between the stages and into the report."""

from edgeprune.records.budget import (
    Budget,
    pressure_of,
)
from edgeprune.records.json import (
    from_json,
    to_json,
)
from edgeprune.records.latency import LatencyTable, OperatorTime
from edgeprune.records.measurement import (
    ChannelStep,
    LayerCost,
    Machine,
    Memory,
    ModelFigures,
    Timing,
    TimingSummary,
)
from edgeprune.records.run import (
    REPORT_SCHEMA,
    Attempt,
    DataFacts,
    Epoch,
    GroupScores,
    GroupsReport,
    Parity,
    Plan,
    ProfileReport,
    PrunableGroup,
    Quantisation,
    RefusedGroup,
    RunReport,
    Scores,
    Status,
    Step,
    Training,
)
from edgeprune.records.surgery import HeldNumber, KeptIndices, Surgery

__all__ = [
    "REPORT_SCHEMA",
    "Attempt",
    "Budget",
    "ChannelStep",
    "DataFacts",
    "Epoch",
    "GroupScores",
    "GroupsReport",
    "HeldNumber",
    "KeptIndices",
    "LatencyTable",
    "LayerCost",
    "Machine",
    "Memory",
    "ModelFigures",
    "OperatorTime",
    "Parity",
    "Plan",
    "ProfileReport",
    "PrunableGroup",
    "Quantisation",
    "RefusedGroup",
    "RunReport",
    "Scores",
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
