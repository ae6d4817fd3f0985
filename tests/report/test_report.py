import json
from dataclasses import replace
from io import StringIO

import jsonschema
import pytest
from rich.console import Console

from edgeprune.errors import ReportError
from edgeprune.records import to_json
from edgeprune.report.compare import compared, of_run
from edgeprune.report.display import PlainProgress
from edgeprune.report.files import read_report, redraw, write_report
from edgeprune.report.schema import report_schema
from edgeprune.report.summary import rows_of, timing_warnings
from edgeprune.report.terminal import show_report
from tests.reports import figures, noisy, report


def shown(show, *arguments):
    console = Console(file=StringIO(), width=120)
    show(console, *arguments)
    return console.file.getvalue()


def test_a_written_report_is_read_back(tmp_path):
    write_report(report(), tmp_path)
    assert read_report(tmp_path) == report()
    assert read_report(tmp_path / "report.json") == report()


def test_a_report_is_what_its_schema_says(tmp_path):
    schema, content = json.loads(report_schema()), json.loads(to_json(report()))
    jsonschema.validate(content, schema)
    content["baseline"]["macs"] = "many"
    with pytest.raises(jsonschema.ValidationError, match="many"):
        jsonschema.validate(content, schema)


def test_a_report_of_an_earlier_version_is_read_and_drawn(tmp_path):
    content = json.loads(to_json(report()))
    needed = set(json.loads(report_schema())["required"])
    later = {"metric", "run_id", "sustained", "deployed", "int8", "stage_seconds"}
    assert later.isdisjoint(needed)
    earlier = {name: value for name, value in content.items() if name in needed}
    (tmp_path / "report.json").write_text(json.dumps(earlier))
    assert read_report(tmp_path).metric.name == "accuracy"
    assert "1.82x faster" in redraw(tmp_path).read_text()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "holds no report.json"),
        ("{}", "schema version 1"),
        ("[", "schema version 1"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(ReportError, match=complaint):
        read_report(tmp_path)


def test_the_table_compares_the_result_with_the_baseline():
    rows = {row.label: row for row in rows_of([figures(10.0, 0.9), figures(5.0, 0.88)])}
    assert rows["latency, median"].change() == "2.00x"
    assert rows["accuracy, test"].change() == "-2.00 points"
    assert rows["accuracy, test"].text(1) == "88.00 %"
    missing = rows_of([replace(figures(), test_accuracy=None), figures()])
    assert missing[-1].text(0) == "-"
    assert missing[-1].change() == ""


def test_the_terminal_shows_the_table_and_the_sentence():
    text = shown(show_report, report(notes=("something odd",)))
    for piece in ("10.00 ms", "5.50 ms", "1.82x", "note: something odd", "Met: 6 ms."):
        assert piece in text
    assert "int8: not kept, fp32 is faster here" in text


def test_where_the_int8_file_counts_it_is_what_is_compared():
    small = figures(2.0, 0.87)
    both = report(int8=small, settings={"precision": "int8"})
    text = shown(show_report, both)
    assert "baseline / result, int8" in text
    assert "5.00x" in text
    found = compared([of_run("fp32", report(int8=small)), of_run("int8", both)])
    assert found.rows[0].values == (5.5, 2.0)


def test_useless_timings_warn():
    found = timing_warnings(report(result=noisy(figures())))
    assert any("timing of result: spread" in warning for warning in found)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.update(schema_version=99), "schema version 1: it has 99"),
        (lambda c: c.pop("schema_version"), "schema version 1: it has None"),
        (
            lambda c: c["result"]["summary"].update(median_ms=float("nan")),
            "holds NaN, which is no figure",
        ),
        (lambda c: c["result"].update(test_accuracy=float("inf")), "holds Infinity"),
        (lambda c: c["result"].pop("macs"), "result.macs"),
    ],
)
def test_a_report_with_other_contents_is_refused(change, complaint, tmp_path):
    content = json.loads(to_json(report()))
    change(content)
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(ReportError, match=complaint):
        read_report(tmp_path)


def test_plain_progress_is_a_line_at_each_end(monkeypatch):
    console = Console(file=StringIO(), width=200)
    progress = PlainProgress(console)
    progress.start("finetune", 100)
    monkeypatch.setattr("time.perf_counter", lambda: progress._began + 20.0)
    progress.advance("loss 1.0")
    for _ in range(18):
        progress.advance()
    monkeypatch.setattr("time.perf_counter", lambda: progress._began + 40.0)
    progress.advance("loss 0.5")
    progress.finish("done well")
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "finetune ..."
    assert lines[1] == "finetune 1/100, loss 1.0"  # the rest cannot be known yet
    assert lines[2] == "finetune 20/100, 160 s left, loss 0.5"
    assert lines[3] == "finetune: done well (40.0 s)"


def test_what_was_predicted_and_measured_is_kept(tmp_path):
    write_report(report(), tmp_path)
    held = read_report(tmp_path)
    assert held.latency_model == report().latency_model
    assert held.sensitivity == report().sensitivity
    page = (tmp_path / "report.html").read_text()
    assert "+1.0 %, -2.0 %, +0.4 % (median 1.0" in page


@pytest.mark.parametrize(
    ("name", "command"), [("sparsity", "sparsify"), ("score",) * 2]
)
def test_what_another_command_found_is_no_run(name, command, tmp_path):
    (tmp_path / f"{name}.json").write_text("{}")
    with pytest.raises(ReportError, match=f"what `edgeprune {command}` found"):
        read_report(tmp_path)
