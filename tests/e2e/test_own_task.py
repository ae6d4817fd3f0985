"""A task that a Python caller holds in his hands, and one that does not count."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.errors import ConfigError, EdgepruneError, WorkloadError
from tests.made_up import FAKE


class Away(edgeprune.Task):
    """How far two numbers are from where they should be."""

    name = "away"
    metric = edgeprune.Metric("distance", "mm", higher_is_better=False)

    def __init__(self, fault=None):
        self.fault = fault

    def check(self, outputs, targets):
        pass

    def loss(self, outputs, targets):
        return (outputs - targets).norm(dim=1).mean()

    def tally(self, outputs, targets):
        far = (outputs - targets).norm(dim=1)
        return torch.stack([far.sum(), torch.tensor(float(len(far)))])

    def value(self, sums):
        if self.fault is not None:
            return self.fault(sums)
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
        compressed(Away(lambda _: value), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_that_fails_says_where(tmp_path):
    with pytest.raises(WorkloadError, match=r"'away' does not take .*32, 2.*division"):
        compressed(Away(lambda _: 1 / 0), tmp_path / "run")


def test_a_class_is_no_task(tmp_path):
    with pytest.raises(ConfigError, match=r"task=Away\(\)"):
        compressed(Away, tmp_path / "run")


def test_an_error_without_its_sign_is_refused(tmp_path):
    right = Away(lambda sums: sums[0] / sums[1])
    with pytest.raises(WorkloadError, match="must give its negative"):
        compressed(right, tmp_path / "run")


def test_a_loss_without_smoothing_teaches(tmp_path):
    done = compressed(Away(), tmp_path / "run", train=True, epochs=1, effort="best")
    assert done.report.training[0].epochs


FAULTS = {
    "loss": [
        (lambda o, t: (o - t).norm(dim=1), "must give a tensor with one number"),
        (
            lambda o, t: float((o - t).detach().norm()),
            "must give a tensor with one number",
        ),
        (lambda o, t: (o - t).norm().detach(), "has a gradient"),
        (lambda o, t: o @ t, "does not take outputs"),
    ],
    "tally": [(lambda o, t: [1.0, 2.0], "must give a tensor of shape")],
    "metric": [("mae", "must be an edgeprune.Metric")],
}


@pytest.mark.parametrize(
    ("name", "fault", "said"),
    [(name, *fault) for name, faults in FAULTS.items() for fault in faults],
)
def test_what_is_wrong_with_a_task_is_said_first(name, fault, said, tmp_path):
    task = Away()
    setattr(task, name, fault)
    with pytest.raises(EdgepruneError, match=said):
        compressed(task, tmp_path / "run", train=True, epochs=1)


class Named(Away):
    """Of targets and outputs by name."""

    def tally(self, outputs, targets):
        return super().tally(outputs["place"], targets["place"])

    def loss(self, outputs, targets):
        return super().loss(outputs["place"], targets["place"])


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.kind = net(), nn.Linear(2, 4)

    def forward(self, x):
        place = self.body(x)
        return {"place": place, "kind": self.kind(place)}


def test_targets_come_by_name(tmp_path):
    parts = [
        [(x, {"place": y, "kind": torch.tensor(1)}) for x, y in part] for part in data()
    ]
    usual = {"precision": "fp32", "effort": "quick", "target": FAKE}
    done = edgeprune.compress(
        TwoHeads(),
        parts,
        budget={"max_macs": "80%"},
        task=Named(),
        max_drop=100,
        epochs=1,
        out=tmp_path / "run",
        **usual,
    )
    assert done.report.metric == Away.metric
