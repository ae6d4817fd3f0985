"""Plans judged by what least squares leave of their error."""

import pytest
import torch

from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.pipeline.ground import Candidate
from edgeprune.pipeline.refitting import Refitting
from edgeprune.records import Plan
from edgeprune.score.sensitivity import outputs, unexplained
from tests.graph.test_widening import lively, some_copies
from tests.nets import Bottom, CifarResNet


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
    refitting, (x, _) = Refitting(model, batches(256), seed=0), batches(64, size=64)[0]
    kept: dict[str, tuple[int, ...]] = {}
    for name, extra in copies.items():
        channels = range(before.group(name).size)
        kept[name] = tuple(at + sum(item < at for item in extra) for at in channels)
    candidate = Candidate(model, graph, Plan(kept))
    bare = unexplained(outputs(model, x), outputs(apply(model, graph, Plan(kept)), x))
    assert refitting.error(candidate) < bare / 4
    fitted = outputs(refitting.model(candidate), x)
    assert unexplained(outputs(model, x), fitted) < bare / 4


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_few_samples_do(count):
    model = lively(Bottom(16))
    graph = survey(model, (torch.randn(1, 3, 16, 16).double(),))
    refitting = Refitting(model, batches(count), seed=0)
    candidate = Candidate(model, graph, Plan({}))
    assert refitting.error(candidate) < 1e-3
    kept = refitting.model(candidate).state_dict()
    assert [item.shape for item in kept.values()] == [
        item.shape for item in model.state_dict().values()
    ]


def test_layers_too_wide_for_the_positions_are_told():
    narrow, wide = (
        Refitting(lively(Bottom(width)), batches(4), seed=0) for width in (16, 512)
    )
    assert narrow.determined
    assert not wide.determined
