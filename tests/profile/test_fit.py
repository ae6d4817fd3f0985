"""The fit against devices whose time is a known function of widths."""

import numpy as np
import pytest

from edgeprune.devices.runner import NodeTime, Probe
from edgeprune.measure.onnx_file import layer_of_node
from edgeprune.profile.fit import Probed, fit, predict
from edgeprune.profile.operators import Sample

LAYERS = {"one": "a.weight", "two": "b.weight", "three": "c.weight"}


class Device:
    """Three layers 3 -> p -> q -> 10: blocks of channels, a cache, and overheads."""

    def __init__(self, block=16, cache=np.inf, noise=0.0, slowed=1.0):
        self.block, self.cache, self.noise, self.slowed = block, cache, noise, slowed
        self.rng = np.random.default_rng(0)
        self.full = self.times(256, 512)

    def up(self, width):
        return -(-width // self.block) * self.block

    def times(self, p, q):
        size = self.size(p, q)
        missed = max(0.0, 1 - self.cache / size)
        return {
            "one": 1e-4 * self.up(p) + 0.004,
            "two": 1e-6 * self.up(p) * self.up(q) * (1 + 2 * missed) + 0.002,
            "three": 3e-5 * q + 0.001,
        }

    def size(self, p, q):
        return 4 * (27 * p + 9 * p * q + 10 * q)

    def sample(self, p, q):
        whole = sum(self.full.values())
        times = {name: time / whole for name, time in self.times(p, q).items()}
        share = sum(times.values()) * (1 + self.noise * self.rng.standard_normal())
        shapes = {
            "one": ((1, 3, 8, 8), (1, self.up(p), 8, 8)),
            "two": ((1, self.up(p), 8, 8), (1, q, 8, 8)),
            "three": ((1, 64 * q), (1, 10)),
        }
        nodes = [
            NodeTime(
                f"{name}_nchwc",
                time * self.slowed * (1 + self.noise * self.rng.standard_normal()),
                "Conv",
                *shapes[name],
            )
            for name, time in times.items()
        ]
        widths = {
            ("a.weight", 0): p,
            ("b.weight", 1): p,
            ("b.weight", 0): q,
            ("c.weight", 1): 64 * q,
        }
        return Sample(widths, self.size(p, q), Probe(share, tuple(nodes), whole))

    def samples(self, count, seed):
        rng = np.random.default_rng(seed)
        pairs = rng.integers(1, (33, 65), size=(count, 2)) * 8
        return [self.sample(int(p), int(q)) for p, q in pairs]


def error(found, samples):
    whole = np.array([sample.probe.share for sample in samples])
    return np.abs(predict(found, samples) / whole - 1).max()


@pytest.mark.parametrize("block", [4, 8, 16, 32])
def test_blocks_are_found_and_new_widths_predicted(block):
    device = Device(block)
    found = fit(Probed(device.samples(40, 1), LAYERS))
    if block >= 16:  # widths here are multiples of 8
        assert found.block == block
    assert error(found, device.samples(40, 2)) < 0.01


def test_weights_that_no_cache_holds_cost_more():
    device = Device(cache=2**20)
    found = fit(Probed(device.samples(60, 1), LAYERS))
    assert found.cache_bytes == pytest.approx(2**20)
    assert error(found, device.samples(40, 2)) < 0.01
    assert (
        error(fit(Probed(Device().samples(60, 1), LAYERS)), device.samples(40, 2))
        > 0.05
    )


def test_the_profilers_own_time_is_calibrated_away():
    device = Device(slowed=1.3)
    found = fit(Probed(device.samples(40, 1), LAYERS))
    assert error(found, device.samples(40, 2)) < 0.01


def test_noise_averages_out():
    device = Device(noise=0.03)
    found = fit(Probed(device.samples(64, 1), LAYERS))
    assert error(found, Device().samples(40, 2)) < 0.03


def test_a_disturbed_probe_does_not_count():
    device = Device()
    samples = device.samples(40, 1)
    bad = samples[7].probe
    nodes = tuple(
        NodeTime(n.name, 4 * n.latency_ms, n.operator, n.read, n.made)
        for n in bad.nodes
    )
    samples[7] = Sample(
        samples[7].widths, samples[7].weight_bytes, Probe(4 * bad.share, nodes)
    )
    assert error(fit(Probed(samples, LAYERS)), device.samples(40, 2)) < 0.01


def test_operators_follow_the_widths_that_they_read_and_make():
    found = fit(Probed(Device().samples(40, 1), LAYERS))
    places = {item.layer: (item.read, item.made) for item in found.operators}
    assert places["a.weight"] == (None, ("a.weight", 0))
    assert places["b.weight"] == (("b.weight", 1), ("b.weight", 0))
    assert places["c.weight"] == (("c.weight", 1), None)


def test_an_operator_that_some_networks_lack_took_no_time_there():
    """The runtime reorders channels only where they do not fill its blocks."""
    device = Device()
    samples = []
    for sample in device.samples(60, 1):
        p = sample.widths["a.weight", 0]
        extra = (
            ()
            if p % 16 == 0
            else (NodeTime("Reorder", 1e-4 * p, "Reorder", (1, p), (1, p)),)
        )
        whole = sample.probe.share + sum(node.latency_ms for node in extra)
        nodes = (sample.probe.nodes[0], *extra, *sample.probe.nodes[1:])
        samples.append(Sample(sample.widths, sample.weight_bytes, Probe(whole, nodes)))
    assert error(fit(Probed(samples[:40], LAYERS)), samples[40:]) < 0.01


def test_operators_without_a_name_of_the_file_belong_to_the_layer_before():
    assert layer_of_node("fused one_nchwc", LAYERS, "x") == "a.weight"
    assert layer_of_node("ReorderOutput_token_7", LAYERS, "x") == "x"
