"""What studies share goes on working as the code under them changes."""

import ast
from pathlib import Path

import pytest
import torch

from benchmarks.age import MEASURES
from benchmarks.origin import origin, taken
from benchmarks.setting import final_share, search, setting
from edgeprune.data import Reading, TensorBatches
from edgeprune.graph.surgery import apply
from edgeprune.prune.loss import losses_of
from edgeprune.records import Budget
from edgeprune.score.context import Context
from edgeprune.score.criteria import comparable_scores, score_channels
from edgeprune.score.sensitivity import measure_sensitivity
from tests.nets import Bottom

STUDIES = Path(__file__).parents[1] / "benchmarks"


def defined(module):
    """The names at the top of a study, without the packages that it imports."""
    tree = ast.parse((STUDIES / f"{module}.py").read_text())
    for part in tree.body:
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            yield part.name
        if isinstance(part, ast.Import | ast.ImportFrom):
            yield from (item.asname or item.name for item in part.names)
        if isinstance(part, ast.Assign | ast.AnnAssign):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            yield from (
                node.id
                for target in targets
                for node in ast.walk(target)
                if isinstance(node, ast.Name)
            )


@pytest.mark.parametrize(
    "path", sorted(STUDIES.glob("*.py")), ids=lambda path: path.stem
)
def test_what_a_study_imports_is_there(path):
    for part in ast.walk(ast.parse(path.read_text())):
        if not isinstance(part, ast.ImportFrom) or part.module is None:
            continue
        package, _, module = part.module.partition(".")
        names = {item.name for item in part.names}
        if package == "benchmarks":
            assert names <= set(defined(module)), (part.module, names)
        if package in {"edgeprune", "examples", "tests"}:
            scope = {}
            exec(f"from {part.module} import {', '.join(names)}", scope)
            assert names <= scope.keys()


def test_a_table_says_where_its_rows_were_taken():
    here = origin()
    assert here.keys() == {"commit", "machine", "torch", "onnxruntime"}
    other = {**here, "commit": "1234567"}
    old = {"commit": "89abcde", "ms": 1.0}
    rows = {"a": {"parts": [here, other]}, "b": old, "c": {"ms": 2.0}}
    said = [line for line in taken(rows) if line]
    commits = ", ".join(sorted([here["commit"], "1234567"]))
    where = f"{here['machine']}, torch {here['torch']}"
    assert said[0].startswith(f"Taken at {commits}: {where}, ONNX Runtime ")
    assert said[1:] == ["Taken at 89abcde: on a machine that was not noted."]


@pytest.mark.parametrize(
    "page",
    sorted(path for path in STUDIES.glob("*.md") if path.stem != "README"),
    ids=lambda path: path.stem,
)
def test_a_table_names_its_command_and_what_it_measures(page):
    assert f"python -m benchmarks.{page.stem}" in page.read_text()
    for folder in MEASURES[page.stem]:
        assert list((STUDIES.parent / "edgeprune" / folder).rglob("*.py"))


@pytest.mark.slow
@pytest.mark.xdist_group("measuring")
def test_the_planner_alone_meets_a_budget(tmp_path):
    x = torch.randn(64, 3, 32, 32)
    held = setting(Bottom(64).eval(), (x[:1],), str(tmp_path))
    batches = TensorBatches(x, torch.zeros(64).long(), Reading(16))
    context = Context(held.model, held.graph, batches)
    scores = score_channels("l1", context)
    ranked = comparable_scores(scores, held.graph)
    loss = losses_of(ranked, measure_sensitivity(context, scores, []))
    limit = Budget(macs=int(0.6 * held.figures.macs))
    errors = held.errors(context, scores)
    found, trials = search(held, ranked, loss, limit, errors)
    assert found.fits
    assert trials
    assert final_share(held, apply(held.model, held.graph, found.plan)) > 0
