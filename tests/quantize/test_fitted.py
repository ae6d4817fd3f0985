"""Layers fitted to the float network, and the forms of int8 that need it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from edgeprune import targets
from edgeprune.errors import EdgepruneError
from edgeprune.export.session import OnnxModel
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.quantize.form import Int8Form
from edgeprune.quantize.patches import Window, outputs_at, some_places
from edgeprune.quantize.quantize import FloatNetwork, quantize
from edgeprune.quantize.rounding import Wanted, fitted, nearest, rounded, steps_for

SHIFTS = Int8Form(signed=True, per_tensor=True, powers_of_two=True)
COARSE = 7  # levels: of so few, rounding shows


class Uneven(nn.Module):
    """Channels whose weights differ by a hundred times, as folded norms leave them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.mixed = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            factors = torch.logspace(-1.5, 1.5, 16)
            self.first.weight.mul_(factors[:, None, None, None])
            self.deep.weight.div_(factors[:, None, None, None])
            self.deep.weight.mul_(factors.flip(0)[:, None, None, None])
            self.mixed.weight.div_(factors.flip(0)[None, :, None, None])

    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.relu(self.deep(x))
        return self.head(F.relu(self.mixed(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def samples():
    torch.manual_seed(0)
    return torch.randn(160, 3, 12, 12)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, samples):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("fitted") / "plain.onnx"
    write_onnx(Uneven().eval(), (samples[:1],), path)
    return path


def network(plain, samples, folder):
    return FloatNetwork.of(plain, [(samples[:128], samples[:128])], 128, folder)


def error(plain, other, x):
    whole = OnnxModel(plain)(x)
    return float((OnnxModel(other)(x) - whole).norm() / whole.norm())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1), 1),
        ((3, 2), (2, 1), (0, 1), (1, 2), 2),
        ((1, 1), (2, 2), (0, 0), (1, 1), 4),
        ((5,), (2,), (2,), (1,), 4),
        ((2, 3, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2), 1),
    ],
)
def test_patches_times_weights_are_the_convolution(
    kernel, stride, padding, dilation, groups
):
    torch.manual_seed(0)
    axes = len(kernel)
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    layer = kind(4, 8, kernel, stride, padding, dilation, groups, bias=False)
    x = torch.randn(2, 4, *(9,) * axes)
    with torch.no_grad():
        made = layer(x).numpy()
    node = onnx.helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        group=groups,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
    )
    window = Window.of(node, layer.weight.shape)
    places = some_places(made.shape, 20, 0, behind=False)
    weights = layer.weight.detach().numpy().reshape(groups, 8 // groups, -1)
    found = window.inputs(x.numpy(), places) @ weights.transpose(0, 2, 1)
    wanted = outputs_at(made, places, behind=False)
    np.testing.assert_allclose(
        found.transpose(1, 0, 2).reshape(len(wanted), -1), wanted, atol=1e-5
    )


@pytest.mark.parametrize("way", ["SAME_UPPER", "SAME_LOWER"])
def test_padding_that_keeps_the_size_is_that_of_the_runtime(way, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2, 7, 8)).astype(np.float32)
    weight = rng.standard_normal((3, 2, 4, 3)).astype(np.float32)
    node = onnx.helper.make_node(
        "Conv", ["x", "w"], ["y"], auto_pad=way, strides=[2, 2]
    )
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "same",
        [info("x", 1, x.shape)],
        [info("y", 1, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    )
    onnx.save(proto, tmp_path / "same.onnx")
    made = OnnxModel(tmp_path / "same.onnx")(torch.from_numpy(x)).numpy()
    places = some_places(made.shape, 100, 0, behind=False)
    found = Window.of(node, weight.shape).inputs(x, places)[0]
    wanted = outputs_at(made, places, behind=False)
    np.testing.assert_allclose(found @ weight.reshape(3, -1).T, wanted, atol=1e-5)


def together(rng, count, width):
    """Inputs that go together, as channels of a map do."""
    return rng.standard_normal((count, 4)) @ rng.standard_normal(
        (4, width)
    ) + 0.1 * rng.standard_normal((count, width))


def test_rounding_for_outputs_beats_the_nearest_integers():
    rng = np.random.default_rng(0)
    x = together(rng, 500, 100)
    weights = rng.standard_normal((1, 8, 100))
    gram = (x.T @ x + np.eye(100))[None]
    steps = np.abs(weights).max(2, keepdims=True) / COARSE

    def miss(whole):
        return float(np.square(x @ (whole * steps - weights)[0].T).sum())

    found = rounded(weights, gram, steps, COARSE)
    assert miss(found) < 0.25 * miss(nearest(weights, steps, COARSE))
    assert np.array_equal(found, np.rint(found))
    assert np.abs(found).max() <= COARSE


def test_inputs_that_have_nothing_in_common_leave_the_nearest_integers():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((2, 3, 70))
    gram = np.stack([np.diag(rng.uniform(1, 2, 70))] * 2)
    steps = np.full((2, 3, 1), 0.1)
    found = rounded(weights, gram, steps, 127)
    assert np.array_equal(found, nearest(weights, steps, 127))


def test_a_layer_takes_up_what_its_inputs_are_off():
    rng = np.random.default_rng(0)
    right = together(rng, 800, 12)
    wrong = 1.2 * right + 0.3  # what the layers before it made of it
    weights = rng.standard_normal((1, 5, 12))
    outputs = right @ weights[0].T + 1
    wanted = Wanted(wrong[None], outputs[None], unit=0.01)
    found = fitted(weights, wanted, Int8Form())
    assert wanted.error(found) < 1e-3 * float(np.square(outputs).sum())


def test_steps_are_shared_and_powers_of_two_where_a_form_says_so():
    weights = np.random.default_rng(0).standard_normal((1, 6, 20))
    squares = np.ones((1, 20))
    each = steps_for(weights, squares, Int8Form())
    one = steps_for(weights, squares, Int8Form(per_tensor=True))
    shifts = steps_for(weights, squares, SHIFTS)
    assert len(np.unique(each)) == 6
    assert len(np.unique(one)) == len(np.unique(shifts)) == 1
    assert np.log2(shifts[0, 0, 0]) % 1 == 0


def test_a_network_of_powers_of_two_is_saved_by_fitting(plain, samples, tmp_path):
    net = network(plain, samples, tmp_path)
    as_it_is = net.delivered(SHIFTS, net.best(SHIFTS))
    onnx.save(as_it_is, tmp_path / "static.onnx")
    quantize(plain, tmp_path / "fitted.onnx", [(samples, samples)], form=SHIFTS)
    unseen = samples[128:]
    before = error(plain, tmp_path / "static.onnx", unseen)
    after = error(plain, tmp_path / "fitted.onnx", unseen)
    assert after < before / 2
    scales = scales_of(tmp_path / "fitted.onnx")
    assert all(np.log2(value) % 1 == 0 for value in scales)


def scales_of(path):
    """The steps of weights, activations and biases."""
    proto = onnx.load(path)
    held = {item.name: numpy_helper.to_array(item) for item in proto.graph.initializer}
    nodes = [
        node
        for node in proto.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    assert nodes
    zeros = [held[node.input[2]] for node in nodes if len(node.input) > 2]
    assert not any(value.any() for value in zeros)
    return np.concatenate([held[node.input[1]].reshape(-1) for node in nodes])


def test_what_does_well_as_it_is_stays_as_it_is(plain, samples, tmp_path):
    net = network(plain, samples, tmp_path)
    form = Int8Form()
    proto = net.quantized(form, net.best(form))
    assert net.error(proto) < 0.1
    assert net.improved(proto, form) is proto


def test_powers_of_two_have_no_zero_point(tmp_path):
    text = '[runtime]\nint8_activations = "unsigned"\nint8_steps = "power_of_two"\n'
    path = tmp_path / "odd.toml"
    path.write_text('base = "host"\n' + text)
    with pytest.raises(EdgepruneError, match="power_of_two takes signed"):
        targets.load(str(path))


def test_a_target_says_what_shares_a_step(tmp_path, plain, samples):
    from edgeprune.devices.runner import runner_for
    from edgeprune.quantize.form import form_for

    path = tmp_path / "shifts.toml"
    path.write_text('base = "host"\n[runtime]\nint8_steps = "power_of_two"\n')
    form = form_for(runner_for(targets.load(str(path))))
    assert (form.signed, form.per_tensor, form.powers_of_two) == (True, True, True)
