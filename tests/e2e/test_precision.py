"""Runs whose budget is about the int8 file, by a clock that is made up."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import edgeprune
from edgeprune.errors import EdgepruneError
from edgeprune.export import deliver
from edgeprune.measure.benchmark import Bench
from edgeprune.api.run_folder import INT8_FILE, MODEL_FILE
from tests.e2e.test_compress import QUICK
from tests.e2e.test_recovery import data
from tests.figures import timing_of

GAIN = 2.0  # of int8, on this clock


def clock(gain):
    """Files take as many ms as they have million MACs; in int8 less."""

    def compare(self, files, usual_ms=None):
        times = [
            item.cost.macs / 1e6 / (gain if item.precision == "int8" else 1.0)
            for item in files
        ]
        return [timing_of(ms, ms) for ms in times]

    return compare


@pytest.fixture
def clocked(monkeypatch):
    monkeypatch.setattr(Bench, "compare", clock(GAIN))


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)),
    )


def run(tmp_path, share, **settings):
    given = {"max_drop": 100.0, "precision": "int8", "target": QUICK, **settings}
    return edgeprune.compress(
        net(), data(), budget=share, out=tmp_path / "run", **given
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
    for value, own in zip(done.model.parameters(), net().parameters(), strict=True):
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
    monkeypatch.setattr(Bench, "compare", clock(0.8))
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
    text = Path(QUICK).read_text()
    text = re.sub(r"precisions = .*", 'precisions = ["fp32"]', text)
    (tmp_path / "plain.toml").write_text(text)
    with pytest.raises(EdgepruneError, match="does not list int8"):
        run(tmp_path, "50%", target=str(tmp_path / "plain.toml"))
