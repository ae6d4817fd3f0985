"""A plan and its network, which is made once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.channel_graph import replace_with_identity
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.indices import copies_of
from edgeprune.graph.surgery import apply, cut_by, plan_surgery
from edgeprune.records import PairedTiming, Plan, Surgery


@dataclass(frozen=True)
class Candidate:
    """A plan and the network that it is applied to.

    Attributes:
        before: what was changed in the round's start to come to that network.
        timings: of its file beside the baseline's, as they were taken.
    """

    model: nn.Module
    graph: ChannelGraph
    plan: Plan
    before: Surgery = field(default_factory=Surgery)
    timings: list[PairedTiming] = field(default_factory=list, compare=False)

    @cached_property
    def network(self) -> nn.Module:
        """The network that the plan makes.

        Raises:
            PlanError: the plan does not fit.
        """
        return apply(self.model, self.graph, self.plan)

    @cached_property
    def surgery(self) -> Surgery:
        """The surgery from the round's start to the network.

        Raises:
            PlanError: the plan does not fit.
        """
        return self.before.then(plan_surgery(self.model, self.graph, self.plan))

    @property
    def possible(self) -> bool:
        """Whether the plan fits."""
        try:
            _ = self.network
        except PlanError:
            return False
        return True

    def cut(self) -> nn.Module:
        """The network without a look at whether it is what it is to be.

        Raises:
            PlanError: the plan does not fit.
        """
        return cut_by(self.model, self.graph, self.plan)

    @property
    def widths(self) -> dict[str, int]:
        """Channels of each group that the plan changes."""
        times = copies_of(self.graph, self.plan)
        return {name: int(copies.sum()) for name, copies in times.items()}

    @property
    def kept_share(self) -> float:
        """The share of all prunable channels that are left."""
        bypassed, groups = self.plan.bypassed, self.graph.groups
        stay = (
            replace_with_identity(self.graph, bypassed).groups if bypassed else groups
        )
        widths = self.widths
        left = sum(widths.get(group.name, group.size) for group in stay)
        return left / max(sum(group.size for group in groups), 1)
