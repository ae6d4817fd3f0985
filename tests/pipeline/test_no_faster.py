"""Budgets that are not about time, on a device where fewer channels win none."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.devices.transports import FakeTransport
from edgeprune.pipeline.evaluation import Evaluator
from tests.made_up import FAKE, use

WIDTH = 16


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(WIDTH, 2),
    )


def compressed(out):
    """To 60 % of its multiply-accumulates, without training."""
    parts = [TensorDataset(torch.rand(16, 3, 12, 12)) for _ in range(3)]
    return edgeprune.compress(
        net(),
        parts,
        budget={"max_macs": "60%"},
        target=FAKE,
        precision="fp32",
        effort="quick",
        train=False,
        max_drop=100,
        out=out,
    ).report


@pytest.mark.parametrize(("longer", "met"), [(1.01, True), (1.5, False)])
def test_a_file_that_is_no_slower_but_for_noise_counts(
    longer, met, tmp_path, monkeypatch
):
    def operator_ms(item):
        if item.kind != "Conv":
            return 0.0
        return 1.0 if item.made[1] == WIDTH else longer

    use(monkeypatch, FakeTransport(operator_ms))
    report = compressed(tmp_path / "run")
    assert report.result.macs <= 0.6 * report.baseline.macs or not met
    assert (report.status == "met") == met, report.sentence
    if not met:
        assert "no faster" in report.sentence


def test_one_that_a_last_measurement_finds_slower_is_not_met(tmp_path, monkeypatch):
    """The rounds saw a faster file; measured once more, it is slower than its input."""
    late = []
    remeasured = Evaluator.remeasured

    def at_last(*given):
        late.append(True)
        return remeasured(*given)

    def operator_ms(item):
        if item.kind != "Conv":
            return 0.0
        return 1.0 if item.made[1] == WIDTH else 1.5 if late else 0.5

    monkeypatch.setattr(Evaluator, "remeasured", at_last)
    use(monkeypatch, FakeTransport(operator_ms))
    report = compressed(tmp_path / "run")
    assert report.status != "met"
    assert "what is within it takes longer than the original" in report.sentence
