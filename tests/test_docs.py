"""Every command and every Python block of README, docs and examples runs."""

import doctest
import importlib
import os
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import edgeprune
from edgeprune import cli, targets
from edgeprune.report.schema import report_schema
from edgeprune.settings.reference import reference_page
from tests.made_up import FAKE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DEFAULT = {"README.md", "getting-started.md"}  # the others are slow
EXAMPLES = {
    "compress_network": [FAKE],
    "look_at_groups": [],
    "own_criterion": [FAKE],
    "own_operator": [],
    "make_zeros": [FAKE],
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")
LONGEST = 200  # lines of the README


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all blocks run: what one page writes another may read."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "examples", folder / "examples")
    os.environ["EDGEPRUNE_CACHE"] = str(folder / "cache")
    return folder


@pytest.fixture
def there(folder, monkeypatch):
    """That is the current folder; the made-up device stands for this machine."""
    known = targets.load
    monkeypatch.setattr(
        targets, "load", lambda name: known(FAKE if name == "host" else name)
    )
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(folder / "cache"))
    return folder


def blocks(page):
    """(language, text) of every fenced block of a page."""
    return FENCE.findall(page.read_text())


def commands(text):
    """The commands of a block, lines that go on joined."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def run_command(line, monkeypatch):
    program, *arguments = shlex.split(line)
    assert program == "edgeprune", line
    monkeypatch.setattr(sys, "argv", ["edgeprune", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None), line


def prepared(there, monkeypatch):
    """What pages take for granted: the two runs that getting started and int8 make."""
    for name, precision in (("first", "fp32"), ("in-int8", "int8")):
        if not (there / "runs" / name).exists():
            given = "--model examples.nets:make_net --data examples.data:make_data"
            line = (
                f"edgeprune compress {given} --budget-ms 60% --no-train --max-drop 100"
            )
            line += f" --precision {precision} --out runs/{name}"
            run_command(line, monkeypatch)


def params():
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        if any(language in {"bash", "python"} for language, _ in blocks(page)):
            marks = [] if page.name in DEFAULT else [pytest.mark.slow]
            yield pytest.param(page, id=name, marks=marks)


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", list(params()))
def test_what_a_page_shows_runs(page, there, monkeypatch):
    if page.name == "report.md":
        prepared(there, monkeypatch)
    for folder in (there / "runs").glob("*"):
        if page.name != "report.md":
            shutil.rmtree(folder)
    namespace = {}
    for language, text in blocks(page):
        if language == "bash":
            for line in commands(text):
                run_command(line, monkeypatch)
        if language == "python":
            exec(compile(text, str(page), "exec"), namespace)


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, there, monkeypatch, capsys):
    from edgeprune.graph.operators import OPERATORS
    from edgeprune.score.criteria import CRITERIA

    held = dict(OPERATORS), dict(CRITERIA)
    try:
        monkeypatch.setattr(sys, "argv", [name, *EXAMPLES[name]])
        runpy.run_module(f"examples.{name}", run_name="__main__", alter_sys=True)
    finally:
        for table, before in zip((OPERATORS, CRITERIA), held, strict=True):
            table.clear()
            table.update(before)
    assert capsys.readouterr().out.strip()


def test_every_example_is_run():
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert names == {*EXAMPLES, "__init__", "nets", "data", "tasks"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_every_page_is_linked_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "index.md" or f"({name})" in index, name


def test_the_settings_page_is_made_from_the_declarations():
    page = ROOT / "docs" / "reference" / "settings.md"
    assert page.read_text() == reference_page()


def test_the_schema_of_reports_is_made_from_the_records():
    page = ROOT / "docs" / "reference" / "report.schema.json"
    assert page.read_text() == report_schema()


def test_every_criterion_is_described():
    from edgeprune.score.criteria import CRITERIA

    text = (ROOT / "docs" / "guides" / "criteria.md").read_text()
    assert not [name for name in CRITERIA if f"`{name}`" not in text]


def test_the_readme_is_short_and_its_commands_are_the_projects():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= LONGEST
    assert "pip install -e . && edgeprune compress --budget-ms 20" in readme
    assert "pip install -e '.[test]' && pytest" in readme


def public_names():
    for name in sorted(set(edgeprune.__all__) - {"__version__"}):
        whole_run = name in {"Finished", "Sparsified", "SparsityReport"}
        yield pytest.param(name, marks=[pytest.mark.slow] if whole_run else [])


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("name", list(public_names()))
def test_a_public_name_has_an_example_that_runs(name, there, monkeypatch):
    from edgeprune.graph.operators import OPERATORS
    from edgeprune.score.criteria import CRITERIA

    module = importlib.import_module(edgeprune._HOMES[name])
    value = getattr(module, name)
    found = doctest.DocTestFinder(recurse=False).find(value, name, globs={})
    tests = [item for item in found if item.examples]
    if any("runs/first" in line.source for item in tests for line in item.examples):
        prepared(there, monkeypatch)
    assert tests, f"{name} shows no example"
    held = dict(OPERATORS), dict(CRITERIA)
    try:
        for item in tests:
            assert not doctest.DocTestRunner(verbose=False).run(item).failed
    finally:
        for table, before in zip((OPERATORS, CRITERIA), held, strict=True):
            table.clear()
            table.update(before)
