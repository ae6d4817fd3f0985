"""A whole sweep on a made-up device: resumed, with cells that fail."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.commands import ROOT, command
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
