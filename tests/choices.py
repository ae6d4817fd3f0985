"""Every choice that there is, on networks small enough to try them all."""

import itertools

import torch
from torch import nn

from edgeprune.records import pressure_of


class Residual(nn.Module):
    """Two blocks of which either can go."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first, self.second = Branch(), Branch()
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.head(self.second(self.first(x)))


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.narrow = nn.Conv2d(16, 24, 3, padding=1)
        self.wide = nn.Conv2d(24, 16, 3, padding=1)

    def forward(self, x):
        return x + self.wide(torch.relu(self.narrow(x)))


class Concatenated(nn.Module):
    """A layer that reads three groups."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(3, 16, 3, padding=1) for _ in range(3))
        self.mix = nn.Conv2d(48, 16, 1)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        return self.head(self.mix(torch.cat([part(x) for part in self.parts], 1)))


def choices(costs):
    """Every choice of widths and blocks; groups of a block that goes are not named."""
    steps = costs.steps
    names = [block.name for block in costs.blocks]
    for some in itertools.chain.from_iterable(
        itertools.combinations(costs.blocks, number) for number in range(len(names) + 1)
    ):
        gone = set().union(*(block.groups for block in some))
        left = [name for name in steps if name not in gone]
        for widths in itertools.product(*(steps[name] for name in left)):
            yield dict(zip(left, widths, strict=True)), tuple(b.name for b in some)


def brute_force(costs, loss, budget):
    """The least loss of all choices within the budget."""
    return min(
        (
            loss.of(widths, bypassed)
            for widths, bypassed in choices(costs)
            if pressure_of(costs.predict(widths, bypassed), budget) <= 1
        ),
        default=None,
    )


def named(costs, solution):
    gone = {
        name
        for block in costs.blocks
        if block.name in solution.bypassed
        for name in block.groups
    }
    return {name: width for name, width in solution.widths.items() if name not in gone}


def value_of(piece, resource, steps, widths):
    if resource not in piece.costs:
        return 0.0
    if any(name not in widths for name in piece.groups):
        return 0.0
    at = tuple(steps[name].index(widths[name]) for name in piece.groups)
    value = piece.costs[resource][at]
    if piece.further:
        length = sum(each * widths[name] for name, each in piece.further)
        value += piece.slopes[resource][at] * length
    return float(value)
