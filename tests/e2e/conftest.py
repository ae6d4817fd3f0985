"""Whole runs share a cache and a trained network: each is measured, trained once."""

import numpy as np
import pytest
import torch

from edgeprune.data.factory import splits_of
from edgeprune.data.splits import Reading
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import train
from tests.data_sets import coloured_arrays
from tests.nets import Bottom


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture(autouse=True)
def _own_cache(shared_cache, monkeypatch):
    """In place of one for each test."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(shared_cache))


@pytest.fixture(scope="session")
def coloured(tmp_path_factory):
    """A folder with data.npz, a network's factory and the weights that it learnt."""
    folder = tmp_path_factory.mktemp("coloured")
    arrays = coloured_arrays()
    np.savez(
        folder / "data.npz",
        x_train=arrays.x_train,
        y_train=arrays.y_train,
        x_test=arrays.x_test,
        y_test=arrays.y_test,
    )
    torch.manual_seed(0)
    splits = splits_of("colours", arrays, Reading(32))
    model, _ = train(Bottom(64), splits, TrainingConfig("baseline", 6))
    torch.save(model.state_dict(), folder / "ck.pt")
    (folder / "mynets.py").write_text(
        "from tests.nets import Bottom\ndef wide():\n    return Bottom(64)\n"
    )
    return folder


@pytest.fixture(scope="module")
def trained(coloured, tmp_path_factory):
    """The same, in a folder of the module's own: runs are written beside it."""
    folder = tmp_path_factory.mktemp("trained")
    for path in coloured.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder
