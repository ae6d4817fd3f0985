"""The context that every stage of a run works with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from edgeprune.data import Splits
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.survey import survey
from edgeprune.metric import Metric
from edgeprune.pipeline.evaluation import Evaluator
from edgeprune.pipeline.job import Job, ModelSnapshot, RunLog
from edgeprune.profile.network import Profile
from edgeprune.progress import Progress
from edgeprune.records import Attempt, Budget
from edgeprune.score.context import Context
from edgeprune.settings import CompressSettings
from edgeprune.units import milliseconds


@dataclass(frozen=True)
class RunContext:
    """Everything that is known before the first round; `prepare` makes it.

    Attributes:
        log: takes down what is found on the way.
        baseline: the fp32 file of the unpruned network.
        start: the unpruned network as the deployed file, which may be another one.
        budget: what was asked for.
        limits: the same; no slower than the baseline where it says nothing of time.
        floor: the lowest validation accuracy that is accepted.
        known: the original may have been trained on the validation samples.
    """

    job: Job
    log: RunLog
    profile: Profile
    evaluator: Evaluator
    baseline: ModelSnapshot
    start: ModelSnapshot
    budget: Budget
    limits: Budget
    floor: float
    known: bool

    @property
    def settings(self) -> CompressSettings:
        """The settings of the run."""
        return self.job.settings

    @property
    def in_int8(self) -> bool:
        """Whether the deployed file is the int8 one."""
        return self.start.exported.precision == "int8"

    @property
    def data(self) -> Splits:
        """The data set."""
        return self.job.data

    @property
    def metric(self) -> Metric:
        """What networks are judged by."""
        return self.data.task.metric

    @property
    def progress(self) -> Progress:
        """Who is told how far it is."""
        return self.job.progress

    def graph_of(self, snapshot: ModelSnapshot) -> ChannelGraph:
        """The channel groups of a network on its way."""
        if snapshot is self.start:
            return self.profile.graph
        return self.job.region.within(survey(snapshot.model, self.job.workload.inputs))

    def scoring(self, model: nn.Module, graph: ChannelGraph) -> Context:
        """Collect what criteria may look at."""
        return Context(
            model,
            graph,
            self.data.calibration,
            seed=self.settings.seed,
            progress=self.progress,
            device=self.job.device,
            task=self.data.task,
        )

    def keep(self, attempt: Attempt) -> Attempt:
        """Take down a measured plan, and show it."""
        self.log.attempts.append(attempt)
        self.progress.advance(milliseconds(attempt.latency_ms))
        return attempt
