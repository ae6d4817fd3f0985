"""Blocks that code reaches by another way than their path are not offered."""

import torch
from torch import nn

from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.records import Plan


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))


class Stages(nn.Module):
    """The second half of its stages is walked through a plain list."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16, 10)
        self.first, self.listed = nn.ModuleList(Block(16) for _ in range(2)), []
        for index in range(2):
            self.listed.append(Block(16))
            self.add_module(f"listed{index}", self.listed[-1])

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for stage in (*self.first, *self.listed):
            x = stage(x)
        return self.head(x.mean((2, 3)))


def test_what_is_offered_can_be_left_out():
    model, x = Stages().eval(), torch.randn(2, 3, 16, 16)
    graph = survey(model, (x,))
    assert {"first.0", "first.1"} <= set(graph.blocks)
    assert not {"listed0", "listed1"} & set(graph.blocks)
    for block in graph.blocks:
        apply(model, graph, Plan({}, (block,)))(x)
