"""How often a channel is active."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from edgeprune.graph.operators import operator_of
from edgeprune.score.activations import Seen, observe, preactivations
from edgeprune.score.context import Context


def apoz(context: Context) -> dict[str, Tensor]:
    """One minus the average share of zeros behind the non-linearity.

    Hu et al., "Network Trimming", 2016, equation 1. A ReLU returns zero where what it
    is given is not positive, which is what is counted, behind smooth relatives of it
    too; a channel that no non-linearity follows counts where it is not zero. Mean over
    the layers that make a channel.
    """
    totals = context.zeros()
    seen = dict.fromkeys(totals, 0)

    def take(name: str, values: Seen) -> None:
        active = replace(values, tensor=_active(values).double())
        totals[name] += active.means.sum(0)
        seen[name] += len(active.tensor)

    observe(context, preactivations(context), take)
    return {name: total / max(seen[name], 1) for name, total in totals.items()}


def _active(values: Seen) -> Tensor:
    if operator_of(values.site.reader).rectifier:
        return values.tensor > 0
    return values.tensor != 0
