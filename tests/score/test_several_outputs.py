"""Of several outputs none is favoured for its scale or its size."""

import pytest
import torch
from torch import nn

from edgeprune.data import Reading, TensorBatches
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.operations import MOST_OUTPUTS, thinned
from edgeprune.records import Plan
from edgeprune.score.context import Context
from edgeprune.score.sensitivity import OutputErrorEvaluator, evens, unexplained
from edgeprune.tasks import Classification, Detection
from edgeprune.workload.packed import packed, structure_of_outputs

X = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Heads(nn.Module):
    """Two branches that are alike but for the scale of what they make."""

    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(3, 16, 3)
        self.second.load_state_dict(self.first.state_dict())
        self.one, self.two = nn.Conv2d(16, 4, 3), nn.Conv2d(16, 4, 3)
        self.two.load_state_dict(self.one.state_dict())
        self.scale = scale

    def forward(self, x):
        one, two = self.one(self.first(x).relu()), self.two(self.second(x).relu())
        return {"one": self.scale * one, "two": two}


def losses(scale):
    """Of the two branches at half of their channels."""
    own = Heads(scale).eval()
    model = packed(own, None, structure_of_outputs(own, (X[:1],)))
    graph = build_channel_graph(model, (X[:1],))
    batches = TensorBatches(X, torch.zeros(len(X), dtype=torch.long), Reading(32))
    judge = OutputErrorEvaluator(Context(model, graph, batches), 4)
    plans = [Plan({name: tuple(range(8))}) for name in ("first", "second")]
    return [loss for loss, _ in judge.judged(plans)]


def test_a_branch_counts_as_much_whatever_the_scale_of_its_output():
    one, two = losses(1000.0)
    assert one > 0.01
    assert two == pytest.approx(one, rel=1e-3)
    assert losses(1.0) == pytest.approx([one, two], rel=1e-3)


class Places(nn.Module):
    """Boxes in pixels, and scores that find few of them, at each place."""

    def __init__(self):
        super().__init__()
        self.first, self.boxes = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1)
        self.second, self.kinds = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1)

    def forward(self, x):
        boxes = 60 + 50 * self.boxes(self.first(x).relu())
        kinds = (12 * self.kinds(self.second(x).relu()) - 6).sigmoid()
        return torch.cat([boxes, kinds], 1).flatten(2)


def test_boxes_of_nothing_do_not_count():
    torch.manual_seed(0)
    model = Places().eval()
    graph = build_channel_graph(model, (X[:1],))
    batches = TensorBatches(X, torch.full((len(X), 1, 5), -1.0), Reading(32))

    def worst(task):
        judge = OutputErrorEvaluator(Context(model, graph, batches, task=task), 4)
        plans = [Plan({name: tuple(range(8))}) for name in ("first", "second")]
        return "first" if judge.error(plans[0]) > judge.error(plans[1]) else "second"

    assert worst(Classification()) == "first"
    assert worst(Detection(4)) == "second"


def test_weights_are_of_the_positions_that_are_left_of_many():
    def model(x):
        return {"many": x.flatten(1).repeat(1, MOST_OUTPUTS), "one": x[:, 0, 0, 0]}

    class Many(nn.Module):
        def forward(self, x):
            return model(x)

    net = packed(Many(), None, structure_of_outputs(Many(), (X[:1],)))
    original = thinned(net(X)).double()
    weights = evens(net, original)
    assert weights.shape == original.shape[1:]
    assert evens(Heads(1.0), X) is None


def test_an_output_that_never_changes_has_no_weight():
    class Constant(nn.Module):
        def forward(self, x):
            return {"x": x.flatten(1), "five": 5 + 0 * x[:, :1, 0, 0]}

    net = packed(Constant(), None, structure_of_outputs(Constant(), (X[:1],)))
    original = net(X).double()
    weights = evens(net, original)
    assert weights[-1] == 0
    assert (weights[:-1] > 0).all()
    assert unexplained(original, original.clone(), weights) == 0


def test_one_output_in_a_dict_needs_no_weights():
    class Map(nn.Module):
        def forward(self, x):
            return {"out": x}

    net = packed(Map(), None, structure_of_outputs(Map(), (X[:1],)))
    assert evens(net, net(X)) is None
