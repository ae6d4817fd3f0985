"""The table of operators: every rule has a network here that it must treat exactly.

Each case is a function between two weighted layers, from (input of 8 channels) to
whatever a last linear layer reads. What it must leave of the 8 channels is said; that
they go exactly is checked in float64 against the original with consumers at zero.
"""

import pytest
import torch
import torch.nn.functional as F
import torchvision  # noqa: F401  registers its operators

from edgeprune.graph.operators import OPERATORS
from edgeprune.graph.rules import operator_name
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import trace
from tests.graph.between import Between, pooled
from tests.reference import random_plan, relative_difference, zero_consumers

EXACT = 1e-11


def column(vector):
    return vector[:, None, None]


# name: (function, channels that the head reads, channels that can go, spans)
CASES = {
    "cat": (lambda x: torch.cat([x, x.relu()], 1), 16, 8, 1),
    "stack": (lambda x: torch.stack([x, x.relu()], 2).sum(2), 8, 8, 1),
    "stack-interleaved": (lambda x: torch.stack([x, -x], 2).flatten(1, 2), 16, 8, 1),
    "chunk": (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), 8, 4, 2),
    "split": (lambda x: torch.mul(*x.split(x.shape[1] // 2, 1)), 4, 4, 2),
    "split_with_sizes": (lambda x: x.split([x.size(1) // 2] * 2, 1)[1], 4, 4, 2),
    "tensor_split": (lambda x: x.tensor_split(2, 1)[0], 4, 4, 2),
    "glu": (lambda x: F.glu(x, 1), 4, 4, 2),
    "slice": (lambda x: x[:, : x.shape[1] // 2], 4, 4, 2),
    "slice-of-space": (lambda x: x[:, :, ::2, 1:], 8, 8, 1),
    "narrow": (lambda x: x.narrow(2, 1, 3), 8, 8, 1),
    "select": (lambda x: x[:, :, 0], 8, 8, 1),
    "unbind": (lambda x: sum(x.unbind(2)), 8, 8, 1),
    "index": (lambda x: x[:, :, torch.tensor([0, 2])], 8, 8, 1),
    "index-apart": (
        lambda x: x[torch.tensor([0, 1]), :, torch.tensor([0, 2])],
        8,
        8,
        1,
    ),
    "index-by-mask": (
        lambda x: x.permute(2, 3, 0, 1)[torch.eye(8, dtype=torch.bool)].mean(0),
        8,
        8,
        1,
    ),
    "index_select": (lambda x: x.index_select(3, torch.tensor([1, 1])), 8, 8, 1),
    "index_put": (
        lambda x: torch.zeros(x.shape, dtype=x.dtype).index_put(
            (torch.tensor([0, 1]),), x
        ),
        8,
        8,
        1,
    ),
    "repeat": (lambda x: x.repeat(1, 2, 1, 1), 16, 8, 1),
    "repeat-of-space": (lambda x: x.repeat(1, 1, 2, 1), 8, 8, 1),
    "tile": (lambda x: x.tile((2, 1)), 8, 8, 1),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, 1), 24, 8, 1),
    "pad": (lambda x: F.pad(x, (1, 1)), 8, 8, 1),
    "pad-of-channels": (lambda x: F.pad(x, (0, 0, 0, 0, 2, 3)), 13, 8, 1),
    "reflection_pad2d": (lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect"), 8, 8, 1),
    "view": (lambda x: x.view(x.size(0), x.size(1), -1), 8, 8, 1),
    "reshape": (lambda x: x.reshape(*x.shape[:2], -1), 8, 8, 1),
    "flatten": (lambda x: F.adaptive_avg_pool2d(x, 2).flatten(1), 32, 8, 1),
    "unflatten": (lambda x: x.unflatten(2, (2, 4)).sum(2), 8, 8, 1),
    "squeeze": (lambda x: F.adaptive_max_pool2d(x, 1).squeeze(-1), 8, 8, 1),
    "permute": (lambda x: x.permute(0, 2, 3, 1).mean((1, 2)), 8, 8, 1),
    "transpose": (lambda x: x.flatten(2).transpose(1, 2).mean(1), 8, 8, 1),
    "swapaxes": (lambda x: x.flatten(2).swapaxes(1, 2).mean(1), 8, 8, 1),
    "t": (lambda x: pooled(x).t().contiguous().t(), 8, 8, 1),
    "mT": (lambda x: x.flatten(2).mT.mean(1), 8, 8, 1),
    "movedim": (lambda x: x.movedim(1, -1).mean((1, 2)), 8, 8, 1),
    "expand": (lambda x: x.mean(2, keepdim=True).expand_as(x), 8, 8, 1),
    "expand-by-size": (
        lambda x: x.mean(3, keepdim=True).expand(-1, x.shape[1], -1, 5),
        8,
        8,
        1,
    ),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), 2, 2, 4),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), 32, 8, 1),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), 8, 4, 2),
    "im2col": (lambda x: F.unfold(x, 2), 32, 8, 1),
    "col2im": (lambda x: F.fold(x.flatten(2), (9, 9), 2, stride=1)[..., :8], 2, 2, 4),
    "unfold": (lambda x: x.unfold(2, 3, 1).mean(-1), 8, 8, 1),
    "roll": (lambda x: x.roll(1, 2), 8, 8, 1),
    "flip": (lambda x: x.flip(3), 8, 8, 1),
    "cumsum": (lambda x: x.cumsum(2), 8, 8, 1),
    "sort": (lambda x: x.sort(2)[0][:, :, 2:], 8, 8, 1),
    "topk": (lambda x: x.flatten(2).topk(3, -1)[0], 8, 8, 1),
    "mean": (lambda x: x.mean(2), 8, 8, 1),
    "max": (lambda x: x.max(2)[0], 8, 8, 1),
    "max-of-two": (lambda x: torch.max(x, x.flip(2)), 8, 8, 1),
    "result_type": (lambda x: x.to(torch.result_type(x, 1.0)), 8, 8, 1),
    "argmax": (lambda x: x * x.argmax(2, keepdim=True), 8, 8, 1),
    "softmax": (lambda x: x.flatten(2).softmax(-1), 8, 8, 1),
    "norm": (lambda x: F.normalize(x, dim=2), 8, 8, 1),
    "var_mean": (lambda x: torch.var_mean(x, 2)[0], 8, 8, 1),
    "matmul": (lambda x: x.flatten(2) @ torch.ones(64, 3, dtype=x.dtype), 8, 8, 1),
    "bmm": (lambda x: torch.bmm(x.flatten(2), x.new_ones(2, 64, 3)), 8, 8, 1),
    "mm": (
        lambda x: pooled(x).mm(torch.eye(pooled(x).shape[1], dtype=x.dtype)),
        8,
        0,
        1,
    ),
    "addmm": (
        lambda x: torch.addmm(pooled(x), torch.ones(2, 2, dtype=x.dtype), pooled(x)),
        8,
        8,
        1,
    ),
    "einsum": (lambda x: torch.einsum("bchw->bhc", x).mean(1), 8, 8, 1),
    "upsample_nearest2d": (lambda x: F.interpolate(x, scale_factor=2), 8, 8, 1),
    "upsample_bilinear2d": (
        lambda x: F.interpolate(x, (5, 7), mode="bilinear"),
        8,
        8,
        1,
    ),
    "max_pool2d_with_indices": (
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        8,
        8,
        1,
    ),
    "grid_sampler": (
        lambda x: F.grid_sample(
            x, torch.zeros(2, 4, 4, 2, dtype=x.dtype), align_corners=False
        ),
        8,
        8,
        1,
    ),
    "where": (lambda x: torch.where(x > 0, x, x * 0.1), 8, 8, 1),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0.0), 8, 8, 1),
    "clamp": (lambda x: x.clamp(-0.3, 0.4), 8, 8, 1),
    "zeros": (
        lambda x: torch.cat([x, torch.zeros(2, 4, 8, 8, dtype=x.dtype)], 1),
        12,
        8,
        1,
    ),
    "new_zeros-of-a-length": (lambda x: x + x.new_zeros(x.shape[1], 1, 1), 8, 8, 1),
    "full-of-a-length": (
        lambda x: x * torch.full((x.size(1), 1, 1), 0.5, dtype=x.dtype),
        8,
        8,
        1,
    ),
}

VECTORS = {
    "prelu": lambda x, a: F.prelu(x, a),
    "batch_norm": lambda x, a, b: F.batch_norm(x, a * 0.1, b, a, b),
    "instance_norm": lambda x, a, b: F.instance_norm(x, weight=a, bias=b),
    "addcmul": lambda x, a, b: torch.addcmul(x, column(a), column(b)),
    "lerp": lambda x, a, b: torch.lerp(x, column(a).expand_as(x), column(b)),
    "mul": lambda x, a: x * column(a),
}

# Rules that a network of the other tests needs: where it is.
ELSEWHERE = {
    "_assert_tensor_metadata": "detection networks: a check without a result",
    "conv1d": "user networks: signal",
    "conv2d": "random networks",
    "conv3d": "user networks: volume",
    "conv_transpose1d": "user networks: signal",
    "conv_transpose2d": "user networks: unet",
    "linear": "random networks",
    "layer_norm": "user networks: norms",
    "group_norm": "user networks: norms",
    "_weight_norm": "user networks: signal",
    "renorm": "held state: a weight that is set",
    "scaled_dot_product_attention": "user networks: heads",
    "lstm": "user networks: recurrent",
    "embedding": "user networks: embedded",
    "deform_conv2d": "user networks: embedded",
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_keeps_what_it_can_and_is_exact(name):
    function, reads, size, spans = CASES[name]
    check(Between(function, reads), size, spans)


@pytest.mark.parametrize("name", VECTORS)
def test_a_rule_with_vectors_takes_them_along(name):
    function = VECTORS[name]
    count = function.__code__.co_argcount - 1
    check(Between(function, 8, vectors=count), 8, 1)


def check(model, size, spans):
    torch.manual_seed(0)
    model = model.double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    graph = survey(model, (x,))
    found = [(group.size, group.granularity) for group in graph.groups]
    assert found == ([(size, spans)] if size else [])
    if not size:
        return
    assert not graph.groups[0].approximate
    plan = random_plan(graph, 0)
    with torch.no_grad():
        found = apply(model, graph, plan)(x)
        expected = zero_consumers(model, graph, plan)(x)
        assert relative_difference(found, expected) < EXACT
        assert relative_difference(found, model(x)) > 1e-6


NEAR = {
    "mean": lambda x: x - x.mean(1, keepdim=True),
    "amax": lambda x: x - x.amax(1, keepdim=True),
    "norm": lambda x: F.normalize(x, dim=1),
    "softmax": lambda x: x.softmax(1),
    "layer_norm": lambda x: F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1),
    "local_response_norm": lambda x: x / x.pow(2).sum(1, keepdim=True).sqrt(),
    "batch_norm of the transposed": lambda x: F.batch_norm(
        x.transpose(1, 2), None, None, training=True
    ).transpose(1, 2),
}


@pytest.mark.parametrize("name", NEAR)
def test_channels_that_others_are_reckoned_with_are_marked(name):
    model = Between(NEAR[name], 8).eval()
    x = torch.randn(2, 3, 8, 8)
    (group,) = survey(model, (x,)).groups
    assert group.size == 8
    assert "test_rules.py" in group.approximate
    pruned = apply(model, survey(model, (x,)), random_plan(survey(model, (x,)), 0))
    assert pruned(x).shape == (2, 5)


COUNTED = {
    "by a power": lambda x: x * x.shape[1] ** -0.5,
    "by a tensor": lambda x: x / torch.sqrt(torch.tensor(x.shape[1])),
    "by a mean of its own": lambda x: x + (x.sum((2, 3), keepdim=True) / x.size(1)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_channels_whose_number_is_reckoned_with_are_marked(name):
    model = Between(COUNTED[name], 8).eval()
    (group,) = survey(model, (torch.randn(2, 3, 8, 8),)).groups
    assert "their number is reckoned with at test_rules.py" in group.approximate


STUCK = {
    "argmax of channels": (lambda x: x * x.argmax(1, keepdim=True), "argmax"),
    "cumsum of channels": (lambda x: x.cumsum(1), "cumsum"),
    "flip of channels": (lambda x: x.flip(1), "flip"),
    "channels by number": (
        lambda x: x[:, torch.tensor([0, 3])].repeat(1, 4, 1, 1),
        "number",
    ),
    "an unequal cut": (lambda x: torch.cat([x[:, :3].relu(), x[:, 3:]], 1), "unequal"),
    "a cut by number": (lambda x: x.split(4, 1)[0].repeat(1, 2, 1, 1), "does not run"),
    "fft": (lambda x: torch.fft.fft(x, dim=1).abs(), "fft"),
    "a fixed operand": (lambda x: x * torch.arange(8.0)[:, None, None], "fixed size 8"),
    "one channel for all": (lambda x: x[:, 2:3].expand(-1, 8, -1, -1), "unequal"),
}


@pytest.mark.parametrize("name", STUCK)
def test_what_cannot_be_followed_is_frozen_with_its_line(name):
    function, reason = STUCK[name]
    graph = survey(Between(function, 8).eval(), (torch.randn(2, 3, 8, 8),))
    assert not graph.groups
    told = {item.name: item.reason for item in graph.refusals}["conv"]
    assert reason in told
    assert "test_rules.py:" in told or "between.py:" in told


def test_every_rule_has_a_test():
    """Each rule of the table is that of an operator that a case here calls."""
    tested = {OPERATORS[name].rule for name in ELSEWHERE}
    x = torch.randn(2, 3, 8, 8)
    models = [Between(function, reads) for function, reads, _, _ in CASES.values()]
    models += [
        Between(function, 8, vectors=function.__code__.co_argcount - 1)
        for function in VECTORS.values()
    ]
    for model in models:
        for node in trace(model.eval(), (x,)).nodes:
            if node.op == "call_function" and operator_name(node) in OPERATORS:
                tested.add(OPERATORS[operator_name(node)].rule)
    assert not {name for name, row in OPERATORS.items() if row.rule not in tested}


def test_the_table_lists_operators_that_exist():
    listed = torch._C._dispatch_get_all_op_names()  # torchvision's among them
    known = {name.split("::")[1].split(".")[0].rstrip("_") for name in listed}
    assert {name for name in OPERATORS if name.rstrip("_") not in known} == set()
