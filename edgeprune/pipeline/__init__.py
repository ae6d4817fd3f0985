"""Pipeline: the stages in order, and the loop over them. `run` is the whole story."""

from edgeprune.pipeline.job import Job, Outcome, check_job
from edgeprune.pipeline.run import Run
from edgeprune.pipeline.smallest import reach_of
from edgeprune.pipeline.sparse_job import ROUNDS, SparseJob, SparseOutcome
from edgeprune.pipeline.sparsify import Sparsification

__all__ = [
    "ROUNDS",
    "Job",
    "Outcome",
    "Run",
    "SparseJob",
    "SparseOutcome",
    "Sparsification",
    "check_job",
    "reach_of",
]
