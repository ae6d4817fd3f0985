import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import train
from edgeprune.graph.channels import Channels
from edgeprune.graph.survey import survey
from edgeprune.sparse.penalised import Penalised
from edgeprune.sparse.penalties import Blocks
from edgeprune.sparse.temporary_norms import Normed, with_norms, without_norms
from edgeprune.sparse.zeros import zero_channels
from tests.data_sets import splits
from tests.nets import Bottom, Signal


class Bare(nn.Module):
    """Layers of all kinds that can have a norm, and some that cannot."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.grouped = nn.Conv2d(12, 16, 3, padding=1, groups=4)
        self.unbiased = nn.Conv2d(16, 8, 1, bias=False)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.borrowed = nn.Conv2d(8, 8, 1)
        self.hidden = nn.Linear(8, 24)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        x = torch.tanh(self.depthwise(torch.relu(self.first(x))))
        x = torch.relu(self.unbiased(torch.sigmoid(self.grouped(x))))
        x = torch.relu(self.shared(torch.relu(self.shared(x))))
        x = functional.conv2d(x, self.borrowed.weight, self.borrowed.bias)
        return self.head(torch.relu(self.hidden(x.mean((2, 3)))))


NETWORKS = {
    "bare": (Bare, (3, 8, 8)),
    "some norms": (lambda: Bottom(8), (3, 8, 8)),
    "signal": (Signal, (2, 20)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_norms_come_and_go_without_a_change(name):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    model = make().double().eval()
    data = [(torch.randn(32, *shape).double(), torch.arange(32) % 4) for _ in range(3)]
    graph = survey(model, (torch.randn(2, *shape).double(),))
    normed, names = with_norms(model, graph, data)
    assert names
    assert sum(isinstance(item, Normed) for item in normed.modules()) == len(names)
    folded = without_norms(normed)
    x = torch.randn(8, *shape).double()
    with torch.no_grad():
        expected = model(x)
        for changed in (normed.eval(), folded.eval()):
            difference = (changed(x) - expected).abs().max() / expected.abs().max()
            assert float(difference) < 1e-9
    assert [n for n, _ in folded.named_parameters()] == [
        n for n, _ in model.named_parameters()
    ]


def test_folding_changes_nothing_after_training_either():
    torch.manual_seed(0)
    make, shape = NETWORKS["bare"]
    model = make().double().eval()
    data = [(torch.randn(32, *shape).double(), torch.arange(32) % 4)]
    graph = survey(model, (torch.randn(2, *shape).double(),))
    normed, _ = with_norms(model, graph, data)
    optimizer = torch.optim.SGD(normed.parameters(), lr=0.05, momentum=0.9)
    for _ in range(20):
        normed.train()
        optimizer.zero_grad()
        functional.cross_entropy(normed(data[0][0]), data[0][1]).backward()
        optimizer.step()
    x = torch.randn(8, *shape).double()
    normed.eval()
    with torch.no_grad():
        expected, found = normed(x), without_norms(normed).eval()(x)
        assert float((model(x) - expected).abs().max()) > 1e-3  # it has learnt
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-9


def test_layers_that_could_not_be_folded_are_left_alone():
    torch.manual_seed(0)
    model = Bare()
    graph = survey(model, (torch.randn(2, 3, 8, 8),))
    _, names = with_norms(model, graph, [(torch.randn(8, 3, 8, 8), torch.arange(8))])
    assert {"first", "hidden"} <= set(names)
    assert not {"unbiased", "borrowed", "head"} & set(names)
    bottom = Bottom(8)
    graph = survey(bottom, (torch.randn(2, 3, 8, 8),))
    _, names = with_norms(bottom, graph, [(torch.randn(8, 3, 8, 8), torch.arange(8))])
    assert names == ("second",)  # the other one has a norm already


def test_a_planted_dead_filter_is_the_first_to_go():
    """Its scale goes to zero, though it had no batch norm to begin with."""
    torch.manual_seed(0)
    model, _ = train(Bottom(8), splits(), TrainingConfig("base", 6))
    with torch.no_grad():  # what reads these channels does not look at them
        weight = model.head.weight.view(4, 16, 16)
        weight[:, [3, 7, 11]] = 1e-6 * torch.randn(4, 3, 16)
    graph = survey(model, (torch.randn(2, 3, 8, 8),))
    normed, _ = with_norms(model, graph, splits().calibration)
    channels = Channels(normed, survey(normed, (torch.randn(2, 3, 8, 8),)).groups)
    held = Penalised(Blocks(channels, channels.scales, even=False), 0.3)
    config = TrainingConfig("x", 8, learning_rate=0.01, constraint=held)
    trained = without_norms(train(normed, splits(), config)[0])
    plain = Channels(trained, graph.groups)
    zero = zero_channels(trained, plain)[plain.of_group(graph.group("second"))]
    assert {3, 7, 11} <= set(torch.nonzero(zero).flatten().tolist())
