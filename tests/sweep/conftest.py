"""A sweep of a small network on a made-up device."""

import shutil

import pytest

from tests.commands import ROOT
from tests.made_up import FAKE

TEXT = f"""
model = "examples.nets:make_net"
data = "examples.data:make_data"
max-drop = 100
train = false
effort = "quick"
target = "{FAKE}"
precision = "fp32"
[sweep]
max-macs = ["70%", "50%"]
criterion = ["l1", "no_such"]
"""


@pytest.fixture(name="place")
def _place(tmp_path):
    (tmp_path / "sweep.toml").write_text(TEXT)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path
