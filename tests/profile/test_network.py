"""The form in which files are fastest, found once on a device."""

import pytest
import torch

from edgeprune.devices.transports import FakeTransport
from edgeprune.measure.benchmark import Benchmark
from edgeprune.profile.network import profile_network
from tests.made_up import fake_runner, scripted
from tests.nets import CifarResNet

X = (torch.randn(1, 3, 16, 16),)


def operator_ms(item):
    """Padding takes long here, so that convolutions in its place are faster."""
    return {"Conv": 0.1, "Pad": 0.5}.get(item.kind, 0.01)


def test_the_ratio_of_the_fastest_form_is_the_one_that_was_found_first(tmp_path):
    """What is predicted goes by it, so that a run can be repeated."""

    def profiled(*loads):
        transport = FakeTransport(operator_ms, scripted(*loads))
        benchmark = Benchmark(fake_runner(transport), X, tmp_path)
        return profile_network(CifarResNet(2).eval(), benchmark)

    first = profiled()
    assert first.benchmark.shortcuts_as_conv
    assert first.start_ratio == first.paired.ratio < 1
    again = profiled(*[1.0] * 3, 1.0, 1.1, 1.1, 1.0, 1.0, 1.1)
    assert again.paired.ratio > first.paired.ratio
    assert again.start_ratio == pytest.approx(first.start_ratio, abs=0)
