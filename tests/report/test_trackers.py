"""Logs of runs for TensorBoard and MLflow."""

import logging

import pytest

from edgeprune.errors import ConfigError, OutputError
from edgeprune.progress import SILENT, Interruptible, Named, say_figures
from edgeprune.report import trackers
from edgeprune.report.trackers import TensorBoard, outcome_of, steps_of, tracking
from edgeprune.settings import CompressSettings, commands
from tests.reports import report


class Held:
    """Remembers what it is told; fails where it is asked to."""

    def __init__(self, folder, fails=""):
        self.told, self._fails = [folder.name], fails

    def figures(self, values, number):
        if self._fails == "figures":
            raise OSError("the server is gone")
        self.told.append((number, values))

    def finish(self, report, folder):
        self.told.append(report.status)

    def close(self, *, finished):
        self.told.append(finished)


@pytest.fixture(name="held")
def _held(monkeypatch):
    """Trackers that are made for a run, by name."""
    found = {}

    def make(name, **more):
        def made(folder):
            return found.setdefault(name, Held(folder, **more))

        monkeypatch.setitem(trackers.MADE, name, made)

    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda name: True)
    make("tensorboard")
    make("mlflow", fails="figures")
    return found


def test_figures_go_to_each_tracker_by_their_step(held, tmp_path, caplog):
    with (
        caplog.at_level(logging.WARNING, "edgeprune"),
        tracking(("tensorboard", "mlflow"), tmp_path / "run", SILENT) as tracked,
    ):
        tracked.start("finetune 1", 3)
        say_figures(tracked, {"loss": 0.5}, 1)
        say_figures(Interruptible(tracked), {"loss": 0.4}, 2)
        tracked.tell("finish", report(), tmp_path)
    assert held["tensorboard"].told == [
        "run",
        (1, {"finetune 1/loss": 0.5}),
        (2, {"finetune 1/loss": 0.4}),
        "met",
        True,
    ]
    assert held["mlflow"].told == ["run"]  # it failed once, and is left alone
    assert "Held is told no more: the server is gone" in caplog.text


def test_a_run_that_fails_is_closed_as_such(held, tmp_path):
    def fail():
        with tracking(("tensorboard",), tmp_path / "run", SILENT):
            raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="is gone"):
        fail()
    assert held["tensorboard"].told == ["run", False]


def test_progress_without_figures_is_not_asked_for_them(held, tmp_path):
    told = []

    class Plain:
        def start(self, step, total):
            told.append(step)

        def advance(self, detail=""):
            told.append(detail)

        def finish(self, outcome=""):
            told.append(outcome)

    with tracking((), tmp_path, Plain()) as tracked:
        tracked.start("x", 1)
        tracked.advance()
        say_figures(Named(tracked, "a"), {"loss": 1.0}, 1)
        tracked.finish("done")
    assert told == ["x", "", "done"]


def test_what_is_not_there_or_cannot_begin_is_refused_before_any_work(
    held, monkeypatch, tmp_path
):
    def enter(*names):
        with tracking(names, tmp_path / "run", SILENT):
            pytest.fail("it went on")

    def refuse(folder):
        raise OSError("nobody answers at http://there.")

    monkeypatch.setitem(trackers.MADE, "mlflow", refuse)
    with pytest.raises(
        OutputError,
        match=r"--log mlflow cannot begin: nobody answers at http://there\.",
    ):
        enter("tensorboard", "mlflow")
    assert held["tensorboard"].told[-1] is False
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda name: None)
    asked = CompressSettings(log="mlflow", budget_ms="50%")
    with pytest.raises(ConfigError, match=r"needs mlflow: pip install 'edgeprune\[mlf"):
        asked.check()


def test_names_are_checked():
    assert CompressSettings(log="tensorboard,mlflow").log == ("tensorboard", "mlflow")
    with pytest.raises(ValueError, match="tensorboard"):
        CompressSettings(log="wandb")


def test_a_reports_figures_have_names():
    steps = dict(steps_of(report()))
    assert steps[0] == {"steps/latency ms": 10.0, "steps/validation accuracy": 0.9}
    outcome = outcome_of(report())
    assert outcome["baseline/test accuracy"] == 0.9
    assert outcome["result/latency, median"] == 5.5


def test_tensorboard_has_epochs_steps_and_outcome(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    board = TensorBoard(tmp_path / "run")
    board.figures({"finetune 1/loss": 0.5}, 1)
    board.figures({"finetune 1/loss": 0.25}, 2)
    board.finish(report(), tmp_path / "run")
    board.close(finished=True)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "run"))
    events.Reload()
    losses = [(item.step, item.value) for item in events.Scalars("finetune 1/loss")]
    assert losses == [(1, 0.5), (2, 0.25)]
    assert [item.value for item in events.Scalars("steps/latency ms")] == [10.0, 5.5]
    assert events.Scalars("result/MACs")[0].value == report().result.macs


@pytest.mark.filterwarnings("ignore")  # of MLflow's own
def test_mlflow_has_a_run_with_its_files(tmp_path, monkeypatch):
    tracking_module = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("report.json", "report.html", report().counted.file):
        (folder / name).write_text("x")
    tracker = trackers.MLflow(folder)
    tracker.figures({"finetune 1/loss": 0.5}, 1)
    tracker.finish(report(), folder)
    tracker.close(finished=True)
    client = tracking_module.MlflowClient()
    experiment = client.get_experiment_by_name("edgeprune").experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.metrics["finetune 1/loss"] == 0.5
    assert run.data.metrics["result/latency median"] == 5.5
    assert run.data.tags["status"] == "met"
    kept = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert kept == {"report.json", "report.html", report().counted.file}
