"""What makes figures doubtful is seen before any work."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.pipeline.checks import knows_validation
from edgeprune.pipeline.job import RunLog
from tests.contexts import context_of
from tests.data_sets import coloured_arrays, colours
from tests.made_up import FAKE


class Known(nn.Module):
    """Answers some samples by heart, and guesses the class of all others."""

    def __init__(self, x, y):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        pairs = zip(x, y, strict=True)
        self.known = {float(item.sum()): int(label) for item, label in pairs}

    def forward(self, x):
        found = [self.known.get(float(item.sum()), 0) for item in x]
        return nn.functional.one_hot(torch.tensor(found), 4).float() + self.weight


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return context_of(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("knows", ["all", "training samples", "nothing"])
def test_weights_that_may_know_the_validation_samples_are_told(context, knows):
    splits = edgeprune.data.factory.splits_of(
        "colours", coloured_arrays(), edgeprune.data.Reading(16)
    )
    parts = {"all": ("train", "validation"), "training samples": ("train",)}
    held = [
        pair
        for part in parts.get(knows, ())
        for batch in getattr(splits, part)
        for pair in zip(*batch, strict=True)
    ]
    model = Known(*zip(*held, strict=True)) if held else Known((), ())
    right = [
        (model(x).argmax(1) == y).float().mean().item() for x, y in splits.validation
    ]
    found = sum(right) / len(right)
    figures = replace(context.baseline.figures, validation_accuracy=found)
    baseline = replace(context.baseline, figures=figures)
    workload = replace(context.job.workload, model=model, splits=splits)
    log = RunLog()
    job = replace(context.job, workload=workload)
    assert knows_validation(job, log, baseline) == (knows == "all")
    assert any("which the given weights may know" in note for note in log.notes) == (
        knows == "all"
    )
    own = replace(workload, splits=replace(splits, cut_from_training=()))
    assert not knows_validation(replace(job, workload=own), log, baseline)


def test_a_dozen_validation_samples_cannot_judge_a_floor(tmp_path):
    x, y = map(torch.from_numpy, colours())
    parts = [
        TensorDataset(x[part], y[part])
        for part in (slice(200), slice(200, 212), slice(212, 400))
    ]
    done = edgeprune.compress(
        nn.Sequential(
            *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
        ),
        parts,
        budget={"max_macs": "70%"},
        target=FAKE,
        max_drop=100,
        train=False,
        out=tmp_path / "run",
    )
    assert "which 12 validation samples cannot judge" in done.report.sentence
    loss = done.report.test_loss
    before, after = done.report.baseline, done.report.result
    assert loss.points == pytest.approx(before.test_accuracy - after.test_accuracy)
    assert loss.samples == 188
    assert loss.text(done.report.metric) in done.report.sentence


class Two(nn.Module):
    """A judged output, and features beside it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, x):
        features = self.body(x).relu().mean((2, 3))
        return {"logits": self.head(features), "features": features}


def small_run(model, targets, folder):
    """Without training, on inputs of (3, 8, 8)."""
    parts = [TensorDataset(torch.rand(32, 3, 8, 8), targets) for _ in range(3)]
    how = {"target": FAKE, "precision": "fp32", "train": False, "max_drop": 100}
    asked = {"budget": {"max_macs": "60%"}, "effort": "quick", "out": folder}
    return edgeprune.compress(model, parts, **asked, **how).report


@pytest.mark.parametrize(("scale", "told"), [(1.0, False), (255.0, True)])
def test_pictures_of_another_scale_are_told(scale, told, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 1))
    report = small_run(model, scale * torch.rand(32, 3, 8, 8), tmp_path / "run")
    notes = [note for note in report.notes if "PSNR is told as of pictures" in note]
    assert bool(notes) == told, report.notes


def test_outputs_beside_the_scores_are_no_classes(tmp_path):
    report = small_run(Two(), torch.arange(32) % 4, tmp_path / "run")
    assert not any("outputs, the data have" in note for note in report.notes)


def test_a_network_in_another_precision_is_told_so(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).half()
    with pytest.raises(edgeprune.EdgepruneError, match=r"float16: call its .float\(\)"):
        small_run(model, torch.arange(32) % 4, tmp_path / "run")
