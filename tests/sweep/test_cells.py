"""The file of a sweep: every choice is a cell, and all are checked first."""

import pytest

from edgeprune.errors import ConfigError
from edgeprune.sweep.cells import cells_of
from tests.commands import ROOT

HEAD = 'model = "examples.nets:make_net"\ndata = "examples.data:make_data"\n'


def cells(tmp_path, text):
    (tmp_path / "sweep.toml").write_text(HEAD + text)
    return cells_of(tmp_path / "sweep.toml")


def test_every_choice_is_a_cell(tmp_path):
    found = cells(
        tmp_path,
        'max-drop = 3\n[sweep]\nbudget-ms = ["70%", 5]\nseed = [0, 1, 2]\n',
    )
    assert len(found) == 6
    assert len({cell.name for cell in found}) == 6
    assert [cell.settings.seed for cell in found] == [0, 1, 2, 0, 1, 2]
    assert found[3].changes == {"budget_ms": 5, "seed": 0}
    assert all(cell.settings.max_drop == 3 for cell in found)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"needs a table \[sweep\]"),
        ("[sweep]\n", r"needs a table \[sweep\]"),
        ("[sweep]\nseed = 1\n", "seed in .* must be a list"),
        ("[sweep]\nseed = []\n", "seed in .* must be a list"),
        ("seed = 1\n[sweep]\nseed = [1]\nmax-macs = [1]\n", "seed is set twice"),
        ('[sweep]\nout = ["a"]\n', "give --out on the command line"),
        ("[sweep]\nseeed = [1]\n", "The cell of seeed 1: Unknown setting 'seeed'"),
        ("[sweep]\nseed = [1]\n", "The cell of seed 1: .*--budget-ms"),
        ('[sweep]\nmax-macs = ["x"]\n', "The cell of max-macs x: --max-macs: a count"),
        ('[sweep]\ntarget = ["host=5,my-pi=9"]\n', "a target in .* is a name alone"),
        ('[sweep]\ntarget = ["host=5"]\n', "its budgets belong in budget-ms"),
        ('target = "host=5,my-pi=9"\n[sweep]\nseed = [1]\n', "a cell has one target"),
        ('[sweep]\ntask = ["image", "regression"]\n', "of several task cannot be comp"),
        (f"[sweep]\nmax-macs = [1]\nseed = {list(range(1001))}\n", "1001 cells"),
        ("[sweep\n", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_run(tmp_path, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        cells(tmp_path, text)


def test_the_example_has_a_cell_for_each_budget():
    found = cells_of(ROOT / "examples" / "sweep.toml")
    assert [cell.changes for cell in found] == [
        {"budget_ms": "70%"},
        {"budget_ms": "50%"},
    ]
