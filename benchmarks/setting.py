"""A network on this machine: profiled, with its latency table, ready to be timed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from edgeprune import targets
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.trace import Inputs
from edgeprune.measure.benchmark import Bench, Exported
from edgeprune.measure.runner import HostRunner
from edgeprune.pipeline.smallest import costs_of
from edgeprune.pipeline.trials import Trials
from edgeprune.profile.network import profile_network
from edgeprune.prune.cost_model import CostModel
from edgeprune.records import ModelFigures


@dataclass
class Setting:
    """A network, profiled, on this machine.

    Attributes:
        bench: writes all files but the baseline in the form that is fastest here.
    """

    model: nn.Module
    graph: ChannelGraph
    bench: Bench
    trials: Trials
    figures: ModelFigures
    costs: CostModel

    @property
    def baseline(self) -> Exported:
        """The unpruned network's file."""
        return self.trials.baseline


def setting(model: nn.Module, inputs: Inputs, folder: str) -> Setting:
    """Profile a network and measure its latency table."""
    plain = Bench(HostRunner(targets.load("host")), inputs, Path(folder))
    profile = profile_network(model, plain)
    trials = Trials.of(profile, profile.bench)
    costs = costs_of(profile, trials)
    return Setting(model, profile.graph, profile.bench, trials, profile.figures, costs)


def final_share(held: Setting, model: nn.Module) -> float:
    """The exported file's median in a measurement of its own, beside the baseline's."""
    exported = held.bench.export(model, "final")
    base, timing = held.bench.compare([held.baseline, exported], held.trials.usual_ms)
    return timing.share_of(base)
