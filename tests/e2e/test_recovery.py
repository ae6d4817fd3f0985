"""Accuracy without training and with it, from the command line and from Python."""

import json

import pytest
import torch

import edgeprune
from edgeprune.errors import EdgepruneError
from tests.commands import MODEL, command
from tests.data_sets import coloured_parts as data
from tests.made_up import FAKE
from tests.nets import Bottom

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def untrained(trained):
    """A run without training, from the command line."""
    how_far = ["--max-macs", "1M", "--max-drop", "100", "--precision", "fp32"]
    arguments = [*how_far, "--no-train", "--out", "bare"]
    done = command(trained, "compress", *MODEL, *arguments)
    assert done.returncode == 0, done.stderr
    return trained / "bare"


def test_without_training_only_layers_are_fitted(untrained):
    report = json.loads((untrained / "report.json").read_text())
    rounds = list(zip(report["reconstructions"], report["steps"][1:], strict=True))
    assert rounds
    assert not any(item["epochs"] for item in report["training"])
    for found, step in rounds:
        assert found["layers"] >= 2
        assert found["samples"] >= 200
        best = max(found["accuracy_before"], found["accuracy_after"])
        assert step["accuracy_before_training"] == best
    page = (untrained / "report.html").read_text()
    assert "Fitting of layers, without labels" in page


def test_what_is_fitted_is_what_is_exported(untrained):
    report = json.loads((untrained / "report.json").read_text())
    assert all(item["passed"] for item in report["parity"] if item["tolerance"])
    step = report["steps"][-1]
    assert report["result"]["validation_accuracy"] == step["validation_accuracy"]


def test_training_that_is_asked_for_and_not_is_refused(trained):
    more = ["--max-macs", "1M", "--no-train", "--epochs", "3"]
    done = command(trained, "compress", *MODEL, *more)
    assert done.returncode == 1
    assert "--no-train does not go with --epochs" in done.stderr


def run(tmp_path, model, **settings):
    return edgeprune.compress(
        model,
        data(),
        budget={"max_macs": 10**6},
        max_drop=100.0,
        target=FAKE,
        out=tmp_path / "run",
        **settings,
    )


def test_without_either_it_is_the_bare_surgery(tmp_path):
    torch.manual_seed(0)
    done = run(tmp_path, Bottom(32), train=False, reconstruct=False)
    assert done.report.reconstructions == ()
    assert [item.epochs for item in done.report.training] == [()]
    plan = done.report.plans[0]
    torch.manual_seed(0)
    whole = Bottom(32)
    bare = edgeprune.apply(
        whole, edgeprune.survey(whole, (data()[0][0][0][None],)), plan
    )
    for name, value in done.model.state_dict().items():
        assert torch.equal(value, bare.state_dict()[name])


def test_no_data_at_all(trained):
    """Noise, labelled by the network: accuracy is how often both agree on it."""
    model = [item if item != "data.npz" else "noise" for item in MODEL]
    arguments = ["--input", "3x16x16", "--max-macs", "2M", "--max-drop", "100"]
    done = command(
        trained, "compress", *model, *arguments, "--no-train", "--out", "noise"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((trained / "noise" / "report.json").read_text())
    assert report["baseline"]["validation_accuracy"] == 1.0
    assert report["reconstructions"][-1]["accuracy_after"] > 0.5
    assert report["data"]["name"] == "noise"
    assert "original network" in report["data"]["note"]


def test_noise_needs_a_shape(trained):
    model = [item if item != "data.npz" else "noise" for item in MODEL]
    done = command(trained, "compress", *model, "--max-macs", "2M")
    assert done.returncode == 1
    assert "--data noise needs --input" in done.stderr


def test_growth_without_training_is_refused(tmp_path):
    with pytest.raises(EdgepruneError, match="growth"):
        edgeprune.compress(Bottom(8), data(), budget=1.0, growth="wider", train=False)
