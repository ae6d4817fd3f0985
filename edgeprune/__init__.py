"""edgeprune: the most accurate CNN that really runs within N milliseconds.

Stages, each a folder: profile, score, prune, finetune, export, report; `pipeline` is
the loop over them, `graph` the channel labels that they stand on, `measure` the timing.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anybody imports it
# How often a thread of OpenMP looks whether the others have come before it sleeps: some
# 10 us. On a busy machine, where they come late, it keeps the core from them; without
# any looking, narrow networks take a third longer on a quiet one.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# Large values come in large pages, where Linux has them: to be given new pages for each
# costs as much as computing them.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgeprune.api.compress import Finished, compress
    from edgeprune.api.devices import check_target, measure_files
    from edgeprune.api.doctor import check_file
    from edgeprune.api.sparsify import Sparsified, sparsify
    from edgeprune.errors import EdgepruneError
    from edgeprune.export.checkpoint import load
    from edgeprune.graph.operators import register_operator
    from edgeprune.graph.surgery import apply
    from edgeprune.graph.survey import survey
    from edgeprune.metric import Metric
    from edgeprune.records import Budget, Plan, RunReport, SparsityReport
    from edgeprune.report.files import read_report
    from edgeprune.score.context import Context
    from edgeprune.score.criteria import register_criterion, score_channels
    from edgeprune.score.pca import spectra
    from edgeprune.tasks import Detection, Keypoints, Task

_HOMES = {
    "Budget": "edgeprune.records",
    "Context": "edgeprune.score.context",
    "Detection": "edgeprune.tasks",
    "EdgepruneError": "edgeprune.errors",
    "Finished": "edgeprune.api.compress",
    "Keypoints": "edgeprune.tasks",
    "Metric": "edgeprune.metric",
    "Plan": "edgeprune.records",
    "RunReport": "edgeprune.records",
    "Sparsified": "edgeprune.api.sparsify",
    "SparsityReport": "edgeprune.records",
    "Task": "edgeprune.tasks",
    "apply": "edgeprune.graph.surgery",
    "check_file": "edgeprune.api.doctor",
    "check_target": "edgeprune.api.devices",
    "compress": "edgeprune.api.compress",
    "load": "edgeprune.export.checkpoint",
    "measure_files": "edgeprune.api.devices",
    "read_report": "edgeprune.report.files",
    "register_criterion": "edgeprune.score.criteria",
    "register_operator": "edgeprune.graph.operators",
    "sparsify": "edgeprune.api.sparsify",
    "score_channels": "edgeprune.score.criteria",
    "spectra": "edgeprune.score.pca",
    "survey": "edgeprune.graph.survey",
}

__all__ = [
    "Budget",
    "Context",
    "Detection",
    "EdgepruneError",
    "Finished",
    "Keypoints",
    "Metric",
    "Plan",
    "RunReport",
    "Sparsified",
    "SparsityReport",
    "Task",
    "__version__",
    "apply",
    "check_file",
    "check_target",
    "compress",
    "load",
    "measure_files",
    "read_report",
    "register_criterion",
    "register_operator",
    "score_channels",
    "sparsify",
    "spectra",
    "survey",
]


def __dir__() -> list[str]:
    """List the public names, for completion."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Public names on first use: importing torch takes seconds."""
    if name not in _HOMES:
        message = f"module 'edgeprune' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_HOMES[name]), name)
