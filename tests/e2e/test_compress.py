"""The main job on small networks, from the command line and from Python."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.errors import EdgepruneError
from tests.commands import MODEL, command, process
from tests.made_up import FAKE, QUICK
from tests.nets import Bottom, CifarResNet, Signal
from tests.reference import parameter_count

pytestmark = pytest.mark.xdist_group("compress")  # one run, read by several
HERE = [QUICK if item == FAKE else item for item in MODEL]  # on this machine


@pytest.fixture(scope="module")
def finished(trained):
    """One run on this machine, with settings from edgeprune.toml too."""
    (trained / "edgeprune.toml").write_text("max-params = '60k'\nepochs = 9\n")
    done = process(
        trained,
        "compress",
        *HERE,
        "--max-macs",
        "2.4M",
        "--epochs",
        "3",
        "--out",
        "run",
    )
    assert done.returncode == 0, done.stderr
    return done, trained / "run"


def test_a_run_leaves_its_files_and_says_what_was_reached(finished):
    done, folder = finished
    written = {path.name for path in folder.iterdir()}
    assert {
        "report.json",
        "report.html",
        "model.onnx",
        "baseline.onnx",
        "model.safetensors",
        "plan.json",
        "test.npz",
    } <= written
    assert "Met: --max-macs 2,400,000, --max-params 60,000" in done.stdout
    assert "\x1b[" not in done.stdout + done.stderr  # plain lines where nobody looks
    for stage in ("profile", "score", "prune", "finetune", "export"):
        assert f"{stage}" in done.stderr


def test_the_report_says_how_every_number_was_obtained(finished):
    report = edgeprune.read_report(finished[1])
    assert report.status == "met"
    assert report.settings["epochs"] == 3
    assert report.result.macs <= 2_400_000
    assert report.result.params <= 60_000
    assert report.result.timing.rounds_ms
    assert report.result.timing.threads == 1
    assert report.versions["onnxruntime"] == onnxruntime.__version__
    assert report.attempts[-1].predicted_ms > 0
    assert report.steps[0].name == "baseline"
    assert report.training[0].distilled
    assert report.parity[0].passed
    assert report.refused
    assert [layer.name for layer in report.result.layers] == [
        layer.name for layer in report.baseline.layers
    ]


def test_onnxruntime_alone_gives_the_reported_accuracy(finished):
    folder = finished[1]
    code = """
import json, sys
import numpy as np, onnxruntime
held = np.load(sys.argv[1] + "/test.npz")
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
right = 0
for x, y in zip(held["x"], held["y"]):
    scores = session.run(None, {"input": x[None]})[0]
    right += int(scores.argmax() == y)
assert "edgeprune" not in sys.modules and "torch" not in sys.modules
print(json.dumps(right / len(held["y"])))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    report = edgeprune.read_report(folder)
    assert json.loads(done.stdout) == pytest.approx(report.result.test_accuracy)


def test_the_module_comes_back_without_the_run(finished):
    _, folder = finished
    torch.manual_seed(3)
    restored = edgeprune.load(folder, Bottom(64))
    with np.load(folder / "test.npz") as held, torch.no_grad():
        found = restored(torch.from_numpy(held["x"])).argmax(1).numpy()
        right = float((found == held["y"]).mean())
    assert right == pytest.approx(edgeprune.read_report(folder).result.test_accuracy)
    assert parameter_count(restored) <= 60_000


def test_a_compressed_network_is_compressed_again(finished, trained):
    first = finished[1]
    arguments = [*MODEL]
    arguments[arguments.index("--weights") + 1] = str(first)
    done = command(
        trained,
        *("compress", *arguments, "--max-params", "30k", "--epochs", "2", "--pt2"),
        *("--accuracy-floor", "0.3", "--out", "again"),
    )
    assert done.returncode == 0, done.stderr
    report = edgeprune.read_report(trained / "again")
    assert report.baseline.params == edgeprune.read_report(first).result.params
    restored = edgeprune.load(trained / "again", Bottom(64))
    assert parameter_count(restored) == report.result.params <= 30_000
    program = torch.export.load(trained / "again" / "model.pt2").module()
    with np.load(trained / "again" / "test.npz") as held, torch.no_grad():
        x = torch.from_numpy(held["x"][:1])
        torch.testing.assert_close(program(x), restored(x))


def test_a_finished_run_is_not_overwritten(finished, trained):
    before = (finished[1] / "report.json").read_bytes()
    done = command(trained, "compress", *MODEL, "--max-macs", "2M", "--out", "run")
    assert done.returncode == 1
    assert "already holds a run" in done.stderr
    assert (finished[1] / "report.json").read_bytes() == before


def test_json_goes_to_standard_output_alone(finished, trained):
    done = command(
        trained, "compress", *MODEL, "--max-macs", "3M", "--epochs", "0", "--json"
    )
    report = json.loads(done.stdout)
    assert report["schema_version"] == 1
    assert done.returncode == (0 if report["status"] == "met" else 3)
    done = command(trained, "compare", "run", str(next((trained / "runs").iterdir())))
    assert "unlike: setting epochs: 3 against 0" in done.stdout


def test_json_lines_tell_every_step_and_what_came_of_the_run(trained):
    asked = ["--max-macs", "3M", "--epochs", "0", "--json-lines"]
    done = command(trained, "compress", *MODEL, *asked)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["event"] == "start"
    assert lines[0]["step"] == "load"
    starts, ends = (
        [line["step"] for line in lines if line["event"] == event]
        for event in ("start", "finish")
    )
    assert {"profile", "prune", "export"} <= {*starts} & {*ends}
    assert lines[-1]["event"] == "end"
    assert lines[-1]["status"] == ("unmet" if done.returncode else "met")
    report = edgeprune.read_report(trained / lines[-1]["folder"])
    assert lines[-1]["message"] == report.sentence
    again = command(trained, "compress", *MODEL, *asked)
    left = [json.loads(line).get("left_s") for line in again.stdout.splitlines()]
    assert left[0] > 0  # such a run was there before


def test_json_lines_end_with_the_reason_where_there_is_no_result(trained):
    done = command(
        trained,
        "compress",
        "--model",
        "mynets:nobody",
        *MODEL[2:],
        "--json-lines",
        "--max-macs",
        "3M",
    )
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["status"] == "error"
    assert done.stderr == f"error: {end['message']}\n"
    assert done.returncode == 1
    done = command(
        trained, "compress", *MODEL, "--json", "--json-lines", "--max-macs", "3M"
    )
    assert done.returncode == 2


def test_a_budget_out_of_reach_is_refused_before_training(trained):
    done = command(trained, "compress", *MODEL, "--budget-ms", "0.0001", "--out", "far")
    report = edgeprune.read_report(trained / "far")
    assert done.returncode == 3
    assert report.status == "unmet"
    assert "out of reach: the smallest network" in done.stdout
    assert not report.training
    assert report.result.sha256 == report.baseline.sha256


def test_a_budget_out_of_reach_says_what_was_measured_to_help(trained):
    done = command(
        trained,
        "compress",
        *MODEL,
        *("--budget-ms", "0.0001", "--precision", "fp32", "--out", "help"),
    )
    sentence = edgeprune.read_report(trained / "help").sentence
    for circumstance in (
        "with --input 3x12x12",
        "with --input 3x8x8",
        "with --precision int8",
    ):
        assert re.search(rf"[\d.]+ ms {circumstance} \(not enough\)", sentence), (
            sentence
        )
    assert "measured of it" in done.stdout


def test_reach_is_printed_without_data(trained):
    shown = ["profile", *MODEL[:4], "--target", FAKE, "--input", "3x16x16", "--reach"]
    done = command(trained, *shown)
    assert done.returncode == 0, done.stderr
    assert "The fastest network with so many of the channels" in done.stdout
    assert "Smallest of all, measured" in done.stdout
    reach = json.loads(command(trained, *shown, "--json").stdout)["reach"]
    shares = [point["share"] for point in reach["points"]]
    assert shares == pytest.approx([tenth / 10 for tenth in range(1, 11)])
    macs = [point["macs"] for point in reach["points"]]
    assert macs[0] < macs[-1] / 4
    assert reach["smallest"]["macs"] <= macs[0]


def test_memory_is_a_budget(trained):
    """Counted in the exported file as ONNX Runtime lays it out."""
    limit = 0.06
    done = command(
        trained,
        *("compress", *MODEL, "--max-memory-mb", str(limit), "--epochs", "0"),
        *("--accuracy-floor", "0", "--out", "memory"),
    )
    report = edgeprune.read_report(trained / "memory")
    before, after = (
        figures.memory.activation_peak_bytes
        for figures in (report.baseline, report.result)
    )
    assert done.returncode == 0, done.stderr
    assert before > limit * 1e6 >= after
    assert report.attempts[-1].memory_bytes == after


def test_below_the_floor_the_best_valid_model_is_written(trained):
    """Almost nothing may stay, but the accuracy must: exit 3, a valid model."""
    done = command(
        trained,
        *("compress", *MODEL, "--max-params", "700", "--out", "floor"),
        *("--epochs", "0", "--no-reconstruct"),
    )
    report = edgeprune.read_report(trained / "floor")
    assert done.returncode == 3
    assert report.status == "unmet"
    assert "accuracy floor" in report.sentence
    assert report.result.validation_accuracy >= report.accuracy_floor
    assert any(not step.valid for step in report.steps)


def test_a_baseline_below_the_floor_is_never_called_met(trained):
    done = command(
        trained,
        *("compress", "--model", "mynets:wide", "--data", "data.npz"),
        *("--target", FAKE, "--max-macs", "100G", "--accuracy-floor", "0.9"),
        *("--epochs", "0", "--out", "untrained"),
    )
    report = edgeprune.read_report(trained / "untrained")
    assert done.returncode == 3
    assert "baseline's own validation accuracy" in report.sentence
    assert any("--weights missing" in note for note in report.notes)


def test_python_callers_hand_over_objects(tmp_path):
    """Signals of shape (channels, length), a module and data sets."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(160) % 2
    x = torch.randn(160, 2, 30, generator=generator) + y[:, None, None]
    parts = [TensorDataset(x[i : i + 60], y[i : i + 60]) for i in (0, 60, 100)]
    model = Signal()
    done = edgeprune.compress(
        model,
        parts,
        budget={"max_params": 1500},
        accuracy_floor=0.0,
        epochs=2,
        criterion="l1",
        target=FAKE,
        out=tmp_path / "run",
    )
    assert done.report.status == "met"
    assert parameter_count(done.model) <= 1500 < parameter_count(model)
    assert type(done.model) is Signal
    assert (tmp_path / "run" / "model.onnx").is_file()
    with pytest.raises(EdgepruneError, match="greater than 0"):
        edgeprune.compress(model, parts, budget=-1, out=tmp_path / "other")


def test_a_padded_residual_network_stays_the_same_function(real_data, tmp_path):
    """ResNet-20 with its public weights: pruned by half, exported and proved."""
    state = torch.load(
        real_data / "checkpoints" / "resnet20-12fca82f.th",
        map_location="cpu",
        weights_only=True,
    )["state_dict"]
    model = CifarResNet(3)
    model.load_state_dict(
        {key.removeprefix("module."): value for key, value in state.items()},
        strict=False,
    )
    x, y = torch.randn(64, 3, 16, 16), torch.arange(64) % 10
    done = edgeprune.compress(
        model,
        [TensorDataset(x, y)] * 3,
        budget={"max_macs": "5M"},
        accuracy_floor=0.0,
        epochs=0,
        target=FAKE,
        out=tmp_path / "run",
    )
    assert done.report.status == "met"
    assert done.report.result.macs <= 5_000_000
    assert done.report.parity[0].passed
    assert done.report.result.timing.samples_ms
