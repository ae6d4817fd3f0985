"""Which activation follows which width, seen on files that were cut to size."""

import pytest
import torch
from torch import nn

import edgeprune
from edgeprune.graph.survey import survey
from edgeprune.measure.memory import activations
from edgeprune.measure.resized_models import ResizedModels
from edgeprune.profile.memory_table import memory_table, widths_under
from edgeprune.profile.probes import draw_plans
from edgeprune.records import Plan
from tests.data_sets import coloured_parts
from tests.made_up import FAKE


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)),
    )


def test_memory_at_other_widths_is_predicted_exactly(tmp_path):
    model, x = net().eval(), torch.randn(1, 3, 16, 16)
    graph = survey(model, (x,))
    files = ResizedModels(model, graph, (x,), tmp_path)
    *seen, unseen = draw_plans(graph, 5, seed=0)
    paths = [files.write(plan, f"{number}") for number, plan in enumerate(seen)]
    widths = [widths_under(graph, plan) for plan in (Plan({}), *seen)]
    table = memory_table(files.reference, paths, widths)
    at = widths_under(graph, unseen)
    counted = activations(files.write(unseen, "unseen")).peak_bytes
    assert table.peak_bytes(at.__getitem__) == pytest.approx(counted)


def test_a_memory_budget_takes_about_what_it_asks_for(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    report = edgeprune.compress(
        net(),
        coloured_parts(),
        budget={"max_memory_mb": "80%"},
        accuracy_floor=0.0,
        train=False,
        reconstruct=False,
        target=FAKE,
        out=tmp_path / "run",
    ).report
    before, after = (
        item.memory.activation_peak_bytes for item in (report.baseline, report.result)
    )
    assert report.status == "met"
    assert 0.6 < after / before <= 0.8
    assert report.result.params > 0.6 * report.baseline.params
