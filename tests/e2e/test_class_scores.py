"""Networks that end in a sigmoid or a softmax, or give one score of two classes."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from examples import tasks
from tests.made_up import FAKE

SETTINGS = {
    "budget": "60%",
    "target": FAKE,
    "effort": "quick",
    "precision": "fp32",
    "max_drop": 100,
}


def trunk(outputs, *ending):
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, outputs), *ending),
    )


def labels():
    """What the network says itself, with every seventh label turned."""
    parts = []
    for x, _ in tasks.squares():
        with torch.no_grad():
            scores = trunk(4).eval()(x)
        y = (scores > scores.median(0).values).float()
        y.view(-1)[::7] = 1 - y.view(-1)[::7]
        parts.append(TensorDataset(x, y))
    return tuple(parts)


def compressed(model, data, out, **settings):
    return edgeprune.compress(model, data, out=out, **{**SETTINGS, **settings}).report


def test_labels_are_judged_alike_with_a_sigmoid_and_without(tmp_path):
    found = [
        compressed(trunk(4, *ending), labels(), tmp_path / str(at), train=False)
        for at, ending in enumerate([(), (nn.Sigmoid(),)])
    ]
    scores, probabilities = (
        (report.baseline.validation_accuracy, report.baseline.test_accuracy)
        for report in found
    )
    assert scores == probabilities
    assert 0.1 < scores[0] < 0.95  # not all that there are, nor none


@pytest.mark.parametrize("ending", [(), (nn.Sigmoid(),)], ids=["score", "sigmoid"])
def test_a_mask_of_one_channel_is_learnt(ending, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(tasks.UNet(1), *ending)
    report = compressed(
        model, tasks.make_masks(), tmp_path / "run", epochs=3, distil="no"
    )
    assert (report.status, report.metric.name) == ("met", "mIoU")
    assert report.result.test_accuracy > report.baseline.test_accuracy + 0.2


def test_a_floor_above_the_original_is_told_before_any_work(tmp_path, caplog):
    with caplog.at_level("INFO", "edgeprune"):
        report = compressed(
            nn.Sequential(tasks.UNet(1)),
            tasks.make_masks(),
            tmp_path / "run",
            train=False,
            max_drop=None,
            accuracy_floor=0.99,
        )
    told = next(note for note in report.notes if "below the floor" in note)
    assert told.startswith("the original's validation mIoU")
    assert told.endswith("the floor 99.00%: nothing brings a smaller network above it")
    lines = [record.getMessage() for record in caplog.records]
    assert lines.index(f"note: {told}") < len(lines) / 2
