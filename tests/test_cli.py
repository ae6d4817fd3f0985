"""The command line as a user meets it: one sentence, the right exit code."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune import cli
from edgeprune.files import sha256
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.report.files import write_report
from tests.made_up import FAKE
from tests.nets import small
from tests.reports import figures, report

QUICK = str(Path(__file__).parent / "quick.toml")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).random((40, 3, 8, 8)).astype(np.float32)
    y = np.arange(40) % 4
    np.savez("data.npz", x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    torch.save(small().state_dict(), "ck.pt")


def run(monkeypatch, capsys, *arguments):
    """(exit code, standard output, standard error) of a command."""
    monkeypatch.setattr(sys, "argv", ["edgeprune", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    streams = capsys.readouterr()
    return caught.value.code or 0, streams.out, streams.err


COMPRESS = ["compress", "--model", "tests.nets:small", "--data", "data.npz"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([*COMPRESS, "--budget-ms", "0"], "--budget-ms"),
        ([*COMPRESS, "--budget-ms", "-1"], "--budget-ms"),
        ([*COMPRESS, "--max-macs", "many"], "--max-macs"),
        (
            [*COMPRESS, "--budget-ms", "1", "--weights", "no.pt"],
            "'no.pt' does not exist",
        ),
        ([*COMPRESS, "--budget-ms", "1", "--weights", "data.npz"], "data.npz"),
        (
            [*COMPRESS, "--budget-ms", "1", "--input", "1x8x8"],
            "--input 1x8x8 does not fit",
        ),
        (
            [*COMPRESS, "--budget-ms", "1", "--target", "phone"],
            "Unknown target 'phone'",
        ),
        (
            [*COMPRESS, "--budget-ms", "1", "--target", "rpi9"],
            "Unknown target 'rpi9'",
        ),
        ([*COMPRESS, "--budget-ms", "1", "--criterion", "magic"], "criterion 'magic'"),
        ([*COMPRESS, "--budget-ms", "1", "--out", "data.npz/run"], "is no folder"),
        (["compress", "--budget-ms", "1", "--data", "data.npz"], "give --model"),
        (
            ["compress", "--budget-ms", "1", "--model", "tests.nets:small"],
            "give --data",
        ),
        (
            ["compress", "--budget-ms", "1", "--model", "nothing", "--data", "digits"],
            "Unknown model 'nothing'",
        ),
        (
            [*COMPRESS[:2], "tests.nets:Branching", *COMPRESS[3:], "--budget-ms", "1"],
            "decides by the values",
        ),
        (
            [
                *COMPRESS[:2],
                "torchvision:resnet18",
                *COMPRESS[3:],
                "--num-classes",
                "3",
                "--budget-ms",
                "1",
            ],
            "The model has 3 outputs, the data have label 3: number",
        ),
        (["profile", "--model", "tests.nets:small"], "Give --input"),
        (["profile", "--model", "tests.nets:small", "--input", "4x8x8"], "4x8x8"),
        (["compare", "a", "b"], "holds no report.json"),
    ],
)
def test_a_refusal_is_one_sentence_and_exit_1(
    monkeypatch, capsys, tmp_path, arguments, complaint
):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(monkeypatch, capsys, *arguments)
    last = err.strip().splitlines()[-1]
    assert code == 1
    assert out == ""
    assert last.startswith("error: ")
    assert complaint in last
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_data_with_nan_are_refused(monkeypatch, capsys):
    held = dict(np.load("data.npz"))
    held["x_test"][3, 0, 0, 0] = np.nan
    np.savez("data.npz", **held)
    code, _, err = run(monkeypatch, capsys, *COMPRESS, "--budget-ms", "1")
    assert code == 1
    assert "NaN or infinity" in err


@pytest.mark.parametrize(
    "arguments",
    [["compress"], [*COMPRESS], ["compress", "--no-such-option"], ["no-such-command"]],
)
def test_wrong_usage_is_exit_2(monkeypatch, capsys, arguments):
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err


def test_what_budgets_there_are_is_said(monkeypatch, capsys):
    _, _, err = run(monkeypatch, capsys, *COMPRESS)
    assert "--max-memory-mb" in err
    _, _, err = run(monkeypatch, capsys, "fit", *COMPRESS[1:])
    assert "milliseconds to grow into" in err


def test_the_version_and_the_help_are_there(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version")[:2] == (0, "0.1.0\n")
    for command in ("compress", "profile", "compare"):
        assert run(monkeypatch, capsys, command, "--help")[0] == 0


def test_two_runs_are_compared(monkeypatch, capsys, tmp_path):
    write_report(report(), tmp_path / "a")
    write_report(report(result=figures(6.6, 0.89)), tmp_path / "b")
    code, out, _ = run(monkeypatch, capsys, "compare", "a", "b")
    assert code == 0
    assert "6.60 ms" in out
    allowed = ["compare", "a", "b", "--fail-on-regression"]
    assert run(monkeypatch, capsys, *allowed, "5%")[0] == 4
    code, out, _ = run(monkeypatch, capsys, *allowed, "30%", "--page", "both.html")
    assert code == 0
    assert "Nothing got worse" in (tmp_path / "both.html").read_text()
    assert out.splitlines()[-1] == "both.html"


def test_a_page_is_drawn_anew_from_its_report(monkeypatch, capsys, tmp_path):
    write_report(report(), tmp_path / "a")
    (tmp_path / "a" / "report.html").unlink()
    code, out, _ = run(monkeypatch, capsys, "report", "a")
    assert (code, out.strip()) == (0, str(Path("a") / "report.html"))
    assert "1.82x faster" in (tmp_path / "a" / "report.html").read_text()
    assert run(monkeypatch, capsys, "report", "nowhere")[0] == 1


def test_files_are_timed_anew_for_a_comparison(monkeypatch, capsys, tmp_path):
    torch.manual_seed(0)
    (tmp_path / "a").mkdir()
    for name in ("a/model.onnx", "net.onnx"):
        write_onnx(small(), (torch.zeros(1, 3, 8, 8),), tmp_path / name)
    path = tmp_path / "a" / "model.onnx"
    own = {"sha256": sha256(path), "size_bytes": path.stat().st_size}
    held = replace(report().result, **own)
    write_report(report(result=held), tmp_path / "a")
    arguments = ["compare", "a", "net.onnx"]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "net.onnx has no figures of its own: --remeasure times it" in err
    more = ["--remeasure", "--target", FAKE, "--processes", "1"]
    code, out, _ = run(monkeypatch, capsys, *arguments, *more)
    assert code == 0
    assert "unlike: target" not in out
    assert "89.00 %" in out
    turned = ["compare", "net.onnx", "a", *more, "--fail-on-regression", "99%"]
    code, out, err = run(monkeypatch, capsys, *turned)
    assert code == 0, out + err  # of a file alone no accuracy is asked for
    assert "net.onnx is a file alone: its time and size are compared" in out
    torch.manual_seed(1)
    write_onnx(small(), (torch.zeros(1, 3, 8, 8),), path)
    code, _, err = run(monkeypatch, capsys, *arguments, *more)
    assert code == 1
    assert "model.onnx is not the file that the report beside it tells of" in err


def test_files_for_unlike_calls_are_not_timed_against_each_other(
    monkeypatch, capsys, tmp_path
):
    for name, batch in (("a", 1), ("b", 8)):
        (tmp_path / name).mkdir()
        write_onnx(small(), (torch.zeros(1, 3, 8, 8),), tmp_path / name / "model.onnx")
        write_report(report(settings={"batch": batch}), tmp_path / name)
    more = ["--remeasure", "--target", FAKE, "--processes", "1"]
    code, _, err = run(monkeypatch, capsys, "compare", "a", "b", *more)
    assert code == 1
    assert "files for 1 and 8 samples in a call, whose times do not compare" in err


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken():
        raise RuntimeError("a bug")

    monkeypatch.setattr(sys.modules["edgeprune.cli.app"], "app", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()


def test_the_profile_is_shown_and_printed_as_json(monkeypatch, capsys):
    arguments = ["profile", "--model", "tests.nets:small", "--input", "3x8x8"]
    arguments += ["--target", QUICK]
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "second" in out
    assert "2 groups with 24 channels can be pruned" in out
    code, out, _ = run(monkeypatch, capsys, *arguments, "--json")
    assert code == 0
    from edgeprune.records import ProfileReport, from_json

    found = from_json(ProfileReport, out)
    assert found.figures.macs > 0
    assert found.figures.layers[0].latency_ms > 0


def test_groups_are_shown_with_what_is_kept_and_why(monkeypatch, capsys):
    model = ["--model", "tests.nets:HardCoded", "--input", "3x8x8"]
    status, out, _ = run(monkeypatch, capsys, "groups", *model)
    assert status == 0
    assert "1 groups with 8 channels can be pruned." in out
    assert "x.view(-1, 32)" in out
    status, out, _ = run(monkeypatch, capsys, "groups", *model, "--json")
    found = json.loads(out)
    assert [group["name"] for group in found["groups"]] == ["first"]
    assert found["groups"][0]["layers"] == ["first.weight"]
    assert found["refused"][0]["latency_ms"] is None


def test_groups_say_what_a_refusal_costs_when_timed(monkeypatch, capsys):
    arguments = [
        "--model",
        "tests.nets:HardCoded",
        "--input",
        "3x8x8",
        "--target",
        QUICK,
    ]
    status, out, _ = run(monkeypatch, capsys, "groups", *arguments, "--timed", "--json")
    assert status == 0
    costs = {item["name"]: item["latency_ms"] for item in json.loads(out)["refused"]}
    assert costs["second"] > 0
