"""What a sweep makes of its cells: the frontier, and which one to ship."""

from dataclasses import replace

from edgeprune.records.sweep import SweepCell, SweepOriginal
from edgeprune.report.sweep import cells_of, frontier_chart, sweep_page
from edgeprune.sweep.collect import Collected, sentence_of, to_ship, with_frontier
from edgeprune.sweep.run import report_of
from tests.reports import report


def cell(number, ms, accuracy, status="met", target="host"):
    return SweepCell(
        f"{number:03d}-seed-{number}",
        {"seed": number},
        target,
        status,
        "told",
        "model.onnx" if ms else None,
        accuracy,
        ms,
        ms / 10 if ms else None,
        1000,
        1000,
    )


def found(*cells):
    cells = tuple(with_frontier(cells))
    names = {cell.name: report() for cell in cells if cell.file}
    return Collected(cells, names, (SweepOriginal("host", "net", 10.0, 0.9),))


def test_what_no_other_one_beats_is_on_the_frontier():
    held = found(
        cell(0, 5.0, 0.9), cell(1, 4.0, 0.8), cell(2, 6.0, 0.85), cell(3, 4.5, 0.8)
    )
    assert [item.on_frontier for item in held.cells] == [True, True, False, False]


def test_targets_have_frontiers_of_their_own():
    held = found(cell(0, 5.0, 0.9), cell(1, 9.0, 0.5, target="pi"))
    assert [item.on_frontier for item in held.cells] == [True, True]


def test_equal_cells_are_both_on_it_and_failed_ones_are_not():
    held = found(cell(0, 5.0, 0.9), cell(1, 5.0, 0.9), cell(2, None, None, "failed"))
    assert [item.on_frontier for item in held.cells] == [True, True, False]


def test_the_fastest_that_is_as_accurate_as_the_best_is_shipped():
    test = report().data.test  # ten samples: chance is 9.5 points
    assert test == 10
    held = found(cell(0, 8.0, 0.9), cell(1, 5.0, 0.8), cell(2, 4.0, 0.5))
    assert to_ship(held, "host").name == "001-seed-1"
    assert "On host ship 001 (seed 1): 5.00 ms" in sentence_of(held)


def test_what_met_no_budget_is_not_shipped():
    held = found(cell(0, 8.0, 0.9, "unmet"), cell(1, None, None, "refused"))
    assert to_ship(held, "host") is None
    assert sentence_of(held) == "On host no cell met its budget."


def test_each_network_is_an_original_of_its_own():
    originals = tuple(
        SweepOriginal("host", model, ms, 0.9) for model, ms in (("a", 10.0), ("b", 7.0))
    )
    made = report_of(replace(found(cell(0, 5.0, 0.9)), originals=originals), 1.0)
    assert [row[0] for row in cells_of(made)[1]] == ["original a", "original b", "000"]
    assert frontier_chart(made, "host").series[-1].x == [10.0, 7.0]
    old = replace(made, originals=())
    assert cells_of(old)[1][0][:4] == ["original", "", "", "10.00 ms"]


def test_the_page_and_the_table_show_all_cells():
    held = found(cell(0, 8.0, 0.9), cell(1, 5.0, 0.8), cell(2, None, None, "refused"))
    made = report_of(held, 1.0)
    titles, rows = cells_of(made)
    assert "seed" in titles
    assert [row[0] for row in rows] == ["original", "001", "000"]
    assert rows[1][-1] == "ship"
    chart = frontier_chart(made, "host")
    assert chart.series[0].x == [5.0, 8.0]
    page = sweep_page(made)
    assert "002 (seed 2)" in page
    assert "<script" not in page
