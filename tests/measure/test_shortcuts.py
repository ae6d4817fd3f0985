"""Shortcuts without parameters as convolutions: which are, and that nothing changes."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional

from edgeprune.export.session import OnnxModel
from edgeprune.measure.onnx_file import weights_of_nodes, write_onnx
from edgeprune.measure.shortcuts import write_shortcuts_as_conv

FILL = (0, 0, 0, 0)  # nothing along width and height


def zeros(x, count):
    return torch.zeros(len(x), count, *x.shape[2:])


SHORTCUTS = {
    "a quarter on each side": lambda x: functional.pad(
        x[:, :, ::2, ::2], (*FILL, 4, 4)
    ),
    "behind": lambda x: functional.pad(x[..., ::2, ::2], (*FILL, 0, 8)),
    "along one side": lambda x: functional.pad(
        x[:, :, :, ::2][:, :, : (x.shape[2] + 1) // 2], (*FILL, 8, 0)
    ),
    "sliced twice": lambda x: functional.pad(
        functional.interpolate(x, scale_factor=2)[:, :, ::2, ::2][:, :, ::2, ::2],
        (*FILL, 4, 4),
    ),
    "pooled": lambda x: functional.pad(
        functional.avg_pool2d(x, 2, ceil_mode=True), (*FILL, 2, 6)
    ),
    "joined": lambda x: torch.cat([zeros(x, 3), x, zeros(x, 5)], 1)[:, :, ::2, ::2],
    "joined after": lambda x: torch.cat(
        [x[:, :, ::2, ::2], zeros(x, 8)[..., ::2, ::2]], 1
    ),
}
OTHERS = {
    "a border, too": lambda x: functional.pad(x[:, :, ::2, ::2], (1, 0, 0, 0, 4, 4))[
        ..., 1:
    ],
    "ones": lambda x: functional.pad(x[:, :, ::2, ::2], (*FILL, 4, 4), value=1.0),
    "no zeros": lambda x: torch.cat([x[:, :, ::2, ::2]] * 2, 1),
    "joined to ones": lambda x: torch.cat([x, zeros(x, 8) + 1], 1)[:, :, ::2, ::2],
    "fewer channels": lambda x: functional.pad(x[:, :, ::2, ::2], (*FILL, 9, -1)),
    "doubles": lambda x: functional.pad(x.double()[..., ::2, ::2], (*FILL, 4, 4)),
    "reflected": lambda x: torch.cat(
        [functional.pad(x, (1, 1, 1, 1), mode="reflect")[:, :, 1:-1:2, 1:-1:2]] * 2, 1
    ),
}


class Stage(nn.Module):
    """The beginning of a stage, with a shortcut."""

    def __init__(self, shortcut, *, reads=False):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.shortcut, self.reads = shortcut, reads

    def forward(self, x):
        x = self.stem(x).relu()
        found = (self.conv(x) + self.shortcut(x)).relu().mean((2, 3))
        if self.reads:
            found = found + x[:, :, ::2, ::2].mean((1, 2, 3))[:, None]
        return found


def written(tmp_path, model, side, *, dynamic_batch=False):
    """The plain file, the other one, and how many shortcuts were convolved."""
    plain, other = tmp_path / "plain.onnx", tmp_path / "other.onnx"
    x = torch.randn(2, 3, side, side)
    write_onnx(model.eval(), (x,), plain, dynamic_batch=dynamic_batch)
    return plain, other, write_shortcuts_as_conv(plain, other)


def operators(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_without_parameters_becomes_a_convolution(tmp_path, name):
    side = 15  # odd: the last position is taken, too
    plain, other, count = written(tmp_path, Stage(SHORTCUTS[name]), side)
    assert count == 1
    before, after = operators(plain), operators(other)
    assert after["Conv"] == before["Conv"] + 1
    assert after["Pad"] == after["Concat"] == 0
    x = torch.randn(4, 3, side, side)
    torch.testing.assert_close(
        OnnxModel(other)(x), OnnxModel(plain)(x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_another_map_stays_as_it_is(tmp_path, name):
    _, other, count = written(tmp_path, Stage(OTHERS[name]), 16)
    assert count == 0
    assert not other.exists()


SLICED = {
    "from the second on": lambda x: x[:, :, 1::2, 1::2],
    "up to the middle": lambda x: x[:, :, :8, :8],
    "channels, too": lambda x: torch.cat([x, x], 1)[:, ::2, ::2, ::2],
    "channels from the second on": lambda x: torch.cat([x, x], 1)[:, 8:, ::2, ::2],
}


@pytest.mark.parametrize("name", SLICED)
def test_what_is_sliced_otherwise_is_only_filled_up(tmp_path, name):
    def shortcut(x):
        return functional.pad(SLICED[name](x), (*FILL, 4, 4))

    plain, other, count = written(tmp_path, Stage(shortcut), 16)
    assert count == 1
    assert operators(other)["Slice"] >= 1
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(
        OnnxModel(other)(x), OnnxModel(plain)(x), rtol=1e-5, atol=1e-6
    )


class Alone(nn.Module):
    """A shortcut and nothing else."""

    def __init__(self, shortcut):
        super().__init__()
        self.shortcut = shortcut

    def forward(self, x):
        return self.shortcut(x)


@pytest.mark.parametrize("last", [3, -1])
def test_samples_that_are_left_out_of_an_open_batch_stay_out(tmp_path, last):
    def shortcut(x):
        return functional.pad(x[:last, :, ::2, ::2], (*FILL, 4, 4))

    plain, other = tmp_path / "plain.onnx", tmp_path / "other.onnx"
    x = torch.randn(5, 8, 6, 6)
    write_onnx(Alone(shortcut).eval(), (x,), plain, dynamic_batch=True)
    write_shortcuts_as_conv(plain, other)
    found = OnnxModel(other)(x)
    torch.testing.assert_close(found, OnnxModel(plain)(x))
    assert len(found) == len(x[:last])


def test_a_file_with_branches_stays_as_it_is(tmp_path):
    """They read values that no list of inputs names."""
    shortcut = SHORTCUTS["a quarter on each side"]
    plain, other, _ = written(tmp_path, Stage(shortcut), 16)
    proto = onnx.load(plain)
    sliced = next(node for node in proto.graph.node if node.op_type == "Slice")
    read = helper.make_node("Identity", [sliced.output[0]], ["branch"])
    made = helper.make_tensor_value_info("branch", onnx.TensorProto.FLOAT, None)
    branch = helper.make_graph([read], "branch", [], [made])
    choice = helper.make_node(
        "If", ["wanted"], ["chosen"], then_branch=branch, else_branch=branch
    )
    wanted = numpy_helper.from_array(np.array(True), "wanted")
    proto.graph.initializer.append(wanted)
    proto.graph.node.append(choice)
    onnx.save(proto, plain)
    other.unlink()
    assert write_shortcuts_as_conv(plain, other) == 0
    assert not other.exists()


def test_doubles_beside_a_shortcut_stay_as_they_are(tmp_path):
    def both(x):
        doubles = functional.pad(x.double()[..., ::2, ::2], (*FILL, 4, 4))
        return SHORTCUTS["behind"](x) + doubles.float()

    _, other, count = written(tmp_path, Stage(both), 16)
    assert count == 1
    assert operators(other)["Pad"] == 1


def test_a_slice_that_others_read_stays(tmp_path):
    shortcut = SHORTCUTS["a quarter on each side"]
    plain, other, count = written(tmp_path, Stage(shortcut, reads=True), 16)
    assert count == 1
    assert operators(other)["Slice"] == operators(plain)["Slice"] == 2
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(OnnxModel(other)(x), OnnxModel(plain)(x))


def test_the_batch_may_stay_open(tmp_path):
    shortcut = SHORTCUTS["a quarter on each side"]
    plain, other, count = written(tmp_path, Stage(shortcut), 16, dynamic_batch=True)
    assert count == 1
    x = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(OnnxModel(other)(x), OnnxModel(plain)(x))


def test_nothing_is_left_that_nothing_reads(tmp_path):
    _, other, _ = written(tmp_path, Stage(SHORTCUTS["joined after"]), 16)
    graph = onnx.load(other).graph
    read = {name for node in graph.node for name in node.input}
    assert {item.name for item in graph.initializer} <= read
    assert {name for node in graph.node for name in node.output} <= read | {"output"}


def test_its_time_belongs_to_the_layer_before_it(tmp_path):
    """Its weight is no layer of the module."""
    _, other, _ = written(tmp_path, Stage(SHORTCUTS["behind"]), 16)
    layers = set(weights_of_nodes(other).values())
    assert layers == {"stem.weight", "conv.weight"}


def test_a_file_without_any_is_not_written(tmp_path):
    _, other, count = written(tmp_path, nn.Conv2d(3, 4, 3), 8)
    assert count == 0
    assert not other.exists()


def test_channels_of_zeros_are_zeros(tmp_path):
    """The convolution's own output, not only what the network makes of it."""
    path, other = tmp_path / "plain.onnx", tmp_path / "other.onnx"
    shortcut = SHORTCUTS["a quarter on each side"]
    x = torch.randn(1, 8, 6, 6)
    write_onnx(Alone(shortcut).eval(), (x,), path)
    assert write_shortcuts_as_conv(path, other) == 1
    found = OnnxModel(other)(x).numpy()
    assert not found[:, :4].any()
    assert not found[:, 12:].any()
    np.testing.assert_array_equal(found[:, 4:12], x[:, :, ::2, ::2].numpy())
