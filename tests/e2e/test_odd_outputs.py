"""Networks that give what others do not, without labels."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.errors import ConfigError, TraceError, WorkloadError
from tests.made_up import FAKE


@dataclass
class Answer:
    """As networks for several uses give it."""

    scores: Tensor
    vector: Tensor
    loss: Tensor | None = None


GIVES = {
    "class numbers": lambda scores, _: scores.argmax(1),
    "one number a sample": lambda scores, _: scores.sum(1),
    "a data class": Answer,
    "a number beside": lambda scores, _: {"scores": scores, "stride": 8},
    "what never varies": lambda scores, vector: (scores, torch.ones_like(vector)),
}


class Net(nn.Module):
    """Two convolutions; what comes out is told."""

    def __init__(self, gives):
        super().__init__()
        self.gives = gives
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        vector = self.body(x).mean((2, 3))
        return self.gives(self.head(vector), vector)


def compressed(gives, out, **settings):
    x = torch.randn(48, 3, 12, 12)
    parts = [TensorDataset(part) for part in x.split(16)]
    usual = {"max_macs": "80%", "precision": "fp32", "max_drop": 100, "train": False}
    usual |= {"effort": "quick", "target": FAKE}
    return edgeprune.compress(
        Net(gives), tuple(parts), out=out, **{**usual, **settings}
    )


@pytest.mark.parametrize("name", GIVES)
def test_any_answer_is_agreed_with(name, tmp_path):
    done = compressed(GIVES[name], tmp_path / "run")
    assert done.report.status == "met", done.report.sentence
    assert done.report.parity[0].passed is not False
    assert (done.folder / "model.onnx").exists()


def test_one_number_for_a_batch_is_refused(tmp_path):
    with pytest.raises(WorkloadError, match="one number for a whole batch"):
        compressed(lambda scores, _: scores.sum(), tmp_path / "run")


class Words(nn.Module):
    """Embeds twelve words of a sample."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.convolution = nn.Conv1d(16, 32, 3)

    def forward(self, ids):
        return self.convolution(self.table(ids).transpose(1, 2)).relu().mean(2)


def test_an_id_beyond_the_table_is_said(tmp_path):
    parts = tuple(TensorDataset(torch.randint(0, 60, (20, 12))) for _ in range(3))
    with pytest.raises(TraceError, match="beyond the 50 rows of its embedding"):
        edgeprune.compress(Words(), parts, max_macs="80%", out=tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"keep": ("*",)}, "--keep . leave nothing of Net that can be pruned"),
        ({"only": ("head",)}, "--only head leave nothing of Net"),
    ],
)
def test_a_region_that_leaves_nothing_is_said(settings, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        compressed(GIVES["class numbers"], tmp_path / "run", **settings)


@pytest.mark.parametrize("budget", [{"max_macs": "60%"}, {"budget": "60%"}])
def test_a_network_without_a_layer_that_is_counted(budget, tmp_path):
    x = torch.randn(48, 3, 12, 12)
    parts = tuple(TensorDataset(part) for part in x.split(16))
    done = edgeprune.compress(
        nn.Sequential(nn.AvgPool2d(2), nn.ReLU()),
        parts,
        train=False,
        target=FAKE,
        out=tmp_path / "run",
        **budget,
    )
    assert done.report.status == ("met" if "max_macs" in budget else "unmet")
