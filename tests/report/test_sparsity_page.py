"""What is shown of zeros."""

import io
from dataclasses import replace

from rich.console import Console

from edgeprune.records import (
    DataFacts,
    Parity,
    PenaltyFound,
    Plan,
    SparseStep,
    Sparsity,
    SparsityReport,
    from_json,
    to_json,
)
from edgeprune.report.sparsity import (
    accuracy_chart,
    notes_of,
    render_sparsity,
    rows_of,
    show_sparsity,
)
from tests.reports import report as run_report


def step(name, overall, latency_ms=None, **more):
    zeros = Sparsity(1000, overall, overall + 0.05, overall / 2, 5_000_000)
    return SparseStep(name, zeros, 0.97, 10**8, 10**6, latency_ms, **more)


def report():
    timing = run_report().result.timing
    return SparsityReport(
        schema_version=1,
        status="met",
        sentence="Met: all of it <b>.",
        created="2026-01-01",
        seconds=1.0,
        versions={"edgeprune": "0.1.0"},
        machine=timing.machine,
        settings={},
        model="net",
        method="prox-sg",
        wanted=0.6,
        accuracy_floor=0.9,
        data=DataFacts("digits", 10, 5, 5, 10, (1, 8, 8)),
        steps=(
            step("baseline", 0.0, 4.31, test_accuracy=0.98),
            step("sparse", 0.87, 4.30, test_accuracy=0.97),
            step("materialised", 0.0),
            step("retrained", 0.0, 0.68, test_accuracy=0.975),
        ),
        training=(),
        timings=(timing, timing),
        penalty=PenaltyFound(0.01, 0.59),
        removed=Plan({"a": (0, 1)}),
        difference=3e-7,
        parity=Parity("model.onnx", 5, 0.0, 0.0, 1.0, 1e-3, True),
        notes=("a note",),
    )


def test_a_report_survives_json():
    assert from_json(SparsityReport, to_json(report())) == report()


def test_every_step_has_a_row_and_what_is_not_known_a_dash():
    rows = rows_of(report())
    assert [row[0] for row in rows] == [item.name for item in report().steps]
    assert rows[1][1:4] == ["87.00 %", "92.00 %", "43.50 %"]
    assert rows[2][-3] == rows[2][-1] == "-"
    assert rows[3][-3] == "0.68 ms"


def test_it_says_that_zeros_alone_gain_no_time():
    notes = " ".join(notes_of(report()))
    assert "no time in a dense runtime: 4.30 ms with them, 4.31 ms without" in notes
    assert "3.0e-07" in notes
    assert "59.0% zero" in notes
    alone = replace(report(), steps=report().steps[:1], penalty=None, difference=None)
    assert notes_of(alone) == ["a note"]


def test_the_plot_ends_where_the_zeros_are_removed():
    shown = accuracy_chart(report()).series[0]
    assert list(shown.x) == [0.0, 87.0]


def test_the_page_stands_alone_and_escapes(tmp_path):
    page = render_sparsity(report())
    assert "&lt;b&gt;" in page
    assert "<b>." not in page
    head = page.split("<script>")[0]
    assert "http" not in head
    assert "60 % zero by prox-sg" in page


def test_the_table_fits_a_narrow_terminal():
    out = io.StringIO()
    show_sparsity(Console(file=out, width=80), report())
    text = out.getvalue()
    assert max(map(len, text.splitlines()[:10])) <= 80
    for word in ("zero weights", "compressed", "retrained", "0.68 ms", "…"):
        assert (word in text) == (word != "…")
