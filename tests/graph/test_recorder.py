"""What a run that is recorded leaves in memory, and what it knows again."""

import gc
import weakref

import pytest
import torch
from torch import nn

from edgeprune.graph.stepwise import StepwiseInterpreter, trace_batch
from edgeprune.graph.trace import state_of

LAYERS = 6
ALIVE = []  # what a module holds is put back after a run


class Watched(nn.Module):
    """Counts how many results of earlier layers are still there, layer by layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(LAYERS))

    def forward(self, x):
        made = []
        for layer in self.layers:
            x = layer(x).relu()
            made.append(weakref.ref(x))
            gc.collect()
            ALIVE.append(sum(item() is not None for item in made))
        return x.mean((2, 3))


def test_a_run_on_real_data_holds_no_more_than_it_needs():
    ALIVE.clear()
    trace_batch(Watched().eval(), torch.randn(2, 4, 8, 8))
    assert ALIVE == [1] * LAYERS


class Remade(nn.Module):
    """Makes tensors that are gone at once, so that their places are taken again."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        for number in range(50):
            x = x + torch.full((4,), number / 50).sin()
            x = self.layer(x) * torch.tensor([1.0, 2.0, 3.0, number]).cos()
        return x


@pytest.mark.parametrize("seed", [0, 1])
def test_what_takes_the_place_of_another_is_not_taken_for_it(seed):
    """The graph does what the code does, with other data than it was traced with."""
    torch.manual_seed(seed)
    model = Remade().eval()
    traced = trace_batch(model, torch.randn(2, 4))
    x = torch.randn(2, 4)
    (found,) = StepwiseInterpreter(traced, state_of(model), [x]).outputs()
    torch.testing.assert_close(found, model(x).detach())
