"""Ctrl-C: the first ends a run with the best model so far, the second at once."""

import signal
import subprocess
import sys

import pytest

import edgeprune
from edgeprune.cli.app import ending_early
from edgeprune.progress import SILENT, Interruptible, Named, RunInterrupted
from examples.data import make_data
from examples.nets import make_net
from tests.made_up import FAKE


class Asking:
    """The user presses Ctrl-C when a step begins."""

    def __init__(self, step):
        self.step, self.seen = step, []
        self.held = Interruptible(self)

    def start(self, step, total):
        self.seen.append(step)
        if step.startswith(self.step):
            self.held.ask()

    def advance(self, detail=""):
        pass

    def finish(self, outcome=""):
        pass


@pytest.mark.parametrize("step", ["score", "reconstruct", "finetune"])
def test_a_run_that_is_ended_leaves_a_valid_model_and_says_so(step, tmp_path):
    asking = Asking(step)
    done = edgeprune.compress(
        make_net(),
        make_data(),
        budget="60%",
        precision="fp32",
        max_drop=100.0,
        epochs=3,
        target=FAKE,
        out=tmp_path / "run",
        progress=asking.held,
    )
    report = done.report
    assert report.status == "unmet"
    assert "interrupted" in report.sentence
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert asking.seen[-1] == "export"
    smaller = report.result.macs < report.baseline.macs
    assert smaller == (step == "finetune")  # until then no network was finished


def test_a_run_that_has_nothing_yet_ends_with_nothing(tmp_path):
    with pytest.raises(RunInterrupted):
        edgeprune.compress(
            make_net(),
            make_data(),
            budget="60%",
            target=FAKE,
            out=tmp_path / "run",
            progress=Asking("profile").held,
        )
    assert not (tmp_path / "run").exists()


def test_what_is_left_of_the_run_passes_once_it_is_ending():
    held = Interruptible(SILENT)
    held.start("score", 3)
    held.ask()
    with pytest.raises(RunInterrupted):
        held.advance()
    held.settle()
    held.finish()


def test_the_first_ctrl_c_asks_and_the_second_ends_at_once():
    said = []

    class Screen:
        def print(self, line, **_):
            said.append(line)

    before = signal.getsignal(signal.SIGINT)
    with ending_early(SILENT, Screen()) as held:
        signal.raise_signal(signal.SIGINT)
        assert held.asked
        assert "Ctrl-C again" in said[0]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_ctrl_c_before_there_is_a_model_is_said(tmp_path):
    command = [sys.executable, "-m", "edgeprune", "compress", "--budget-ms", "60%"]
    network = ["--model", "examples.nets:make_net", "--data", "examples.data:make_data"]
    out = ["--target", FAKE, "--out", str(tmp_path / "run")]
    said = []
    with subprocess.Popen(
        [*command, *network, *out], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None  # piped
        for line in process.stderr:
            said.append(line)
            if line.startswith("profile"):
                process.send_signal(signal.SIGINT)
                break
        said += process.stderr.readlines()
    assert process.returncode == 130
    assert "interrupted: nothing was written" in said[-1]
    assert not (tmp_path / "run").exists()


def test_who_ends_a_run_is_found_behind_what_shows_it():
    held = Interruptible(SILENT)
    named = Named(held, "pi")
    assert not named.asked
    held.ask()
    assert named.asked
    with pytest.raises(RunInterrupted):
        named.start("score", 3)
    named.settle()
    named.start("export", 3)
