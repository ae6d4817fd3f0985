import pytest
import torch
from torch import nn

from edgeprune import targets
from edgeprune.devices.runner import runner_for
from edgeprune.measure.memory import activations
from edgeprune.measure.onnx_file import write_onnx

pytestmark = pytest.mark.xdist_group("measuring")  # on this machine

MIB = 2**20
FLOAT = 4


class Skip(nn.Module):
    """A value that has to stay alive over two convolutions."""

    def __init__(self, width=64):
        super().__init__()
        self.first = nn.Conv2d(4, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.third = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return x + torch.sigmoid(self.third(torch.relu(self.second(x))))


def peak(model, tmp_path, size=128):
    path = tmp_path / "model.onnx"
    write_onnx(model.eval(), (torch.randn(1, 4, size, size),), path)
    return path, activations(path).peak_bytes


def test_a_chain_keeps_what_is_read_and_what_is_made(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(4, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 32, 1),
        nn.ReLU(),
        nn.Conv2d(32, 2, 1),
    )
    _, found = peak(model, tmp_path, size=16)
    assert found == FLOAT * 16 * 16 * (8 + 32)


def test_a_skip_connection_is_alive_all_the_while(tmp_path):
    _, found = peak(Skip(8), tmp_path, size=16)
    assert found == FLOAT * 16 * 16 * (8 + 16 + 8)


def test_what_is_computed_in_place_takes_no_memory(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 32, 1)

        def forward(self, x):
            return torch.sigmoid(torch.tanh(self.conv(x)))

    _, found = peak(Twice(), tmp_path, size=16)
    assert found == FLOAT * 16 * 16 * (4 + 32)


@pytest.mark.parametrize("width", [32, 128])
def test_the_count_is_near_what_the_process_takes(width, tmp_path):
    """The arena grows by doubling, and kernels have scratch memory."""
    path, counted = peak(Skip(width), tmp_path)
    assert counted == FLOAT * 128 * 128 * 4 * width
    measured = runner_for(targets.load("tests/quick.toml")).peak_memory(path)
    if measured.run_peak_bytes is None:
        pytest.skip("this system does not let a process forget its peak")
    assert 0.9 * counted <= measured.run_peak_bytes <= 2.5 * counted + 4 * MIB
    assert measured.process_peak_bytes >= counted
