"""Which operators run in int8: by times that were made up, and on made-up devices."""

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeprune import targets
from edgeprune.devices.runner import NodeTime, Runner
from edgeprune.devices.transports import FakeTransport
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.onnx_files.dequantized import dequantized
from edgeprune.onnx_files.graph import constants_of
from edgeprune.quantize.form import Int8Form
from edgeprune.quantize.mixed import DeviceClock, mixed
from edgeprune.quantize.node_times import NodeTimes
from edgeprune.quantize.qdq import correct_biases_, in_int8
from edgeprune.quantize.quantize import FloatNetwork, quantize
from edgeprune.quantize.ranges import Seen, rounded
from tests.made_up import FAKE

X = torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(1))
BATCHES = [(X, X)]


class Chain(nn.Module):
    """Four convolutions, one after another."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *[nn.Conv2d(3 if not i else 8, 8, 3, padding=1) for i in range(4)]
        )

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x.mean((2, 3))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("mixed") / "net.onnx"
    write_onnx(Chain().eval(), (X[:1],), path)
    return path


@pytest.fixture
def network(path, tmp_path):
    return FloatNetwork.of(path, BATCHES, 32, tmp_path)


def times(network, small, **own):
    """Times of 1 ms in float, and of `small` in int8 where nothing else is said."""
    nodes = network.proto.graph.node
    plain = [NodeTime(node.name, 1.0, node.op_type) for node in nodes]
    convs = [node.name for node in nodes if node.op_type == "Conv"]
    said = {convs[int(key[1:])]: ms for key, ms in own.items()}
    quick = [
        NodeTime(node.name, said.get(node.name, small), node.op_type) for node in nodes
    ]
    return NodeTimes(network.proto, plain, quick), convs


def test_what_is_slower_in_int8_stays_in_float(network):
    found, convs = times(network, 0.1, c2=5.0)
    held = found.slow_in_int8()
    assert convs[2] in held
    assert not {convs[0], convs[1], convs[3]} & held


def test_a_gain_that_conversions_eat_is_none(network):
    """Each convolution stands between operators that int8 has no kernels for."""
    found, convs = times(network, 0.999)
    assert set(convs) <= found.slow_in_int8(borders=100.0)
    assert not set(convs) & found.slow_in_int8(borders=0.0)


def test_a_limit_on_the_error_lifts_the_cheapest_of_those_that_matter(network):
    found, convs = times(network, 0.1, c0=0.9)
    errors = {found.unit(name): 1.0 for name in convs}
    held = found.slow_in_int8(errors=errors, limit=3.5)
    assert held & set(convs) == {convs[0]}  # which gains least in int8
    assert set(convs) <= found.slow_in_int8(errors=errors, limit=0.5)


def test_a_device_that_tells_no_operators_gets_all_in_int8(network):
    assert NodeTimes(network.proto, [], []).slow_in_int8() == frozenset()


def runner(operator_ms):
    return Runner(targets.load(FAKE), FakeTransport(operator_ms))


def kind_ms(item):
    """A device whose integers are slow where a convolution reads few channels."""
    if item.kind in ("QuantizeLinear", "DequantizeLinear"):
        return 0.0
    if not item.macs:
        return 0.001
    slow = item.quantized and item.read[1] == 3
    return item.macs / 1e6 * (20.0 if slow else 0.5 if item.quantized else 1.0)


def test_the_file_is_the_fastest_there_is(path, tmp_path):
    clock = DeviceClock(runner(kind_ms))
    quantize(path, tmp_path / "all.onnx", BATCHES)
    found = mixed(path, tmp_path / "mixed.onnx", BATCHES, clock)
    files = [path, tmp_path / "all.onnx", tmp_path / "mixed.onnx"]
    plain, whole, best = clock.together(files)
    assert best < plain < whole
    assert found.share == pytest.approx(best)
    assert len(found.in_float) >= 1
    onnx.checker.check_model(tmp_path / "mixed.onnx", full_check=True)


def test_a_file_that_is_not_accurate_enough_is_lifted_until_it_is(path, tmp_path):
    clock = DeviceClock(runner(kind_ms))
    tried = []

    def accepts(file):
        tried.append(file)
        return len(tried) > 2

    found = mixed(path, tmp_path / "a.onnx", BATCHES, clock, accepts=accepts)
    assert found.accepted
    never = mixed(path, tmp_path / "b.onnx", BATCHES, clock, accepts=lambda _: False)
    assert not never.accepted
    assert len(never.in_float) >= len(found.in_float) > 0


class Places(nn.Module):
    """Pixels and scores beside each other, as a detector gives them."""

    def __init__(self):
        super().__init__()
        self.pixels, self.scores = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)

    def forward(self, x):
        found = torch.cat([1e5 * self.pixels(x), self.scores(x).sigmoid()], 1)
        return found.mean((2, 3))


class Apart(Places):
    """The same as two outputs."""

    def forward(self, x):
        return 1e5 * self.pixels(x), self.scores(x)


def test_an_error_counts_by_what_the_task_makes_of_outputs(tmp_path):
    path = tmp_path / "places.onnx"
    write_onnx(Places().eval(), (X[:1],), path)
    weights = torch.tensor([[1e-5] * 8 + [1.0] * 8])
    errors = []
    for weigh in (None, weights.expand_as):
        network = FloatNetwork.of(path, BATCHES, 32, tmp_path, weigh)
        nodes = {node.name: node for node in network.proto.graph.node}
        kept = [name for name in nodes if nodes[name].input[1:2] != ["scores.weight"]]
        small = network.quantized(Int8Form(in_float=tuple(kept)), network.plain)
        errors.append(network.error(small))
    assert 0 < errors[0] < errors[1] / 3


def test_what_wins_no_time_and_spoils_the_outputs_stays_in_float(tmp_path):
    path, clock = tmp_path / "places.onnx", DeviceClock(runner(kind_ms))
    write_onnx(Places().eval(), (X[:1],), path)
    weights = torch.tensor([[1e-5] * 8 + [1.0] * 8])
    quantize(path, tmp_path / "all.onnx", BATCHES)
    found = mixed(path, tmp_path / "a.onnx", BATCHES, clock, weigh=weights.expand_as)
    network = FloatNetwork.of(path, BATCHES, 32, tmp_path, weights.expand_as)
    errors = [
        network.error(onnx.load(tmp_path / name)) for name in ("all.onnx", "a.onnx")
    ]
    assert errors[0] > 0.1
    assert errors[1] < errors[0] / 3
    assert any("cat" in name for name in found.in_float)


def test_each_of_several_outputs_counts_by_its_own_scale(tmp_path):
    path = tmp_path / "apart.onnx"
    write_onnx(Apart().eval(), (X[:1],), path)
    network = FloatNetwork.of(path, BATCHES, 32, tmp_path)
    kept = [
        node.name
        for node in network.proto.graph.node
        if "scores.weight" not in node.input
    ]
    small = Int8Form(in_float=tuple(kept))
    error = network.error(network.quantized(small, network.plain))
    only = FloatNetwork.of(path, BATCHES, 32, tmp_path)
    del only.proto.graph.output[0]
    alone = only.error(only.quantized(small, only.plain))
    assert error == pytest.approx(alone / math.sqrt(2), rel=0.1)


def test_an_odd_value_is_left_out_of_a_range():
    seen = Seen()
    values = np.random.default_rng(0).normal(size=(1, 4, 64, 64)).astype(np.float32)
    values[0, 0, 0, 0] = 500.0
    for _ in range(4):
        seen.see(values)
    low, high = seen.closest()
    assert seen.whole[1] == 500.0
    assert high < 10.0
    assert low < -2.5


def test_a_range_without_odd_values_is_whole():
    seen = Seen()
    seen.see(np.random.default_rng(0).uniform(0, 1, (1, 4, 64, 64)).astype(np.float32))
    low, high = seen.closest()
    assert low == 0.0
    assert high == pytest.approx(seen.whole[1], rel=0.01)


def test_rounding_is_that_of_the_runtime():
    values = np.linspace(-1.0, 2.0, 7)
    step = 3.0 / 255
    found = rounded(values, (-1.0, 2.0), 256)
    assert np.abs(found - values).max() <= step / 2 + 1e-12
    assert math.isclose(float(rounded(np.array([9.0]), (-1.0, 2.0), 256)[0]), 2.0)


def test_biases_take_up_what_rounding_weights_adds(network):
    """Of a constant input, what is added is exact."""
    seen = {name: Seen() for name in network.seen}
    held = onnx.ModelProto()
    held.CopyFrom(network.proto)
    node = next(item for item in held.graph.node if item.op_type == "Conv")
    for name, item in seen.items():
        whole = network.seen[name]
        item.see(np.ones((1, len(whole.mean), 2, 2), np.float32))
    before = constants_of(held.graph)
    weight = before[node.input[1]].astype(np.float64)
    correct_biases_(held, seen, Int8Form())
    steps = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    off = (np.rint(weight / steps) * steps - weight).sum((1, 2, 3))
    changed = next(item for item in held.graph.node if item.name == node.name)
    after = constants_of(held.graph)[changed.input[2]]
    own = next(item for item in network.proto.graph.node if item.name == node.name)
    assert np.allclose(after, before[own.input[2]] - off, atol=1e-6)


def test_a_file_without_its_pairs_is_the_float_network_again(network):
    small = in_int8(network.proto, network.plain.ranges, Int8Form())
    back = dequantized(small, constants_of(small.graph))
    assert not any("Quantize" in node.op_type for node in back.graph.node)
    onnx.checker.check_model(back)
    assert network.error(back) < 0.02  # weights stay rounded
    assert network.error(back) < network.error(small)
    assert dequantized(network.proto, {}) is None


@pytest.mark.parametrize(("narrow", "most"), [(False, 127), (True, 64)])
def test_weights_of_seven_bits(path, tmp_path, narrow, most):
    quantize(path, tmp_path / "small.onnx", BATCHES, form=Int8Form(narrow=narrow))
    held = constants_of(onnx.load(tmp_path / "small.onnx").graph)
    weights = [value for value in held.values() if value.dtype == np.int8]
    assert max(np.abs(item.astype(int)).max() for item in weights) == most


@pytest.mark.parametrize(
    ("machine", "said", "narrow"),
    [
        ({"architecture": "x86_64", "features": ["avx2"]}, None, True),
        ({"architecture": "x86_64", "features": ["avx2", "avx_vnni"]}, None, False),
        ({"architecture": "aarch64", "features": ["asimd"]}, None, False),
        ({"architecture": "x86_64", "features": []}, None, False),
        ({"architecture": "x86_64", "features": ["avx2"]}, 8, False),
        ({"architecture": "aarch64", "features": []}, 7, True),
    ],
)
def test_how_many_bits_the_processor_or_the_target_says(machine, said, narrow):
    held = runner(kind_ms)
    held.transport._machine.update(machine)
    runtime = held.target.runtime.model_copy(update={"int8_weight_bits": said})
    target = held.target.model_copy(update={"runtime": runtime})
    assert replace(held, target=target).narrow_weights == narrow
