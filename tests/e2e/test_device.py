"""A run on another device: a pretended one, and a real one where there is one."""

import json
import os
import subprocess
import sys

import pytest
import torch

import edgeprune
from edgeprune.errors import ConfigError
from edgeprune.graph.device import device_named, on_device
from tests.data_sets import coloured_parts
from tests.made_up import FAKE
from tests.nets import small
from tests.pretend import outcome


@pytest.mark.slow
def test_a_run_on_a_pretended_device_finds_the_same(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.pretend", str(tmp_path)],
        env={**os.environ, "EDGEPRUNE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for here, there, ran in json.loads(done.stdout).values():
        assert there.pop("losses") == pytest.approx(here.pop("losses"), rel=1e-4)
        # Each is trained in the number format that was faster there.
        assert there.pop("accuracy") == pytest.approx(here.pop("accuracy"), abs=0.05)
        assert there == here
        assert here["epochs"] == [1]
        assert here["devices"] == ["cpu"]
        assert ran["convolution"]
        assert ran["convolution_backward"]
        assert ran["linalg_cholesky_ex"], ran


def test_a_run_on_a_real_device_finds_the_same(tmp_path):
    real = torch.accelerator.current_accelerator(check_available=True)
    if real is None:
        pytest.skip("there is no accelerator here")
    here, there = (outcome(tmp_path, name, "l1") for name in ("cpu", str(real)))
    for found in ("kept", "bypassed"):
        assert here[found] == there[found]


def test_the_cpu_is_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    assert device_named("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match=f"^--device {name}: "):
        edgeprune.compress(
            small(), coloured_parts(), budget="50%", device=name, target=FAKE
        )


def test_a_model_on_the_cpu_is_not_copied():
    model = small()
    assert on_device(model, torch.device("cpu")) is model
