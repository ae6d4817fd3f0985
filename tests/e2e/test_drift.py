"""A machine whose speed changes never ends in a false "Met"."""

import math

import pytest
import torch
from torch import nn

import edgeprune
from edgeprune.api.run_folder import MODEL_FILE
from edgeprune.devices.transports import FakeTransport
from tests.data_sets import coloured_parts
from tests.made_up import FAKE, use

ROUNDING = 1.001
TURNS = 400  # of models, about, in the measurements of one run


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 48, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(48, 48, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(48, 64, 3, 2, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)),
    )


def busy(first, last, load=2.0):
    """Another program runs from one turn to another."""
    return lambda turn: load if first <= turn < last else 1.0


def after(first, load):
    return busy(first, math.inf, load)


CURVES = {
    "steady": lambda _: 1.0,
    "busy at the start": busy(0, 3),
    "busy through the profile": busy(0, 9),
    "three times as slow at the start": busy(0, 6, 3.0),
    "busy until the middle": busy(0, 40),
    "busy in the middle": busy(20, 50),
    "busy for one turn": busy(14, 15, 9.0),
    "busy in the verdict": after(30, 2.0),
    "busy for good after the profile": after(3, 1.5),
    "a little busy for good": after(10, 1.04),
    "faster for good": after(10, 0.7),  # it was throttled before
    "faster at the start": busy(0, 3, 0.6),  # it has cooled down
    "throttled step by step": lambda turn: 1.0 + 0.1 * (turn // 10),
    "getting slower": lambda turn: 1.0 + turn / 60,
    "getting faster": lambda turn: max(1.0, 3.0 - turn / 20),
    "a slow wave": lambda turn: 1.5 + 0.5 * math.sin(turn / 10),
    "a quick wave": lambda turn: 1.5 + 0.5 * math.sin(turn),
    "every other turn": lambda turn: 1.0 + turn % 2,
    "every fifth turn": lambda turn: 4.0 if turn % 5 == 0 else 1.0,
    "noise": lambda turn: 1.0 + (turn * 7919 % 13) / 26,
}


DEFAULT = {"busy through the profile", "busy in the verdict", "every other turn"}


def curves():
    """Three of them by default, all with the slow mark."""
    return [
        pytest.param(name, marks=[] if name in DEFAULT else [pytest.mark.slow])
        for name in CURVES
    ]


@pytest.mark.parametrize("curve", curves())
def test_a_share_that_is_met_is_met_on_the_idle_machine(curve, monkeypatch, tmp_path):
    device = use(monkeypatch, FakeTransport(load=CURVES[curve]))
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    report = edgeprune.compress(
        net(),
        coloured_parts(),
        budget="60%",
        precision="fp32",
        accuracy_floor=0.0,
        train=False,
        reconstruct=False,
        target=FAKE,
        out=tmp_path / "run",
    ).report
    before, after = (
        device.latency_ms(tmp_path / "run" / name)
        for name in ("baseline.onnx", MODEL_FILE)
    )
    assert 0 < device.turns < TURNS
    if report.status == "met":
        assert report.plans
        assert after <= 0.6 * before * ROUNDING
        assert report.result.latency_ratio <= 0.6
    else:
        pytest.fail(report.sentence)
