"""A task that a Python caller holds in his hands, and one that does not count."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.errors import ConfigError, WorkloadError
from tests.made_up import FAKE


class Away(edgeprune.Task):
    """How far two numbers are from where they should be."""

    name = "away"
    metric = edgeprune.Metric("distance", "mm", higher_is_better=False)

    def __init__(self, fault=None):
        self.fault = fault

    def check(self, outputs, targets):
        pass

    def tally(self, outputs, targets):
        far = (outputs - targets).norm(dim=1)
        return torch.stack([far.sum(), torch.tensor(float(len(far)))])

    def value(self, sums):
        if self.fault is not None:
            return self.fault()
        return -sums[0] / sums[1]


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(96, 3, 12, 12, generator=generator)
    parts = zip(x.split(32), x.mean((2, 3))[:, :2].split(32), strict=True)
    return tuple(TensorDataset(*part) for part in parts)


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def compressed(task, out, **settings):
    usual = {"max_macs": "80%", "precision": "fp32", "max_drop": 100, "train": False}
    usual |= {"effort": "quick", "target": FAKE}
    return edgeprune.compress(net(), data(), task=task, out=out, **usual | settings)


def test_a_task_is_handed_over_as_it_is(tmp_path):
    done = compressed(Away(), tmp_path / "run")
    report = done.report
    assert report.status == "met"
    assert report.metric == Away.metric
    x, y = data()[2].tensors
    with torch.no_grad():
        far = (done.model(x) - y).norm(dim=1).mean()
    assert report.result.test_accuracy == pytest.approx(-float(far), rel=1e-3)
    assert "distance" in (tmp_path / "run" / "report.html").read_text()


def test_a_task_is_handed_over_to_sparsify(tmp_path):
    done = edgeprune.sparsify(
        net(),
        data(),
        sparsity=0.3,
        task=Away(),
        epochs=1,
        max_drop=100,
        target=FAKE,
        out=tmp_path / "run",
    )
    assert done.report.metric == Away.metric
    step = done.report.steps[-1]
    text = f"{-step.validation_accuracy:.4g} mm"
    assert text in (tmp_path / "run" / "sparsity.html").read_text()
    assert text in done.report.sentence


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_metric_that_is_no_number_is_refused(value, tmp_path):
    with pytest.raises(WorkloadError, match=r"distance of the samples is (nan|-inf)"):
        compressed(Away(lambda: value), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_that_fails_says_where(tmp_path):
    with pytest.raises(WorkloadError, match=r"'away' cannot count .*32, 2.*division"):
        compressed(Away(lambda: 1 / 0), tmp_path / "run")


def test_something_else_is_no_task(tmp_path):
    with pytest.raises(ConfigError, match=r"--task: .*str"):
        compressed(Away, tmp_path / "run")
