"""What reconstruction brings back, whatever channels are wired to."""

import copy

import pytest
import torch
from torch import nn

from edgeprune.graph.stepwise import StepwiseInterpreter, peak_bytes, trace_batch
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import state_of
from edgeprune.prune.growth import widened
from edgeprune.prune.low_rank import factored
from edgeprune.reconstruct.fitting import Fitting, Reference, reconstruct
from edgeprune.records import Plan, Surgery
from tests.nets import Bottom, CifarResNet
from tests.prepared import difference, lively, prepared, some_copies
from tests.user_nets import NETWORKS

EXACTLY = Fitting(ridge=1e-14, rows=10**6)


def batches(x, size=16):
    """As data come, with labels that nobody should look at."""
    return [(part, torch.full((len(part),), -1)) for part in x.split(size)]


def half(graph, seed=0):
    """Half of the channels of every group, drawn."""
    generator = torch.Generator().manual_seed(seed)
    return Plan(
        {
            group.name: group.best(
                torch.rand(group.size, generator=generator), max(1, group.size // 2)
            )
            for group in graph.groups
        }
    )


def without_copies(model, x, names=None):
    """A network with copied channels, and it without them: no information is lost."""
    graph = survey(model, (x[:2],))
    copies = some_copies(graph, names)
    wide = apply(model, graph, Plan({}, copies=copies))
    first: dict[str, tuple[int, ...]] = {}
    for name, extra in copies.items():
        first[name] = tuple(
            channel + sum(item < channel for item in extra)
            for channel in range(graph.group(name).size)
        )
    wide_graph = survey(wide, (x[:2],))
    plan = Plan(first)
    return wide, apply(wide, wide_graph, plan), plan_surgery(wide, wide_graph, plan)


class PreAct(nn.Module):
    """Norms in front of what they are for, sums without norms, a concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv1 = nn.Conv2d(16, 24, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(24)
        self.conv2 = nn.Conv2d(24, 16, 3, padding=1, bias=False)
        self.more = nn.Conv2d(16, 8, 1)
        self.norm3 = nn.BatchNorm2d(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.conv1(self.norm1(x).relu())
        x = x + self.conv2(self.norm2(y).relu())
        x = torch.cat([x, self.more(x)], 1)
        return self.head(self.norm3(x).relu().mean((2, 3)))


def torchvisions(name):
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.get_model(name, weights=None, num_classes=10)


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (lambda: CifarResNet(2), 24),
        (PreAct, 24),
        (lambda: torchvisions("mobilenet_v2"), 64),  # its last maps are 2x2
        (lambda: torchvisions("shufflenet_v2_x0_5"), 64),
        (lambda: torchvisions("squeezenet1_1"), 48),
    ],
)
def test_what_copies_did_is_done_by_what_is_left(make, side):
    model = lively(make())
    x = torch.randn(48, 3, side, side).double()
    wide, pruned, surgery = without_copies(model, x)
    assert difference(wide, pruned, x) > 1e-2
    found = reconstruct(wide, pruned, surgery, batches(x), EXACTLY)
    assert difference(wide, found.model, x) < 1e-3


def test_one_after_another_is_as_each_by_itself():
    """Blocks that go change what a layer before them is held against."""
    model, x = lively(CifarResNet(2)), torch.randn(32, 3, 16, 16).double()
    graph, how = survey(model, (x[:2],)), Fitting(rows=2000)
    plans = [
        half(graph),
        Plan({}, ("layer1.1", "layer2.1")),
        Plan(half(graph, seed=1).kept),
        Plan({"layer1.0.conv1": (0, 1)}, ("layer1.1",)),
    ]
    reference = Reference(model, batches(x), how)
    for plan in plans:
        pruned, surgery = apply(model, graph, plan), plan_surgery(model, graph, plan)
        found = reference.fitted(pruned, surgery)
        alone = reconstruct(model, pruned, surgery, batches(x), how)
        assert found.layers == alone.layers
        for name, value in alone.model.state_dict().items():
            assert torch.equal(value, found.model.state_dict()[name])


# What reads the channels is a product of two results, a transposed convolution, a
# recurrent layer, or a layer that is used twice: it stays as it is.
PARTLY = {"shared", "functional", "unet", "einsum", "signal", "recurrent", "gru"}
SEVERAL_INPUTS = {"reused", "dicts"}


@pytest.mark.parametrize("name", sorted({*NETWORKS} - SEVERAL_INPUTS))
def test_users_networks_too(name):
    model, inputs, _, _ = prepared(name)
    x = torch.randn(64, *inputs[0].shape[1:]).double()
    _, able = widened(model, survey(model, inputs))
    wide, pruned, surgery = without_copies(model, x, {*able})
    found = reconstruct(wide, pruned, surgery, batches(x), EXACTLY)
    before = difference(wide, pruned, x)
    assert before > 1e-2 or not able
    allowed = before if name in PARTLY else 1e-9
    assert difference(wide, found.model, x) < allowed


def error(model, other, x):
    """Of the outputs, in squares."""
    with torch.no_grad():
        return float(((model(x) - other(x)) ** 2).mean())


def learnt(model, x):
    """With norms that have seen data, as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.momentum = None
    model.train()
    with torch.no_grad():
        model(x)
    return model.eval()


@pytest.mark.parametrize("make", [lambda: CifarResNet(2), PreAct, lambda: Bottom(16)])
def test_unseen_data_gain_by_it_too(make):
    torch.manual_seed(0)
    images = nn.functional.interpolate(torch.randn(384, 3, 4, 4), scale_factor=4.0)
    x, unseen = images[:256], images[256:]
    model = learnt(make(), x)
    graph = survey(model, (x[:2],))
    plan = half(graph)
    pruned = apply(model, graph, plan)
    found = reconstruct(
        model, pruned, plan_surgery(model, graph, plan), batches(x), Fitting()
    )
    assert error(model, found.model, unseen) < 0.5 * error(model, pruned, unseen)


def test_where_nothing_goes_nothing_changes():
    torch.manual_seed(0)
    x = torch.randn(64, 3, 16, 16)
    model = learnt(CifarResNet(1), x)
    found = reconstruct(model, model, Surgery(), batches(x), Fitting())
    assert difference(model, found.model, x) < 1e-4
    assert found.samples == 64


def test_a_residual_layer_makes_up_for_the_way_around_it():
    """The sum comes out right, though one of its terms is wrong."""
    torch.manual_seed(0)
    x = torch.randn(128, 3, 8, 8)
    model = learnt(PreAct(), x)
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.stem.weight.add_(0.1 * torch.randn_like(broken.stem.weight))
    found = reconstruct(model, broken, Surgery(), batches(x), Fitting())
    with torch.no_grad():
        assert error(model, found.model, x) < 0.01 * error(model, broken, x)


def test_blocks_that_are_left_out_are_made_up_for():
    torch.manual_seed(0)
    images = nn.functional.interpolate(torch.randn(256, 3, 4, 4), scale_factor=4.0)
    model = learnt(CifarResNet(3), images)
    graph = survey(model, (images[:2],))
    plan = Plan({}, graph.blocks[:2])
    pruned = apply(model, graph, plan)
    surgery = plan_surgery(model, graph, plan)
    found = reconstruct(model, pruned, surgery, batches(images), Fitting())
    assert error(model, found.model, images) < 0.5 * error(model, pruned, images)


def test_the_last_part_of_a_factored_layer_is_fitted():
    torch.manual_seed(0)
    x = nn.functional.interpolate(torch.randn(128, 3, 4, 4), scale_factor=4.0)
    model = learnt(CifarResNet(1), x)
    layers = tuple(n for n, m in model.named_modules() if n.endswith("conv2"))[1:]
    whole = factored(model, layers)
    graph = survey(whole, (x[:2],))
    ranks = {
        group.name: tuple(range(group.size // 4))
        for group in graph.groups
        if group.name.endswith((".first", ".core"))
    }
    assert ranks
    plan = Plan(ranks)
    cut = apply(whole, graph, plan)
    surgery = Surgery(factored=layers).then(plan_surgery(whole, graph, plan))
    found = reconstruct(model, cut, surgery, batches(x), Fitting())
    assert error(model, found.model, x) < 0.7 * error(model, cut, x)


def test_labels_are_not_looked_at_and_fewer_samples_than_a_batch_do():
    torch.manual_seed(0)
    x = torch.randn(5, 3, 16, 16)
    model = learnt(CifarResNet(1), torch.randn(64, 3, 16, 16))
    graph = survey(model, (x[:2],))
    plan = half(graph)
    surgery = plan_surgery(model, graph, plan)
    found = reconstruct(
        model, apply(model, graph, plan), surgery, batches(x), Fitting()
    )
    assert found.samples == 5


def test_models_are_left_as_they_were():
    torch.manual_seed(0)
    x = torch.randn(32, 3, 16, 16)
    model = learnt(CifarResNet(1), x)
    graph = survey(model, (x[:2],))
    plan = half(graph)
    pruned = apply(model, graph, plan).train()
    before = copy.deepcopy([model.state_dict(), pruned.state_dict()])
    reconstruct(model, pruned, plan_surgery(model, graph, plan), batches(x), Fitting())
    for held, now in zip(before, (model, pruned), strict=True):
        for name, value in now.state_dict().items():
            assert torch.equal(held[name], value), name
    assert pruned.training
    assert not model.training


def test_a_run_in_steps_is_the_run():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.scale = [torch.rand(8, 1, 1)]  # no buffer

        def forward(self, x):
            x = self.conv(x) * self.scale[0] + torch.arange(6.0)
            return x.relu_().view(len(x), -1)

    torch.manual_seed(0)
    model, x = Odd().eval(), torch.randn(4, 3, 8, 8)
    traced = trace_batch(model, x)
    parts = [torch.randn(4, 3, 8, 8) for _ in range(3)]
    run = StepwiseInterpreter(traced, state_of(model), parts)
    last = next(node for node in traced.nodes if node.op == "output")
    run.up_to(last)
    for number, part in enumerate(parts):
        found = run.value(last.all_input_nodes[0], number)
        torch.testing.assert_close(found, model(part))
    assert peak_bytes(traced) >= 4 * 8 * 6 * 6 * 4
