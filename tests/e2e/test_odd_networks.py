"""Zeros, low rank and growth where networks and data are not as in the examples."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

import edgeprune
from edgeprune.data.splits import Arrays
from edgeprune.errors import EdgepruneError
from edgeprune.graph.factored import Factored
from tests.data_sets import colours
from tests.made_up import FAKE
from tests.nets import small

pytestmark = pytest.mark.slow


def data(count=132, size=8):
    x, y = colours(count + 60, size)
    parts = (slice(0, count), slice(count, count + 30), slice(count + 30, count + 60))
    order = (parts[0], parts[2], parts[1])  # train, test, validation
    return Arrays("colours", *(held[part] for part in order for held in (x, y)))


def sparsified(model, tmp_path, arrays=None, **settings):
    torch.manual_seed(0)
    return edgeprune.sparsify(
        model,
        arrays or data(),
        target=FAKE,
        out=tmp_path / "run",
        **{
            "sparsity": 0.5,
            "epochs": 4,
            "batch_size": 16,
            "accuracy_floor": 0.0,
            **settings,
        },
    )


SPARSE = [
    {"method": "prox-sg"},
    {"method": "slimming"},
    {"method": "bayesian"},
    {"method": "magnitude", "gradual": True},
]


@pytest.mark.parametrize("settings", SPARSE, ids=lambda item: item["method"])
@pytest.mark.parametrize("lone", [0, 1])
def test_a_last_batch_of_one_sample_does_not_hold_up_the_zeros(
    tmp_path, settings, lone
):
    arrays = data(32 + lone)
    done = sparsified(small(), tmp_path, arrays, batch_size=32, **settings)
    assert done.report.status == "met", done.report.sentence
    last = done.report.steps[-1].sparsity
    assert max(last.overall, last.channels) > 0.45


@pytest.mark.parametrize("settings", SPARSE, ids=lambda item: item["method"])
def test_without_training_there_is_one_cut(tmp_path, settings):
    done = sparsified(small(), tmp_path, epochs=0, **settings)
    last = done.report.steps[-1].sparsity
    assert max(last.overall, last.channels) > 0.45


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a, self.b = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.b.weight = self.a.weight
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(torch.relu(self.stem(x))))))
        return self.head(x).mean((2, 3))


@pytest.mark.parametrize("method", ["magnitude", "hybrid", "l1-mask", "prox-sg"])
def test_tied_weights_and_no_linear_layer(tmp_path, method):
    done = sparsified(Tied(), tmp_path, method=method, materialise=True)
    assert done.model.a.weight is done.model.b.weight
    assert (tmp_path / "run" / "sparsity.json").is_file()


class Partly(nn.Module):
    """Half of the channels have no parameters of their own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 24, 3, padding=1, bias=False)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.norm(self.first(x)))))
        return self.head(x.mean((2, 3)))


def test_a_share_that_cannot_be_reached_is_not_called_met(tmp_path):
    done = sparsified(Partly(), tmp_path, method="slimming")
    assert done.report.status == "unmet"
    assert "only" in done.report.sentence
    assert done.report.steps[-1].sparsity.channels == pytest.approx(4 / 32, abs=0.02)


@pytest.mark.parametrize("method", ["magnitude", "prox-sg", "bayesian", "l1-mask"])
def test_weight_norm_everywhere_is_refused(tmp_path, method):
    model = nn.Sequential(
        weight_norm(nn.Conv2d(3, 8, 3)),
        nn.ReLU(),
        nn.Flatten(),
        weight_norm(nn.Linear(8 * 36, 4)),
    )
    with pytest.raises(EdgepruneError, match="nothing that it could make zero"):
        sparsified(model, tmp_path, method=method)


@pytest.mark.parametrize("method", ["prox-sg", "slimming", "bayesian"])
def test_frozen_layers_stay_as_they_are(tmp_path, method):
    model = small()
    model.second.requires_grad_(False)
    before = model.second.weight.clone()
    done = sparsified(model, tmp_path, method=method, epochs=8, sparsity=0.3)
    after = done.model.second.weight
    stays = after != 0
    assert torch.equal(after[stays], before[stays])
    assert done.report.steps[-1].sparsity.channels <= 0.35


def test_nothing_to_train_is_one_sentence(tmp_path):
    with pytest.raises(EdgepruneError, match="requires_grad"):
        sparsified(small().requires_grad_(False), tmp_path)


def test_going_on_from_zeros_only_adds_to_them(tmp_path):
    first = sparsified(small(), tmp_path / "1", sparsity=0.6, rounds=1)
    second = sparsified(first.model, tmp_path / "2", sparsity=0.8, rounds=2)
    shares = [step.sparsity.overall for step in second.report.steps]
    assert shares == pytest.approx([0.6, 0.7, 0.8], abs=0.01)
    for one, other in zip(
        first.model.parameters(), second.model.parameters(), strict=True
    ):
        if one.ndim > 1:
            assert not ((one == 0) & (other != 0)).any()
    with pytest.raises(EdgepruneError, match="already"):
        sparsified(second.model, tmp_path / "3", sparsity=0.5)
    compressed = edgeprune.compress(
        second.model,
        data(),
        budget={"max_macs": "10M"},
        target=FAKE,
        epochs=1,
        accuracy_floor=0.0,
        out=tmp_path / "4",
    )
    assert "were zero" in " ".join(compressed.report.notes)


def test_a_removal_that_fails_leaves_the_sparse_network(tmp_path, monkeypatch):
    from edgeprune.errors import TraceError
    from edgeprune.sparse import run

    def failing(*_):
        raise TraceError("it takes another way")

    monkeypatch.setattr(run, "plan_of_zeros", failing)
    done = sparsified(small(), tmp_path, method="l1-mask", rounds=1, materialise=True)
    assert "takes another way" in " ".join(done.report.notes)
    assert (tmp_path / "run" / "sparse.onnx").is_file()
    assert not (tmp_path / "run" / "smaller.onnx").exists()
    assert done.report.steps[-1].sparsity.channels == pytest.approx(0.5)


def test_a_baseline_below_the_floor_is_said_before_any_training(tmp_path):
    done = sparsified(small(), tmp_path, accuracy_floor=1.0, materialise=True)
    assert done.report.status == "unmet"
    assert "baseline's own" in done.report.sentence
    assert not done.report.training
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert "sparse.onnx" not in files


def test_an_output_that_is_all_zero_has_no_infinite_difference(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.Flatten(), nn.Linear(288, 4, bias=False)
    )
    done = sparsified(model, tmp_path, sparsity=0.9995, rounds=1, materialise=True)
    text = (tmp_path / "run" / "sparsity.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["status"]
    assert done.report.difference in (None, 0.0) or done.report.difference < 1e-5


class Reading(nn.Module):
    """Code that reads numbers and weights of its layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.third = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        x = x.view(len(x), self.second.out_channels, *x.shape[2:])
        x = self.third(x) * (1 + 0 * self.third.weight.sum())
        return self.head(functional.relu(x).mean((2, 3)))


def test_layers_whose_weight_is_read_are_left_plain(tmp_path):
    torch.manual_seed(0)
    done = edgeprune.compress(
        Reading(),
        data(),
        budget={"max_macs": "300k"},
        low_rank="planner",
        target=FAKE,
        epochs=1,
        accuracy_floor=0.0,
        out=tmp_path / "run",
    )
    assert done.report.status == "met", done.report.sentence
    assert not isinstance(done.model.third, Factored)
    loaded = edgeprune.load(tmp_path / "run", Reading)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), done.model(x), rtol=1e-4, atol=1e-5)
    sparsified(Reading(), tmp_path / "2", method="slimming", sparsity=0.3)


def test_what_only_factoring_reaches_is_not_called_out_of_reach(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 256))
    done = edgeprune.compress(
        model,
        data(size=16),
        budget={"max_params": "40k"},
        low_rank="planner",
        target=FAKE,
        epochs=1,
        accuracy_floor=0.0,
        out=tmp_path / "run",
    )
    assert "out of reach" not in done.report.sentence
    assert done.report.attempts[-1].params <= 40_000
    assert isinstance(done.model[1], Factored)


class Projected(nn.Module):
    """A weight that is a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("projection", torch.randn(6, 8))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.first(x)).mean((2, 3))
        return self.head(functional.linear(x, self.projection))


def test_a_weight_in_a_buffer_may_grow_too(tmp_path):
    torch.manual_seed(0)
    done = edgeprune.compress(
        Projected(),
        data(),
        budget=5.0,
        growth="wider",
        target=FAKE,
        epochs=2,
        accuracy_floor=0.0,
        out=tmp_path / "run",
    )
    assert done.report.status == "met"
    assert any(step.name.startswith("growth") for step in done.report.steps)
    (grown,) = {item.optimizer for item in done.report.training if item.epochs}
    assert grown == "sgd"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"sparsity": 0.5}, "has no 'sparsity'"),
        ({"structure": "pca", "low_rank": "planner"}, "--low-rank"),
        ({"growth": "both", "budget": {"max_macs": "1M"}}, "--budget-ms"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(tmp_path, settings, complaint):
    settings = {"budget": 1.0, **settings}
    with pytest.raises(EdgepruneError, match=complaint):
        edgeprune.compress(small(), data(), out=tmp_path / "run", **settings)
    with pytest.raises(EdgepruneError, match="has no 'criterion'"):
        sparsified(small(), tmp_path, criterion="l1")
    with pytest.raises(EdgepruneError, match="--rounds"):
        sparsified(small(), tmp_path, method="prox-sg", rounds=2)


def test_more_inputs_than_the_network_takes_are_one_sentence(tmp_path):
    batch = ([torch.randn(4, 3, 8, 8), torch.randn(4, 3)], torch.arange(4))
    with pytest.raises(EdgepruneError, match="takes 2 positional arguments but 3"):
        edgeprune.compress(
            small(), ([batch], [batch], [batch]), budget=1.0, out=tmp_path / "run"
        )
