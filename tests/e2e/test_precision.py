"""Runs whose budget is about the int8 file, on a device that is made up."""

import re
from pathlib import Path

import pytest
import torch

import edgeprune
from edgeprune.api.run_folder import INT8_FILE, MODEL_FILE
from edgeprune.devices.transports import FakeTransport
from edgeprune.errors import EdgepruneError
from edgeprune.export import deliver
from tests.contexts import small_net
from tests.data_sets import coloured_parts as data
from tests.made_up import FAKE, by_macs, use

pytestmark = pytest.mark.slow

GAIN = 2.0  # of int8, on this device


@pytest.fixture
def clocked(monkeypatch):
    use(monkeypatch, FakeTransport(by_macs(GAIN)))


def run(tmp_path, share, **settings):
    given = {"max_drop": 100.0, "precision": "int8", "target": FAKE, **settings}
    return edgeprune.compress(
        small_net(), data(), budget=share, out=tmp_path / "run", **given
    )


@pytest.mark.usefixtures("clocked")
def test_what_int8_alone_saves_is_not_pruned(tmp_path):
    done = run(tmp_path, "60%")
    report = done.report
    assert report.status == "met"
    assert report.plans == ()
    assert [step.name for step in report.steps] == ["baseline", "int8"]
    assert report.int8.latency_ms == pytest.approx(report.baseline.latency_ms / GAIN)
    assert "in int8" in report.sentence
    assert {MODEL_FILE, INT8_FILE} <= {path.name for path in done.folder.iterdir()}
    for value, own in zip(
        done.model.parameters(), small_net().parameters(), strict=True
    ):
        assert torch.equal(value, own)


def reading(monkeypatch, int8):
    """Validation accuracies are as they are, but for int8 files."""
    whole = deliver.validation_accuracy

    def read(path, splits):
        return int8 if path.name.endswith(".int8.onnx") else whole(path, splits)

    monkeypatch.setattr(deliver, "validation_accuracy", read)


@pytest.mark.usefixtures("clocked")
def test_the_int8_file_is_pruned_to_the_budget_and_judged_by_it(monkeypatch, tmp_path):
    reading(monkeypatch, 0.23)
    report = run(tmp_path, "25%", epochs=1).report
    limit = report.baseline.latency_ms / 4
    assert report.status == "met"
    assert report.int8.latency_ms <= limit < report.steps[1].latency_ms
    assert report.result.latency_ms == pytest.approx(GAIN * report.int8.latency_ms)
    assert report.result.precision == "fp32"
    assert [step.name for step in report.steps] == ["baseline", "int8", "round 1"]
    last = report.steps[-1]
    assert last.latency_ms == report.int8.latency_ms
    assert last.validation_accuracy == report.int8.validation_accuracy == 0.23
    assert report.result.validation_accuracy != 0.23
    assert report.quantisation.speedup == pytest.approx(GAIN)
    assert [item.file for item in report.parity] == [MODEL_FILE, INT8_FILE]


def test_int8_that_is_no_faster_is_refused_before_anything_is_pruned(
    monkeypatch, tmp_path
):
    use(monkeypatch, FakeTransport(by_macs(0.8)))
    with pytest.raises(EdgepruneError, match="int8 is no faster here"):
        run(tmp_path, "60%")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("clocked")
def test_int8_that_loses_too_much_ends_before_any_training(monkeypatch, tmp_path):
    reading(monkeypatch, 0.1)
    report = run(tmp_path, "25%", max_drop=None, accuracy_floor=0.15).report
    assert report.status == "unmet"
    assert report.training == ()
    assert "int8 alone takes the validation accuracy from 25.00% to 10.00%" in (
        report.sentence
    )


def test_a_target_without_int8_is_refused_at_once(tmp_path):
    text = Path(FAKE).read_text()
    text = re.sub(r"precisions = .*", 'precisions = ["fp32"]', text)
    (tmp_path / "plain.toml").write_text(text)
    with pytest.raises(EdgepruneError, match="does not list int8"):
        run(tmp_path, "50%", target=str(tmp_path / "plain.toml"))


@pytest.mark.parametrize(
    ("share", "gain", "accuracy", "counts", "why"),
    [
        ("60%", GAIN, None, "int8", "precision: int8, which takes 50%"),
        ("100%", GAIN, None, "fp32", "precision: fp32, which is within the budget"),
        ("60%", 1.02, None, "fp32", "precision: fp32: int8 is no faster here"),
        ("60%", GAIN, 0.1, "fp32", "precision: fp32: int8 takes the validation acc"),
    ],
)
def test_the_precision_is_chosen_by_measuring(  # noqa: PLR0913
    monkeypatch, tmp_path, share, gain, accuracy, counts, why
):
    use(monkeypatch, FakeTransport(by_macs(gain)))
    if accuracy is not None:
        reading(monkeypatch, accuracy)
    report = run(tmp_path, share, precision="auto", train=False).report
    assert report.status == "met"
    assert report.deployed == counts
    assert report.counted.precision == counts
    assert any(note.startswith(why) for note in report.notes), report.notes
