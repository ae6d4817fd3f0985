import pytest
import torch
from torch import nn

from edgeprune.errors import WorkloadError
from edgeprune.finetune.fresh import fresh
from tests.nets import Bottom


def test_fresh_weights_are_drawn_by_the_seed_and_the_original_stays():
    model = Bottom(8)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one, same, other = fresh(model, 1), fresh(model, 1), fresh(model, 2)
    assert torch.equal(one.first.weight, same.first.weight)
    assert not torch.equal(one.first.weight, other.first.weight)
    assert not torch.equal(one.first.weight, model.first.weight)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_parameters_that_nothing_draws_anew_are_named():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(3))

    with pytest.raises(WorkloadError, match=r"Gate '0'.*gain"):
        fresh(nn.Sequential(Gate()), 0)
