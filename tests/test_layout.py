"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import edgeprune

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "edgeprune").rglob("*.py"))
FILES = [
    path
    for folder in ("edgeprune", "tests", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
LONGEST_FILE = 350
LONGEST_FUNCTION = 50


def test_no_file_is_too_long():
    worker = ROOT / "edgeprune/devices/worker.py"  # one file, since it is sent as one
    lengths = {
        path: len(path.read_text().splitlines()) for path in FILES if path != worker
    }
    assert not {path for path, length in lengths.items() if length > LONGEST_FILE}


def test_no_function_is_too_long():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= LONGEST_FUNCTION, (path, node.name)


def test_public_names_are_there_and_listed():
    for name in edgeprune.__all__:
        assert getattr(edgeprune, name) is not None
    assert set(edgeprune.__all__) == {*edgeprune._HOMES, "__version__"}
    with pytest.raises(AttributeError, match="nothing"):
        _ = edgeprune.nothing


def test_help_does_not_wait_for_torch():
    code = (
        "import sys, edgeprune, edgeprune.cli; from typer.main import get_command;"
        "command = get_command(edgeprune.cli.app);"
        "helped = command.commands['compress'];"
        "print(helped.get_help(helped.context_class(helped)));"
        "assert not {'torch', 'onnxruntime', 'numpy'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "--budget-ms" in shown.stdout


def test_the_changelog_begins_with_this_version():
    versions = re.findall(
        r"^## \[?([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert versions[0] == edgeprune.__version__


def test_nothing_is_unpickled_anywhere():
    for path in SOURCES:
        text = path.read_text()
        text = re.sub(r"cloudpickle\.loads\(held\[0\]\)", "", text)  # of a message
        assert not re.search(r"pickle\.load|allow_pickle=True", text), path
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, path


def test_every_test_folder_mirrors_a_part_of_the_package():
    parts = {path.name for path in (ROOT / "edgeprune").iterdir() if path.is_dir()}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - {"e2e"} <= parts


def test_only_torch_whose_internals_are_used_is_bound_from_above():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name, bounds = re.fullmatch(r"([\w.-]+?)(>=.*)", requirement).groups()
        bounded = name in ("torch", "torchvision")
        assert re.fullmatch(r">=[\d.]+,<[\d.]+" if bounded else r">=[\d.]+", bounds)
