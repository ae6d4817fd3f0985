"""What a forward pass takes, counted without a trace in the model."""

import pytest
import torch

from edgeprune.graph.operations import operations, samples_at_once
from tests.nets import CifarResNet


@pytest.mark.parametrize("count", [operations, samples_at_once])
def test_a_model_in_training_is_left_as_it_was(count):
    model = CifarResNet(1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert count(model, torch.randn(1, 3, 16, 16)) > 0
    assert all(
        torch.equal(value, before[key]) for key, value in model.state_dict().items()
    )
    assert model.training
