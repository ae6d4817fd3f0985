"""What the network really loses with a group at a few widths, or with a block.

Scores rank the channels of one group well. How groups and blocks compare is measured:
each is narrowed, or left out, alone, and the outputs are held against the original's.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.graph.groups import Group
from edgeprune.graph.surgery import operate_, plan_surgery
from edgeprune.graph.trace import evaluating
from edgeprune.records import GroupLoss, Plan, Scores, Sensitivity
from edgeprune.score.context import Context

SHARES = (0.75, 0.5, 0.25)  # of a group's channels that are kept
ALLOWANCE_S = 60.0  # for all of it
FEWEST, MOST = 16, 512  # samples


def measure_sensitivity(
    context: Context, scores: Scores, blocks: Sequence[str]
) -> Sensitivity:
    """Loss of every group at a few widths, and of every block.

    The loss is the mean over samples of the Kullback-Leibler divergence of the
    changed network's class probabilities from the original's, in nats: no labels are
    needed. How many samples are used follows from how long one takes.
    """
    start = time.perf_counter()
    trials = [
        (group.name, width, _narrowed(group, scores, width))
        for group in context.graph.groups
        for width in measured_widths(group)
    ]
    with evaluating(context.model), torch.no_grad():
        x = _samples(context, len(trials) + len(blocks))
        original = _log_probabilities(context.model, x)
        context.progress.start("sensitivity", len(trials) + len(blocks))

        def loss(plan: Plan) -> float:
            changed = copy.deepcopy(context.model)
            operate_(changed, plan_surgery(context.model, context.graph, plan))
            context.progress.advance()
            return divergence(original, _log_probabilities(changed, x))

        groups = tuple(
            GroupLoss(name, width, loss(plan)) for name, width, plan in trials
        )
        left_out = {name: loss(Plan({}, (name,))) for name in blocks}
    seconds = time.perf_counter() - start
    context.progress.finish(
        f"{len(trials)} widths and {len(blocks)} blocks on {len(x)} samples"
    )
    return Sensitivity(groups, left_out, len(x), seconds)


def measured_widths(group: Group) -> list[int]:
    """The widths, of those to choose from, nearest to a few shares."""
    widths = group.widths()[:-1]
    found = {
        min(widths, key=lambda width: abs(width - share * group.size))
        for share in SHARES
        if widths
    }
    return sorted(found)


def divergence(original: Tensor, changed: Tensor) -> float:
    """Mean divergence of log probabilities, shape (N, classes, ...); not below 0."""
    found = functional.kl_div(changed, original, reduction="none", log_target=True)
    return max(0.0, float(found.flatten(1).sum(1).mean()))


def _narrowed(group: Group, scores: Scores, width: int) -> Plan:
    held = next(item.scores for item in scores.groups if item.name == group.name)
    order = torch.tensor(held).argsort(descending=True, stable=True)
    return Plan({group.name: tuple(sorted(order[:width].tolist()))})


def _samples(context: Context, trials: int) -> Tensor:
    """As many inputs as the allowance has time for."""
    assert context.batches is not None  # checked by the caller
    held: list[Tensor] = []
    wanted = MOST
    for x, _ in context.batches:
        if not held:
            some = x[:FEWEST]
            context.model(some)
            start = time.perf_counter()
            context.model(some)
            each = (time.perf_counter() - start) / len(some)
            affordable = ALLOWANCE_S / (each * max(trials, 1))
            wanted = int(min(MOST, max(FEWEST, affordable)))
        held.append(x)
        if sum(map(len, held)) >= wanted:
            break
    return torch.cat(held)[:wanted]


def _log_probabilities(model: nn.Module, x: Tensor) -> Tensor:
    parts = [model(part) for part in x.split(64)]
    return functional.log_softmax(torch.cat(parts).double(), dim=1)
