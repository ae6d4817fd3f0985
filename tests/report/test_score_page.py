"""The page of scores and its table."""

from io import StringIO

from rich.console import Console

from edgeprune.records import (
    SCORE_SCHEMA,
    BlockScore,
    GroupLoss,
    GroupScores,
    Rescored,
    ScoreReport,
    Scores,
    Sensitivity,
    Spectra,
    Spectrum,
    from_json,
    to_json,
)
from edgeprune.report.score import (
    depths,
    explained_chart,
    render_scores,
    rows_of,
    scores_chart,
    sensitivity_chart,
    show_scores,
    write_scores,
)

CURVE = (0.5, 0.9, 0.9995, 1.0)


def report(**changes):
    groups = (GroupScores("<i>a", (3.0, 1.0, 2.0, 2.0)), GroupScores("b", (1.0,) * 4))
    held = {
        "schema_version": SCORE_SCHEMA,
        "model": "nets:net",
        "data": "digits",
        "created": "2026-01-01",
        "versions": {"edgeprune": "0.1.0"},
        "criterion": "l1,obd",
        "sizes": {"<i>a": 4, "b": 4},
        "scores": Scores("l1", groups, 0, 0.5, 0, Rescored("obd", 2, 8, 1.0, 3.5)),
        "blocks": (BlockScore("block", 2.0, 0.25),),
        "sensitivity": Sensitivity(
            (GroupLoss("<i>a", 2, 0.3, 0.8), GroupLoss("<i>a", 1, 0.7, 0.5)),
            {"block": 0.25},
            64,
            1.0,
            0.9,
        ),
        "spectra": Spectra(
            (Spectrum("<i>a", 400, CURVE), Spectrum("b", 400, CURVE)),
            (Spectrum("<i>a", 400, CURVE), Spectrum("b", 400, CURVE)),
            64,
            1.0,
        ),
        "variance": 0.999,
    }
    return ScoreReport(**(held | changes))


def test_curves_start_at_the_whole_network_and_fall_with_what_is_removed():
    accuracy = sensitivity_chart(report(), accuracy=True).series[0]
    assert accuracy.x == [0, 50, 75]
    assert accuracy.y == [90, 80, 50]
    loss = sensitivity_chart(report(), accuracy=False).series[0]
    assert loss.y == [0, 0.3, 0.7]


def test_components_and_their_significant_number_are_drawn_layer_by_layer():
    assert explained_chart(report()).series[1].y == [50, 90, 99.95, 100]
    assert [(layer.before, layer.after) for layer in depths(report())] == [(4, 3)] * 2


def test_scores_are_drawn_in_rising_order_as_shares_of_their_mean():
    assert scores_chart(report()).series[0].y == [0.5, 1, 1, 1.5]


def test_a_row_says_what_was_measured_of_a_group():
    assert rows_of(report()) == [
        ["<i>a", "4", "1", "2", "3", "0.300", "80.00%", "3"],
        ["b", "4", "1", "1", "1", "-", "-", "3"],
    ]
    bare = report(sensitivity=None, spectra=None)
    assert rows_of(bare)[0] == ["<i>a", "4", "1", "2", "3"]


def test_the_page_escapes_names_and_leaves_out_what_there_is_not():
    page = render_scores(report())
    assert "&lt;i&gt;a" in page
    assert "an estimated 3.5 s for all" in page
    bare = render_scores(report(sensitivity=None, spectra=None, blocks=()))
    for title in ("<h2>Sensitivity", "<h2>Blocks", "<h2>Principal components"):
        assert title in page
        assert title not in bare


def test_the_json_is_read_back(tmp_path):
    write_scores(report(), tmp_path)
    assert from_json(ScoreReport, (tmp_path / "score.json").read_bytes()) == report()
    assert (tmp_path / "score.json").read_text() == to_json(report())


def test_the_terminal_shows_blocks_and_what_a_second_criterion_cost():
    console = Console(file=StringIO(), width=140)
    show_scores(console, report())
    shown = console.file.getvalue()
    assert "block block, loss 0.250 without it, score 2" in shown
    assert "obd: 1.0 s for the 2 of 8 channels near the cut" in shown
