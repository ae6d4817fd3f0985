"""Where a run is, and how long it still takes by what such a run took before."""

import json
from io import StringIO

import pytest
from rich.console import Console

from edgeprune.report.clock import RunClock
from edgeprune.report.display import JsonLines, LiveProgress, PlainProgress, end_line

RUN = (("load", 2.0), ("prune", 100.0), ("judge", 30.0), ("export", 20.0))


class Time:
    """A clock that goes as it is told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def now(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    found = Time()
    monkeypatch.setattr("time.perf_counter", found)
    return found


def run(now, display, steps):
    for step, seconds in steps:
        display.start(step, 1)
        now.now += seconds
        display.finish()


@pytest.fixture
def ended(now):
    """A run of this kind has come to its end."""
    clock = RunClock("this kind")
    run(now, PlainProgress(Console(file=StringIO()), clock), RUN)
    clock.end()
    return now


def test_nothing_is_said_before_such_a_run_has_ended(now):
    clock = RunClock("this kind")
    clock.begin("load")
    assert clock.left is None
    assert clock.text == ""


def test_what_is_left_is_what_it_took_before(ended):
    clock = RunClock("this kind")
    assert clock.left == pytest.approx(152.0)
    clock.begin("load")
    ended.now += 5.0  # slower this time
    assert clock.left == pytest.approx(150.0)
    clock.begin("prune")
    assert clock.text == "about 2 min left of the run"
    ended.now += 90.0
    assert clock.left == pytest.approx(60.0)
    assert clock.text == "about 60 s left of the run"
    assert RunClock("another kind").left is None


def test_steps_that_are_new_or_left_out_do_not_mislead(ended):
    clock = RunClock("this kind")
    clock.begin("prune")
    clock.begin("a second round")
    assert clock.left == pytest.approx(50.0)
    clock.begin("export")
    assert clock.left == pytest.approx(20.0)
    ended.now += 30.0  # longer than ever
    assert clock.left is None


@pytest.mark.parametrize("content", ["", "[{}]", '{"step": 1}'])
def test_a_damaged_record_is_none(ended, tmp_path, content):
    (held,) = (tmp_path / "durations").iterdir()
    held.write_text(content)
    assert RunClock("this kind").left is None


def test_bars_show_the_run_and_its_step(ended):
    console = Console(file=StringIO(), width=160, force_terminal=True)
    bars = LiveProgress(console, RunClock("this kind"))
    run(ended, bars, RUN[:1])
    bars.start("prune", 4)
    bars.advance("19 ms")
    bars._bars.refresh()
    bars.finish("found")
    bars.stop()
    shown = console.file.getvalue()
    for said in ("the whole run", "about 2 min left", "prune", "1/4", "19 ms"):
        assert said in shown
    assert "prune: found (0.0 s)" in shown


def test_figures_that_are_no_numbers_are_null(ended):
    lines = []
    display = JsonLines(lines.append, RunClock("this kind"))
    display.figures({"loss": float("nan"), "accuracy": 0.5}, 3)
    found = json.loads(lines[0], parse_constant=pytest.fail)
    assert (found["event"], found["number"]) == ("figures", 3)
    assert (found["loss"], found["accuracy"]) == (None, 0.5)


def test_lines_are_json(ended):
    lines = []
    display = JsonLines(lines.append, RunClock("this kind"))
    display.start("prune", 40)
    for _ in range(20):
        ended.now += 0.4
        display.advance("19 ms")
    display.finish("found")
    lines.append(end_line("met", "All is well.", folder="runs/x"))
    found = [json.loads(line) for line in lines]
    start, *between, finish, end = found
    assert start == {
        "event": "start",
        "step": "prune",
        "parts": 40,
        "elapsed_s": 0.0,
        "left_s": 150.0,
    }
    assert [item["event"] for item in between] == ["advance"] * 6
    assert between[-1]["done"] == 18
    assert between[-1]["left_s"] == pytest.approx(150.0 - 18 * 0.4)
    assert finish["outcome"] == "found"
    assert finish["seconds"] == 8.0
    assert end == {
        "event": "end",
        "status": "met",
        "message": "All is well.",
        "folder": "runs/x",
    }
