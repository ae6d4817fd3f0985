"""Two processes on one machine come to what one process comes to."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edgeprune.finetune import loop
from tests.commands import launched
from tests.finetune import pair

pytestmark = pytest.mark.xdist_group("two processes")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    done = launched(ROOT, "-m", "tests.finetune.pair", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_norms_go_by_the_statistics_of_all_rows(both):
    """Rows are divided four to three; every number is that of the undivided batch."""
    torch.manual_seed(0)
    whole = pair.normed(pair.Alike(), slice(None))
    for rank in range(2):
        part = load_file(both / f"norms{rank}.safetensors")
        for name, value in whole.items():
            state = name.startswith("state")
            expected = value if state else value[rank::2]
            torch.testing.assert_close(part[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["memory", "loader"])
def test_two_processes_train_what_one_does(both, kind, monkeypatch):
    """240 samples in batches of 18: the last has 6; 60 validation samples."""
    monkeypatch.setattr(loop, "fastest_format", lambda *_: loop.PLAIN)
    expected, history = pair.trained(kind, **pair.RECIPES[kind])
    facts = json.loads((both / f"{kind}.json").read_text())
    assert (facts["processes"], history.processes) == (2, 1)
    found = load_file(both / f"{kind}.safetensors")
    for (loss, accuracy), epoch in zip(facts["epochs"], history.epochs, strict=True):
        assert loss == pytest.approx(epoch.loss, rel=1e-4)
        assert accuracy == epoch.validation_accuracy
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_a_second_head_learns_in_both(both):
    """What is cut out is drawn by each process for itself: nearly the same."""
    _, history = pair.trained("two heads", **pair.RECIPES["two heads"])
    facts = json.loads((both / "two heads.json").read_text())
    for (loss, _), epoch in zip(facts["epochs"], history.epochs, strict=True):
        assert loss == pytest.approx(epoch.loss, rel=0.2)


def test_when_the_main_process_fails_all_say_so(both):
    for rank in range(2):
        assert (both / f"failure{rank}.txt").read_text() == "the disk is full"
