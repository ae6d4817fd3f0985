"""Zeros on small networks, from the command line and from Python."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import edgeprune
from edgeprune.data.splits import Arrays
from edgeprune.errors import EdgepruneError
from edgeprune.finetune.trainer import Trainer
from edgeprune.records import SparsityReport, from_json
from tests.commands import MODEL, command
from tests.data_sets import colours
from tests.made_up import FAKE
from tests.nets import Bottom

pytestmark = pytest.mark.slow

METHODS = ("magnitude", "l1-mask", "hybrid", "slimming", "prox-sg", "bayesian")


def data():
    x, y = colours()
    return Arrays("colours", x[:300], y[:300], x[300:], y[300:])


def started(trained):
    model = Bottom(64)
    model.load_state_dict(torch.load(trained / "ck.pt", weights_only=True))
    return model


def sparsified(trained, tmp_path, **settings):
    return edgeprune.sparsify(
        started(trained),
        data(),
        target=FAKE,
        batch_size=16,
        out=tmp_path / "run",
        **{"sparsity": 0.5, "epochs": 3, "max_drop": 20.0, **settings},
    )


@pytest.fixture(scope="module")
def sparse(trained):
    """A run from the command line, in the folder `sparse`."""
    return command(
        trained,
        "sparsify",
        *MODEL,
        "--method",
        "prox-sg",
        "--sparsity",
        "0.5",
        "--materialise",
        "--epochs",
        "12",
        "--batch-size",
        "16",
        "--max-drop",
        "10",
        "--out",
        "sparse",
    )


@pytest.mark.xdist_group("sparse run")
def test_a_run_from_the_command_line_leaves_a_page_and_a_model(sparse, trained):
    done = sparse
    assert done.returncode == 0, done.stderr
    assert "Met: --method prox-sg --sparsity 0.5" in done.stdout
    assert "gain no time in a dense runtime" in done.stdout
    folder = trained / "sparse"
    assert {
        "baseline.onnx",
        "sparse.onnx",
        "smaller.onnx",
        "model.onnx",
        "model.safetensors",
        "plan.json",
        "sparsity.html",
        "sparsity.json",
    } == {path.name for path in folder.iterdir()}
    report = from_json(SparsityReport, (folder / "sparsity.json").read_bytes())
    names = [step.name for step in report.steps]
    assert names == ["baseline", "sparse", "materialised", "retrained"]
    baseline, sparse, materialised, retrained = report.steps
    assert baseline.sparsity.overall == 0
    assert sparse.sparsity.channels == pytest.approx(0.5, abs=0.01)
    assert sparse.sparsity.overall > 0.5
    assert sparse.params == baseline.params
    assert sparse.sparsity.gzip_bytes < 0.8 * baseline.sparsity.gzip_bytes
    assert materialised.params < 0.6 * baseline.params
    assert materialised.validation_accuracy == sparse.validation_accuracy
    assert report.difference < 1e-5
    assert retrained.params == materialised.params
    assert len(report.timings) == 3
    assert "http" not in (folder / "sparsity.html").read_text().split("<script>")[0]


@pytest.mark.xdist_group("sparse run")
def test_the_result_goes_on_into_compress_and_comes_back(sparse, trained):
    assert sparse.returncode == 0
    (trained / "mynets.py").touch()
    loaded = command(
        trained,
        "compress",
        *[item for item in MODEL if item != "ck.pt" and item != "--weights"],
        "--weights",
        "sparse",
        "--max-macs",
        "0.5M",
        "--max-drop",
        "30",
        "--epochs",
        "2",
        "--criterion",
        "slimming",
        "--out",
        "further",
    )
    assert loaded.returncode == 0, loaded.stderr
    model = edgeprune.load(trained / "further", lambda: Bottom(64))
    session = onnxruntime.InferenceSession(str(trained / "further" / "model.onnx"))
    x = torch.randn(1, 3, 16, 16)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(x).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reaches_its_share(trained, tmp_path, method):
    done = sparsified(trained, tmp_path, method=method, epochs=8)
    report = done.report
    assert report.status == "met", report.sentence
    result = report.steps[-1].sparsity
    if method == "magnitude":
        assert result.overall == pytest.approx(0.5, abs=1e-3)
        assert [step.name for step in report.steps][1:] == [
            "round 1",
            "round 2",
            "round 3",
        ]
        shares = [step.sparsity.overall for step in report.steps]
        assert shares == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2], abs=1e-3)
    else:
        assert result.channels == pytest.approx(0.5, abs=0.02)
        assert result.convolutions >= 0.5
    assert (report.penalty is not None) == (
        method in ("slimming", "prox-sg", "bayesian")
    )
    state = torch.cat([p.detach().flatten() for p in done.model.parameters()])
    assert torch.isfinite(state).all()
    names = [name for name, _ in done.model.named_modules()]
    assert names == [name for name, _ in Bottom(64).named_modules()]


def test_single_weights_by_the_l1_norm_and_gradually(trained, tmp_path):
    done = sparsified(
        trained, tmp_path, method="prox-sg", regulariser="weights", sparsity=0.8
    )
    assert done.report.steps[-1].sparsity.overall == pytest.approx(0.8, abs=0.01)
    done = sparsified(
        trained,
        tmp_path / "2",
        gradual=True,
        sparsity=0.9,
        optimizer="adamw",
        learning_rate=2e-3,
        average=0.5,
        max_drop=60.0,
    )
    assert [step.name for step in done.report.steps] == ["baseline", "sparse"]
    assert done.report.steps[-1].sparsity.overall == pytest.approx(0.9, abs=1e-3)
    assert any((p == 0).any() for p in done.model.parameters())


def test_zeros_that_cost_too_much_are_not_kept(trained, tmp_path):
    done = sparsified(
        trained, tmp_path, sparsity=0.9999, rounds=2, epochs=0, max_drop=5.0
    )
    assert done.report.status == "unmet"
    assert "below the floor" in done.report.sentence
    assert done.report.steps[-1].validation_accuracy >= done.report.accuracy_floor
    assert [step.name for step in done.report.steps] in (
        ["baseline"],
        ["baseline", "round 1"],
    )


class Bare(nn.Module):
    """No batch norm: slimming has to bring its own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 24, 3, padding=1)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(x.mean((2, 3)))


def test_slimming_brings_its_own_norms_and_takes_them_along(tmp_path):
    torch.manual_seed(0)
    done = edgeprune.sparsify(
        Bare(),
        data(),
        method="slimming",
        sparsity=0.4,
        materialise=True,
        target=FAKE,
        epochs=6,
        accuracy_floor=0.0,
        out=tmp_path / "run",
    )
    assert "2 layers had a batch norm" in " ".join(done.report.notes)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in done.model.modules())
    assert done.model.first.out_channels + done.model.second.out_channels == 24
    loaded = edgeprune.load(tmp_path / "run", Bare)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), done.model(x))


def test_a_killed_run_goes_on_where_it_was(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    whole, calls = Trainer.epoch, []

    def dying(self, batches, number):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return whole(self, batches, number)

    monkeypatch.setattr(Trainer, "epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        sparsified(trained, tmp_path, epochs=2)
    assert not (tmp_path / "run").exists()
    assert list((tmp_path / "cache" / "unfinished").rglob("*.safetensors"))
    calls.clear()
    calls += [1] * 10
    done = sparsified(trained, tmp_path, epochs=2)
    assert len(calls) - 10 == 1  # five of six epochs were done before
    assert done.report.status == "met"
    assert done.report.steps[-1].sparsity.overall == pytest.approx(0.5, abs=1e-3)
    assert not list((tmp_path / "cache" / "unfinished").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"sparsity": None}, "--sparsity"),
        ({"sparsity": 1.5}, "--sparsity"),
        ({"method": "magic"}, "--method"),
        ({"method": "slimming", "gradual": True}, "--gradual"),
        ({"method": "magnitude", "penalty": 0.1}, "--penalty"),
        ({"method": "bayesian", "regulariser": "weights"}, "--regulariser"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    trained, tmp_path, settings, complaint
):
    with pytest.raises(EdgepruneError, match=complaint):
        sparsified(trained, tmp_path, **settings)
    assert not (tmp_path / "run").exists()


def test_a_network_without_channels_to_take_is_refused(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    with pytest.raises(EdgepruneError, match="nothing that it could make zero"):
        edgeprune.sparsify(
            model,
            data(),
            method="prox-sg",
            sparsity=0.5,
            target=FAKE,
            out=tmp_path / "run",
        )


def test_json_goes_to_standard_output_alone(trained):
    done = command(
        trained,
        "sparsify",
        *MODEL,
        "--sparsity",
        "0.3",
        "--rounds",
        "1",
        "--epochs",
        "1",
        "--max-drop",
        "50",
        "--json",
        "--out",
        "json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["wanted"] == 0.3
