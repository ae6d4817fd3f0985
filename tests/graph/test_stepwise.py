"""Runs operator by operator, taken up again where another one was."""

import torch
from torch import nn

from edgeprune.graph.stepwise import (
    StepwiseInterpreter,
    operators_of,
    shared_operators,
    trace_batch,
)
from edgeprune.graph.trace import state_of
from tests.nets import CifarResNet
from tests.prepared import lively


class InPlace(nn.Module):
    """Writes to its input, to a value that is read later, and to a view of one."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.side = nn.Conv2d(6, 6, 1)
        self.last = nn.Conv2d(6, 4, 3)

    def forward(self, x):
        x.mul_(0.5)
        x = self.first(x)
        beside = self.side(x)
        x[:, :2].add_(1.0)
        x = x.relu_() + beside
        return self.last(x).flatten(1)


def test_what_is_written_in_place_reaches_no_other_run():
    torch.manual_seed(0)
    model, x = InPlace().double().eval(), torch.randn(2, 3, 6, 6).double()
    traced, given = trace_batch(model, x.clone()), x.clone()
    expected = model(x.clone())
    run = StepwiseInterpreter(traced, state_of(model), [given])
    side = [item for item in operators_of(traced) if "conv2d" in str(item.target)][1]
    run.up_to(side)
    snapshot = run.snapshot()
    torch.testing.assert_close(run.outputs()[0], expected)
    assert torch.equal(given, x)
    for _ in range(2):
        again = StepwiseInterpreter(traced, state_of(model), [given], snapshot)
        torch.testing.assert_close(again.outputs()[0], expected)


def test_runs_part_where_a_weight_or_the_code_is_not_the_same():
    model, x = lively(CifarResNet(2)), torch.randn(2, 3, 16, 16).double()
    traced = trace_batch(model, x)
    order = operators_of(traced)
    assert shared_operators(traced, traced, lambda _: True) == len(order)
    path = "layer2.0.conv1.weight"
    parted = shared_operators(traced, trace_batch(model, x), lambda at: at != path)
    reads = [traced.owners.get(item.name) for item in order[parted].all_input_nodes]
    assert path in reads
    model.layer2[1] = nn.Identity()
    shorter = shared_operators(traced, trace_batch(model, x), lambda _: True)
    reads = [traced.owners.get(item.name) for item in order[shorter].all_input_nodes]
    assert "layer2.1.conv1.weight" in reads
