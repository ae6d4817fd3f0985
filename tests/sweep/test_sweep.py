"""A whole sweep on a made-up device: resumed, with cells that fail."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from edgeprune.api.devices import measured_in_turn
from edgeprune.errors import MeasurementError, OutputError
from edgeprune.progress import Logged
from edgeprune.records import to_json
from edgeprune.report.files import read_report
from edgeprune.sweep import collect
from edgeprune.sweep.cells import cells_of
from edgeprune.sweep.local import SETTINGS
from edgeprune.sweep.run import NOTES, has_result, sweep
from tests.commands import ROOT, command
from tests.reports import report
from tests.sweep.conftest import TEXT
from tests.waiting import wait_for


def cells(place):
    held = json.loads((place / "all" / "sweep.json").read_text())["cells"]
    return {cell["name"][:3]: cell for cell in held}


def test_cells_that_are_refused_do_not_lose_the_others(place):
    asked = ["sweep", "sweep.toml", "--out", "all", "--jobs", "2", "--quiet"]
    done = command(place, *asked)
    assert done.returncode == 0
    found = cells(place)
    assert [found[key]["status"] for key in sorted(found)] == [
        *("met", "refused"),
        *("met", "refused"),
    ]
    assert "no_such" in found["001"]["sentence"]
    assert "003 (max-macs 50%, criterion no_such): refused" in done.stdout
    kept = {path: path.stat().st_mtime_ns for path in place.glob("all/0*/report.json")}
    assert len(kept) == 2
    again = command(place, *asked)
    assert again.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert "cells: 2 of 4 have a result" in again.stderr


def test_what_was_refused_is_tried_again(place):
    text = TEXT.replace(', "no_such"', "").replace("examples.nets", "later")
    (place / "sweep.toml").write_text(text)
    asked = ["sweep", "sweep.toml", "--out", "all", "--quiet"]
    done = command(place, *asked)
    assert done.returncode == 3
    assert [cell["status"] for cell in cells(place).values()] == ["refused"] * 2
    (place / "later.py").write_text("from examples.nets import make_net\n")
    done = command(place, *asked)
    assert done.returncode == 0
    assert [cell["status"] for cell in cells(place).values()] == ["met"] * 2


def test_files_are_timed_a_few_at_a_time_beside_one_original(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "sweep.toml").write_text(TEXT.replace(', "no_such"', ""))
    calls = []

    def timed(runner, paths):
        calls.append([path.parent.name[:3] + path.name for path in paths])
        return measured_in_turn(runner, paths)

    monkeypatch.setattr(collect, "measured_in_turn", timed)
    monkeypatch.setattr(collect, "TOGETHER", 1)
    report = sweep(place / "sweep.toml", place / "all", Logged()).report
    whole = "000baseline.onnx"
    assert calls == [[whole, "000model.onnx"], [whole, "001model.onnx"]]
    (original,) = report.originals
    assert original.latency_ms == report.baseline_ms[report.cells[0].target]
    for cell in report.cells:
        ms = cell.latency_ratio * original.latency_ms
        assert cell.latency_ms == pytest.approx(ms)
        assert cell.latency_ratio < 1


def test_a_target_that_does_not_answer_in_the_end_loses_no_table(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "sweep.toml").write_text(TEXT.replace(', "no_such"', ""))

    def gone(*_):
        raise MeasurementError("It is away.")

    monkeypatch.setattr(collect, "measured_in_turn", gone)
    found = sweep(place / "sweep.toml", place / "all", Logged()).report
    assert found.sentence.endswith(" times are those of each run: It is away.")
    for cell in found.cells:
        own = read_report(place / "all" / cell.name)
        assert cell.latency_ms == own.counted.latency_ms
        assert cell.latency_ratio == pytest.approx(own.counted.latency_ratio)


def begun(folder, cell, held):
    """A cell that has ended, and what its report calls the model and the data."""
    settings = {**cell.settings.model_dump(mode="json"), **held}
    (folder / cell.name).mkdir(parents=True)
    made = to_json(report(settings=settings))
    (folder / cell.name / "report.json").write_text(made)
    notes = folder / NOTES / cell.name
    notes.mkdir(parents=True)
    (notes / SETTINGS).write_text(to_json(cell.settings))


def test_a_cell_is_found_again_however_its_report_calls_model_and_data(tmp_path):
    text = '[sweep]\nmax-macs = ["50%"]\n'
    (tmp_path / "sweep.toml").write_text(text)
    (cell,) = cells_of(tmp_path / "sweep.toml")
    assert not has_result(cell, tmp_path)
    begun(tmp_path, cell, {"model": "example:meter", "data": "meter digits"})
    assert has_result(cell, tmp_path)
    (tmp_path / "sweep.toml").write_text(f'data = "digits"\n{text}')
    (other,) = cells_of(tmp_path / "sweep.toml")
    with pytest.raises(OutputError, match="holds a run with another data"):
        has_result(other, tmp_path)


def test_another_file_or_folder_is_refused(place):
    (place / "all").mkdir()
    (place / "all" / "mine.txt").write_text("mine")
    done = command(place, "sweep", "sweep.toml", "--out", "all")
    assert done.returncode == 1
    assert "holds something else than a sweep" in done.stderr
    assert (place / "all" / "mine.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_leaves_no_process(place):
    (place / "sweep.toml").write_text(TEXT.replace(', "no_such"', ""))
    asked = [sys.executable, "-m", "edgeprune", "sweep", "sweep.toml", "--out", "all"]
    started = subprocess.Popen(
        asked, cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    wait_for(lambda: list(place.glob("all/0*/report.json")), 500)
    started.send_signal(signal.SIGKILL)
    started.wait()
    time.sleep(3)
    running = subprocess.run(
        ["pgrep", "-f", str(place)], capture_output=True, text=True, check=False
    )
    assert running.stdout == ""
    done = command(place, *asked[3:], "--quiet")
    assert done.returncode == 0
    assert [cell["status"] for cell in cells(place).values()] == ["met"] * 2
