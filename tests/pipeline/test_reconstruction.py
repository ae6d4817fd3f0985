"""Plans judged by what least squares leave of their error."""

import math

import pytest
import torch
from torch import nn

from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.reconstruction import QuickReconstruction
from edgeprune.reconstruct import fitting
from edgeprune.records import Plan
from edgeprune.score.sensitivity import outputs, unexplained
from tests.nets import Bottom, CifarResNet
from tests.prepared import lively, some_copies


def batches(count, side=16, size=32):
    return [(x, None) for x in torch.randn(count, 3, side, side).double().split(size)]


@pytest.fixture(scope="module")
def wide():
    """A network in which some channels are copies, and which these are."""
    model, x = lively(CifarResNet(2)), torch.randn(2, 3, 16, 16).double()
    graph = survey(model, (x,))
    copies = some_copies(graph, None)
    made = apply(model, graph, Plan({}, copies=copies))
    return made, survey(made, (x,)), graph, copies


def test_what_can_be_mended_is_less_of_an_error(wide):
    """Without the copies nothing is lost once their readers are fitted."""
    model, graph, before, copies = wide
    reconstruction, (x, _) = (
        QuickReconstruction(model, batches(256), seed=0),
        batches(64, size=64)[0],
    )
    kept: dict[str, tuple[int, ...]] = {}
    for name, extra in copies.items():
        channels = range(before.group(name).size)
        kept[name] = tuple(at + sum(item < at for item in extra) for at in channels)
    candidate = Candidate(model, graph, Plan(kept))
    bare = unexplained(outputs(model, x), outputs(apply(model, graph, Plan(kept)), x))
    assert reconstruction.error(candidate) < bare / 4
    fitted = outputs(reconstruction.model(candidate), x)
    assert unexplained(outputs(model, x), fitted) < bare / 4


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_few_samples_do(count):
    model = lively(Bottom(16))
    graph = survey(model, (torch.randn(1, 3, 16, 16).double(),))
    reconstruction = QuickReconstruction(model, batches(count), seed=0)
    plan = Plan({group.name: tuple(range(group.size // 2)) for group in graph.groups})
    assert math.isfinite(reconstruction.error(Candidate(model, graph, plan)))
    assert reconstruction.error(Candidate(model, graph, Plan({}))) < 1e-3


@pytest.mark.parametrize(
    ("make", "count", "enough"),
    [
        (lambda: CifarResNet(2), 256, True),
        (lambda: CifarResNet(2), 64, False),  # the last layer has 32 rows for 64
        (lambda: Bottom(256), 256, False),  # 128 rows, and 8192 numbers to read
    ],
)
def test_layers_too_wide_for_the_samples_are_told(make, count, enough):
    reconstruction = QuickReconstruction(lively(make()), batches(count), seed=0)
    assert reconstruction.determined == enough


class Rolls(nn.Module):
    """Another function once it is narrow, which only surgery's own check finds."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 4, 3)

    def forward(self, x):
        x = self.first(x).relu()
        if x.shape[1] < 16:
            x = torch.roll(x, 1, 1)
        return self.second(x).mean((2, 3))


def test_what_cannot_be_pruned_is_judged_and_said_to_be_impossible():
    model = Rolls().double().eval()
    graph = survey(model, (torch.randn(1, 3, 16, 16).double(),))
    reconstruction = QuickReconstruction(model, batches(40), seed=0)
    candidate = Candidate(model, graph, Plan({"first": tuple(range(8))}))
    assert reconstruction.error(candidate) > 0
    assert not candidate.possible
    whole = Candidate(model, graph, Plan({}))
    assert reconstruction.error(whole) < 1e-3
    assert whole.possible


def test_what_does_not_fit_is_the_worst_and_ends_nothing():
    model = lively(Bottom(16))
    graph = survey(model, (torch.randn(1, 3, 16, 16).double(),))
    reconstruction = QuickReconstruction(model, batches(40), seed=0)
    plan = Plan({}, ("nowhere",))
    assert reconstruction.error(Candidate(model, graph, plan)) == math.inf
    candidate = Candidate(model, graph, plan)
    assert list(reconstruction.estimates([candidate], Plan({}))) == [math.inf]


def near_by(graph, plan):
    """Plans that differ from one in a group or a block."""
    first, last = graph.groups[0].name, graph.groups[-1].name
    found = []
    for name in (first, last):
        kept = {**plan.kept, name: plan.kept[name][1:]}
        found.append(Plan(kept, plan.bypassed))
    block = "layer2.1"
    left = {name: kept for name, kept in plan.kept.items() if block not in name}
    return [*found, Plan(left, (block,))]


def test_what_was_fitted_near_by_changes_no_error(monkeypatch):
    """However much of it is taken over; an estimate fits only what is near a change."""
    model = lively(CifarResNet(3))
    graph = survey(model, (torch.randn(2, 3, 16, 16).double(),))
    torch.manual_seed(0)
    data = batches(160)
    near = Plan({group.name: tuple(range(group.size // 2)) for group in graph.groups})
    fitted = []
    whole = fitting.fit_layer_

    def counted(run, state, layer, wanted, how):
        fitted.append(layer.name)
        whole(run, state, layer, wanted, how)

    monkeypatch.setattr(fitting, "fit_layer_", counted)
    counts = []
    for plan in near_by(graph, near):
        reconstruction = QuickReconstruction(model, data, seed=0)
        candidate = Candidate(model, graph, plan)
        alone = reconstruction.error(candidate)
        every = len(fitted)
        reconstruction.error(Candidate(model, graph, near))
        fitted.clear()
        (estimate,) = reconstruction.estimates([candidate], near)
        few = len(fitted)
        assert estimate == pytest.approx(alone, rel=0.5)
        fitted.clear()
        assert reconstruction.error(candidate, near) == pytest.approx(alone, rel=1e-9)
        counts.append((few, len(fitted), every))
        fitted.clear()
    assert all(few <= some <= every for few, some, every in counts)
    assert counts[0][1] == counts[0][2]  # what changes first
    assert counts[1][1] < counts[1][2] / 2  # what changes last
    assert counts[2][0] < counts[2][1]  # a block in the middle


def test_estimates_beside_each_other_are_what_each_is_alone():
    model = lively(CifarResNet(3))
    graph = survey(model, (torch.randn(2, 3, 16, 16).double(),))
    near = Plan({group.name: tuple(range(group.size // 2)) for group in graph.groups})
    reconstruction = QuickReconstruction(model, batches(160), seed=0)
    reconstruction.error(Candidate(model, graph, near))
    candidates = [Candidate(model, graph, plan) for plan in near_by(graph, near)]
    alone = [
        next(reconstruction.estimates([candidate], near)) for candidate in candidates
    ]
    together = list(reconstruction.estimates(candidates, near))
    assert together == pytest.approx(alone, rel=1e-12)
    assert len({*alone}) == len(alone)
