"""Ways to fine-tune: for some minutes, with two heads, to the floor, after a stop."""

import json
import re

import pytest
import torch
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.errors import EdgepruneError
from edgeprune.files import cache_folder
from edgeprune.finetune.trainer import Trainer
from edgeprune.progress import Silent
from tests.commands import MODEL, command, launched
from tests.data_sets import coloured_parts as data
from tests.made_up import FAKE
from tests.nets import Bottom, Signal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(trained):
    model = Bottom(64)
    model.load_state_dict(torch.load(trained / "ck.pt", weights_only=True))
    return model


def run(model, folder, **settings):
    settings = {"budget": {"max_macs": "50%"}, "max_drop": 100.0, **settings}
    return edgeprune.compress(model, data(), target=FAKE, out=folder, **settings)


def test_there_are_as_many_epochs_as_there_is_time_for(network, tmp_path):
    done = run(network, tmp_path / "run", epochs="auto", minutes=0.1)
    last = done.report.training[-1]
    assert len(last.epochs) > 1
    assert done.report.status == "met"


def test_a_second_head_says_what_it_gained(network, tmp_path):
    done = run(
        network,
        tmp_path / "run",
        self_supervised="inpaint",
        inpaint_weight=0.3,
        augment="crop",
        distil="features",
        epochs=2,
    )
    last = done.report.training[-1]
    head = last.second_head
    assert (head.weight, last.augmented, last.optimizer) == (0.3, ("crop",), "muon")
    assert last.hints == ("norm", "second")
    assert all(epoch.second_head_loss > 0 for epoch in last.epochs)
    assert 0 < head.accuracy_without <= 1
    better = max(last.accuracy_before, *(e.validation_accuracy for e in last.epochs))
    assert head.kept == (better >= head.accuracy_without and last.best_epoch > 0)
    assert done.model.state_dict().keys() == network.state_dict().keys()
    page = (done.folder / "report.html").read_text()
    assert "second head" in page


def test_a_quick_answer_is_one_and_says_so(network, tmp_path):
    quick = run(network, tmp_path / "run", effort="quick").report
    assert quick.status == "met"
    assert any("--effort quick" in note for note in quick.notes)
    assert not quick.training[-1].epochs
    assert len(quick.sensitivity.groups) <= len(quick.result.layers)
    assert quick.result.macs <= 0.5 * quick.baseline.macs


def test_training_ends_at_the_floor_if_that_is_enough(network, tmp_path):
    done = run(network, tmp_path / "run", stop_at_floor=True, epochs=9, max_drop=40.0)
    floor = done.report.accuracy_floor
    for training in done.report.training:
        reached = [epoch.validation_accuracy >= floor for epoch in training.epochs]
        assert not any(reached[:-1])


def test_without_a_budget_it_prunes_until_the_floor(network, tmp_path):
    # So far that no few test samples can say otherwise than those of validation.
    done = run(network, tmp_path / "run", budget=None, max_drop=30.0, epochs=2)
    assert done.report.status == "met", done.report.sentence
    assert "pruned until the floor" in done.report.sentence
    floor = done.report.accuracy_floor
    steps = done.report.steps[1:]
    assert steps
    assert done.report.result.validation_accuracy >= floor
    valid = [step.latency_ms for step in steps if step.valid]
    assert done.report.result.latency_ms == valid[-1]
    assert done.report.result.params < 0.5 * done.report.baseline.params


def unfinished():
    return sorted(cache_folder().glob("unfinished/*"))


class StoppedError(Exception):
    pass


def test_a_run_that_was_stopped_goes_on(network, tmp_path, monkeypatch):
    """Stopped in the second epoch: neither plan nor first epoch is made again."""
    epochs = []
    whole = Trainer.epoch

    def dying(self, batches, number):
        if number == 2:
            raise StoppedError
        epochs.append(number)
        return whole(self, batches, number)

    def counting(self, batches, number):
        epochs.append(number)
        return whole(self, batches, number)

    settings, before = {"epochs": 3, "augment": "crop"}, unfinished()
    monkeypatch.setattr(Trainer, "epoch", dying)
    with pytest.raises(StoppedError):
        run(network, tmp_path / "run", **settings)
    assert epochs == [1]
    assert len(unfinished()) == len(before) + 1
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(Trainer, "epoch", counting)
    done = run(network, tmp_path / "run", **settings)
    assert epochs == [1, 2, 3]
    assert "round 1 was begun by an earlier process" in done.report.notes
    assert [epoch.number for epoch in done.report.training[-1].epochs] == [1, 2, 3]
    assert len(done.report.attempts) > 0
    assert unfinished() == before


def test_another_run_does_not_go_on_from_it(network, tmp_path, monkeypatch):
    whole = Trainer.epoch

    def dying(self, batches, number):
        raise StoppedError

    monkeypatch.setattr(Trainer, "epoch", dying)
    with pytest.raises(StoppedError):
        run(network, tmp_path / "run", epochs=1)
    monkeypatch.setattr(Trainer, "epoch", whole)
    done = run(network, tmp_path / "run", epochs=1, seed=1)
    assert not [note for note in done.report.notes if "earlier process" in note]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"epochs": "auto"}, "--minutes"),
        ({"epochs": 2, "minutes": 1.0}, "not both"),
        ({"label_smoothing": 0.1}, "--distil no"),
        ({"augment": "crop,zoom"}, "crop, rotate, flip"),
        ({"train": False, "minutes": 1.0}, "--no-train"),
        ({"train": False, "self_supervised": "inpaint"}, "--no-train"),
        ({"train": False, "stop_at_floor": True}, "--no-train"),
        ({"inpaint_weight": 0.5}, "--self-supervised"),
        ({"budget": None, "max_drop": None}, "how far accuracy may fall"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, complaint, tmp_path):
    with pytest.raises(EdgepruneError, match=complaint) as caught:
        run(Bottom(8), tmp_path / "run", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


class Recorded(Silent):
    """Remembers which steps began."""

    def __init__(self):
        self.steps = []

    def start(self, step, total):
        self.steps.append(step)


def test_signals_have_no_pictures_to_fill_in_and_that_is_said_at_once():
    x, y = torch.randn(60, 2, 24), torch.arange(60) % 2
    splits = tuple(TensorDataset(x, y) for _ in range(3))
    progress = Recorded()
    with pytest.raises(EdgepruneError, match="no feature map"):
        edgeprune.compress(
            Signal(),
            splits,
            budget="50%",
            target=FAKE,
            progress=progress,
            self_supervised="inpaint",
        )
    assert progress.steps == []


ASKED = ("--max-macs", "50%", "--max-drop", "100", "--epochs", "2")


def test_two_processes_come_to_the_plan_of_one(trained):
    """The budget is in MACs: times differ from run to run."""
    reports = {}
    for processes in (1, 2):
        folder = f"by {processes}"
        asked = ["compress", *MODEL, *ASKED, "--out", folder]
        if processes == 1:
            done = command(trained, *asked)
        else:
            done = launched(trained, "-m", "edgeprune", *asked)
        assert done.returncode == 0, done.stderr
        text = (trained / folder / "report.json").read_text()
        reports[processes] = json.loads(text)
        assert len(re.findall("Met: --max-macs", done.stdout)) == 1
    one, two = reports[1], reports[2]
    assert [t["processes"] for t in two["training"]] == [2]
    assert one["plans"] == two["plans"]
    gap = one["result"]["test_accuracy"] - two["result"]["test_accuracy"]
    assert abs(gap) <= 0.05


def test_two_processes_say_once_what_is_out_of_reach(trained):
    asked = ["--budget-ms", "0.0001", "--out", "none"]
    done = launched(trained, "-m", "edgeprune", "compress", *MODEL, *asked)
    assert done.returncode != 0
    assert done.stdout.count("Not met: --budget-ms") == 1
    assert done.stdout.count("out of reach") == 1
