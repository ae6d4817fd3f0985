"""A run that was stopped goes on only with what it was begun with."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.files import cache_folder
from edgeprune.finetune.trainer import Trainer
from tests.made_up import FAKE

COUNT, CALIBRATED = 96, 64  # samples, and those of a first calibration batch
BEGUN = "round 1 was begun by an earlier process"


class Scaled(nn.Module):
    """Its code decides what it gives, beside its weights."""

    def __init__(self, factor=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.factor = factor
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu()
        return self.factor * self.head(x.mean((2, 3)))


def data():
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.rand(COUNT, 3, 8, 8, generator=generator),
            torch.randint(4, (COUNT,), generator=generator),
        )
        for _ in range(3)
    ]


class StoppedError(Exception):
    pass


def stopped(self, batches, number):
    raise StoppedError


def run(folder, network, parts):
    return edgeprune.compress(
        network,
        tuple(TensorDataset(*part) for part in parts),
        budget={"max_macs": "60%"},
        target=FAKE,
        precision="fp32",
        effort="best",
        epochs=1,
        max_drop=100,
        out=folder,
    )


def other_targets(parts, split):
    """Those behind the first batch, and as many of each class as before."""
    parts[split][1][CALIBRATED:] = parts[split][1][CALIBRATED:].flip(0)
    return parts


@pytest.mark.parametrize(
    ("factor", "parts", "goes_on"),
    [
        (1.0, data(), True),
        (2.0, data(), False),
        (1.0, other_targets(data(), 0), False),
        (1.0, other_targets(data(), 1), False),
    ],
    ids=["the same", "other code", "other training data", "other validation data"],
)
def test_what_was_changed_meanwhile_is_begun_anew(
    factor, parts, goes_on, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "epoch", stopped)
        with pytest.raises(StoppedError):
            run(tmp_path / "run", Scaled(), data())
    assert list(cache_folder().glob("unfinished/*"))
    done = run(tmp_path / "run", Scaled(factor), parts)
    assert (BEGUN in done.report.notes) == goes_on
