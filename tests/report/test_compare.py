"""Results side by side: what got worse, and what cannot be told."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from edgeprune.metric import Metric
from edgeprune.records import (
    FileTiming,
    Measurements,
    TimingSummary,
)
from edgeprune.records.measurements import MEASUREMENTS_SCHEMA
from edgeprune.report.compare import compared, of_file, of_measurements, of_run
from edgeprune.report.compare_page import render_comparison, show_comparison
from tests.figures import MACHINE
from tests.reports import figures, report


def runs(*reports):
    return compared([of_run("abcdef"[at], one) for at, one in enumerate(reports)])


def shown(comparison):
    console = Console(file=StringIO(), width=140)
    show_comparison(console, comparison)
    return console.file.getvalue()


def elsewhere(figures, **changes):
    return replace(figures, timing=replace(figures.timing, **changes))


def timed(name, median_ms, machine=MACHINE):
    timing = replace(figures(median_ms).timing, machine=machine)
    return FileTiming(
        name, median_ms, "0" * 64, 1000, 1.0, TimingSummary.of(timing), timing
    )


def test_equal_runs_have_nothing_to_point_out():
    found = runs(report(), report())
    assert found.warnings == ()
    assert found.regressions(0.0) == ()


def test_what_is_unlike_is_pointed_out_in_words():
    data = replace(report().data, name="other data")
    other = report(
        data=data,
        baseline=replace(report().baseline, macs=12_345),
        settings={"model": "x", "seed": 1},
    )
    text = shown(runs(report(), other))
    assert "12,345 MACs" in text
    assert "against other data (" in text
    assert "setting seed: 0 against 1" in text
    assert "DataFacts" not in text


def grown(size=1.0, memory=1.0):
    kept = figures(5.5, 0.89)
    held = replace(kept.memory, activation_peak_bytes=int(2**16 * memory))
    return replace(kept, size_bytes=int(kept.size_bytes * size), memory=held)


@pytest.mark.parametrize(
    ("worse", "sentence"),
    [
        (figures(6.6, 0.89), "b is slower by 20.0% (5.50 ms -> 6.60 ms), 0.05 is allo"),
        (figures(5.5, 0.80), "worse by 9.00 points (89.00 % -> 80.00 %), 5 are allow"),
        (grown(size=1.5), "b: its file is larger by 50.0% ("),
        (grown(memory=2.0), "b: its activations take more memory by 100.0% ("),
        (figures(5.5, None), "b has no test accuracy to compare"),
    ],
)
def test_each_kind_of_regression_has_its_sentence(worse, sentence):
    found = runs(report(result=grown()), report(result=worse))
    (said,) = found.regressions(0.05)
    assert sentence in said


def test_what_is_allowed_is_no_regression():
    other = report(result=figures(5.7, 0.88))
    assert runs(report(), other).regressions(0.05) == ()
    assert len(runs(report(), other).regressions(0.005)) == 2


def test_the_first_may_lack_what_is_compared():
    both = (report(result=figures(5.5, None)), report())
    assert runs(*both).regressions(1.0) == ("a has no test accuracy to compare",)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"machine": replace(MACHINE, cpu="another")}, "machine: a CPU against anoth"),
        ({"machine": replace(MACHINE, cores=64)}, "cores: "),
        ({"runtime": "onnxruntime 0.1"}, "against onnxruntime 0.1"),
        ({"threads": 7}, "threads: "),
        ({"provider": "other"}, "against other"),
    ],
)
def test_times_of_unlike_machines_are_no_pass(changes, named):
    other = report(result=elsewhere(figures(5.5, 0.89), **changes))
    found = runs(report(), other)
    (said,) = found.regressions(1.0)
    assert "the times of a and b do not compare" in said
    assert named in said
    assert "--remeasure" in said
    assert any(named in warning for warning in found.warnings)


def test_another_target_is_no_pass():
    (said,) = runs(report(), report(target="my-pi")).regressions(1.0)
    assert "target: host against my-pi" in said


def test_accuracies_on_other_data_are_no_pass():
    data = replace(report().data, name="other data")
    (said,) = runs(report(), report(data=data)).regressions(1.0)
    assert "the test accuracy of a and b do not compare (data: " in said


def test_each_metric_stands_in_its_own_unit():
    decibels = Metric("PSNR", "dB")
    result = replace(report().result, validation_accuracy=8.75, test_accuracy=8.803)
    found = runs(report(), report(metric=decibels, result=result))
    rows = {row.label: row for row in found.rows}
    assert rows["PSNR, test"].text(0) == rows["accuracy, test"].text(1) == "-"
    assert rows["PSNR, test"].text(1) == "8.803 dB"
    assert rows["PSNR, test"].change() == ""
    assert "metric: accuracy against PSNR" in found.warnings
    assert any("do not compare" in one for one in found.regressions(0.0))


def test_any_number_is_compared_with_the_first():
    found = runs(report(), *(report(result=figures(ms, 0.89)) for ms in (6.6, 5.5, 8)))
    said = found.regressions(0.1)
    assert [sentence[:11] for sentence in said] == ["b is slower", "d is slower"]
    text = shown(found)
    assert "6.60 ms (0.83x)" in text
    assert "-9" not in text


def test_files_that_were_timed_alone_have_no_accuracy():
    held = Measurements(
        MEASUREMENTS_SCHEMA, "host", "", (timed("one", 5.0), timed("two", 6.0))
    )
    found = compared(of_measurements("m.json", held))
    assert found.names == ("one", "two")
    (said,) = found.regressions(0.1)
    assert "two is slower by 20.0%" in said
    assert [row.label for row in found.rows] == [
        "latency, median",
        "latency, p90",
        "file",
    ]


def test_files_of_one_name_are_told_apart():
    files = [replace(timed("model.onnx", 5.0), sha256=6 * digit) for digit in "ab"]
    held = Measurements(MEASUREMENTS_SCHEMA, "host", "", tuple(files))
    found = compared(of_measurements("m.json", held))
    assert found.names == ("model.onnx (aaaaaa)", "model.onnx (bbbbbb)")


def test_a_file_alone_is_compared_by_its_time_and_size():
    run = of_run("run", report())
    file = of_file("released.onnx", timed("released.onnx", 5.5), "host")
    for items in ([file, run], [run, file]):
        found = compared(items)
        assert not [one for one in found.regressions(1e9) if "accuracy" in one]
        (told,) = [one for one in found.notes if "released.onnx" in one]
        assert told == "released.onnx is a file alone: its time and size are compared"
    slow = of_file("released.onnx", timed("released.onnx", 2.0), "host")
    said = compared([slow, run]).regressions(0.1)
    assert any("run is slower by" in one for one in said)


def test_a_time_of_an_unknown_machine_is_no_pass():
    told = FileTiming("model.onnx", 5.5, "0" * 64, 1000, source="perf")
    (item,) = of_measurements("t.json", Measurements(1, "host", "", (told,)))
    for items in ([item, of_run("b", report())], [of_run("b", report()), item]):
        found = compared(items)
        said, *_ = found.regressions(1e9)
        assert said.startswith("on what machine, and how, t.json was timed is not kno")
        assert said.removesuffix(": --remeasure times all of them here") in (
            found.notes
        )


def test_estimates_are_marked():
    guessed = elsewhere(figures(5.5, 0.89), runtime="estimated by a table")
    found = runs(report(result=guessed), report(result=guessed))
    assert "the time of b is an estimate" in found.notes
    assert [row.label for row in found.rows][:1] == ["latency, estimated, median"]
    assert "Spread" not in render_comparison(found, None)
    (said,) = runs(report(), report(result=guessed)).regressions(1.0)
    assert "do not compare" in said


def test_what_a_timing_says_of_itself_is_passed_on():
    shaky = figures(5.5, 0.89)
    samples = [[3.0, 9.0, 5.5] for _ in shaky.timing.rounds_ms]
    shaky = replace(shaky, timing=replace(shaky.timing, rounds_ms=tuple(samples)))
    found = runs(report(), report(result=shaky))
    assert any(one.startswith("timing of b: spread") for one in found.notes)


def test_times_in_turn_go_by_their_ratio():
    first = of_file("a", timed("a", 5.0), "host")
    second = replace(of_file("b", timed("b", 5.2), "host"), ratio=1.3)
    (said,) = compared([first, second]).regressions(0.1)
    assert "b is slower by 30.0% (5.00 ms -> 5.20 ms)" in said


def test_memory_that_cannot_be_counted_is_pointed_out():
    held = replace(grown().memory, activation_peak_bytes=None)
    found = runs(report(result=grown()), report(result=replace(grown(), memory=held)))
    assert "the activations of b cannot be counted" in found.notes


def test_a_run_whose_file_was_timed_anew_has_that_time():
    machine = replace(MACHINE, cpu="another")
    old = of_run("a", report())
    new = old.timed_anew(timed("model.onnx", 9.0, machine), "my-pi")
    assert new.figures["latency, median"] == 9.0
    assert (new.facts["machine"], new.facts["target"]) == ("another", "my-pi")
    assert new.figures["test"] == old.figures["test"]


def test_the_page_says_what_got_worse():
    found = runs(report(), report(result=figures(6.6, 0.89)), report())
    page = render_comparison(found, found.regressions(0.1))
    assert "b is slower by 20.0%" in page
    assert "<script" not in page
    assert 'class="status unmet"' in page
    assert "Nothing got worse" in render_comparison(found, ())
    assert "status" not in render_comparison(found, None).split("</style>")[1]
