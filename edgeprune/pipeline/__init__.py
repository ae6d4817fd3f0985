"""Pipeline: the stages in order, and the loop over them. `run` is the whole story."""

from edgeprune.pipeline.checks import check_answers
from edgeprune.pipeline.job import Job, Outcome, check_job
from edgeprune.pipeline.run import run
from edgeprune.pipeline.search.smallest import reach_of

__all__ = ["Job", "Outcome", "check_answers", "check_job", "reach_of", "run"]
