"""Rank channels by a criterion of your own.

python -m examples.own_criterion [TARGET]
"""

import sys

from torch import Tensor

import edgeprune
from examples.data import make_data
from examples.nets import make_net


def largest_weight(context: edgeprune.Context) -> dict[str, Tensor]:
    """A channel is worth its largest weight; shape (channels,) for each group."""
    scores: dict[str, Tensor] = {}
    for group in context.graph.groups:
        total = context.zeros()[group.name]
        for member in group.members:
            if member.role == "output":
                weight = context.tensor(member.parameter).detach()
                rows = weight.movedim(member.axis, 0).flatten(1)
                total += rows.abs().amax(1).double()
        scores[group.name] = total
    return scores


def main(target: str = "host") -> None:
    """Register the criterion, then use it by its name."""
    edgeprune.register_criterion("largest_weight", largest_weight)
    done = edgeprune.compress(
        make_net(),
        make_data(),
        budget={"max_params": "60%"},
        criterion="largest_weight",
        max_drop=100.0,
        train=False,
        target=target,
    )
    print(done.report.sentence)


if __name__ == "__main__":
    main(*sys.argv[1:])
