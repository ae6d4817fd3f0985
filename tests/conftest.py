"""Settings that all tests share."""

import os
from pathlib import Path

# Before torch: processes that share cores would wait for each other's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _devices_unknown(monkeypatch):
    """No test knows what another's made-up device could not tell."""
    monkeypatch.setattr("edgeprune.measure.roofline.WITHOUT", set())


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data sets and checkpoints, where there is one."""
    here = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EDGEPRUNE_TEST_DATA", here))
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}: set EDGEPRUNE_TEST_DATA")
    return folder
