import sys

import pytest
import torch

from edgeprune.errors import WorkloadError
from edgeprune.workload import (
    load_model,
)
from tests.nets import Bottom


def other():
    """A factory that makes no module."""
    return "other"


def test_models_come_from_torchvision_or_a_factory():
    model = load_model("torchvision:resnet18", num_classes=7, seed=0)
    assert model.fc.out_features == 7
    assert isinstance(load_model("tests.nets:small", num_classes=None, seed=0), Bottom)


def test_the_seed_fixes_fresh_weights():
    first, second = (
        load_model("tests.nets:small", num_classes=None, seed=1) for _ in "ab"
    )
    assert torch.equal(first.head.weight, second.head.weight)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("resnet18", "Unknown model 'resnet18'"),
        ("torchvision:resnet17", "model 'resnet17' cannot be made"),
        ("tests.nets:nothing", "Cannot import model"),
        ("no_such_module:net", "Cannot import model"),
        ("tests.nets:Block", "failed: TypeError"),
        ("tests.workload.test_workload:other", "must return a torch.nn.Module"),
    ],
)
def test_models_that_cannot_be_made_are_refused(source, complaint):
    with pytest.raises(WorkloadError, match=complaint):
        load_model(source, num_classes=None, seed=0)


def test_timm_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WorkloadError, match=r"pip install 'edgeprune\[timm\]'"):
        load_model("timm:resnet18", num_classes=None, seed=0)
