"""The example of a workflow, its commands run by a shell as a runner would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgeprune.measure.onnx_file import write_onnx
from tests.made_up import FAKE
from tests.nets import Bottom

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / "examples" / "github-actions.yml").read_text())
JOB = WORKFLOW["jobs"]["model"]
X = (torch.zeros(1, 3, 32, 32),)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="a shell's commands")


def git(place, *words):
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *named, *words], cwd=place, check=True, capture_output=True)


@pytest.fixture(name="change")
def _change(tmp_path):
    """A clone of a repository with a model, and a function that changes it there."""
    first, clone = tmp_path / "first", tmp_path / "clone"
    (first / "models").mkdir(parents=True)
    write_onnx(Bottom(32), X, first / "models" / "net.onnx")
    git(first, "init", "-q", "-b", "main")
    git(first, "add", "-A")
    git(first, "commit", "-qm", "a model")
    git(tmp_path, "clone", "-q", "first", "clone")

    def changed(width):
        write_onnx(Bottom(width), X, clone / "models" / "net.onnx")
        return clone

    return changed


def run(place, most_ms="20"):
    """Exit codes and what was said, step by step, up to the first that fails."""
    programs = place / "bin"
    programs.mkdir(exist_ok=True)
    started = programs / "edgeprune"
    started.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgeprune "$@"\n')
    started.chmod(0o755)
    environment = {
        **os.environ,
        **{name: str(value) for name, value in WORKFLOW["env"].items()},
        "TARGET": FAKE,
        "MOST_MS": most_ms,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    for step in JOB["steps"]:
        if "run" not in step or step.get("name") == "Install":
            continue
        given = step.get("env", {})
        assert all(
            re.fullmatch(r"\$\{\{ github\.base_ref \}\}", one) for one in given.values()
        )
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=place,
            env={**environment, **dict.fromkeys(given, "main")},
            capture_output=True,
            text=True,
            check=False,
        )
        yield step["name"], done
        if done.returncode:
            return


def test_a_smaller_model_passes_and_leaves_a_page(change):
    place = change(16)
    found = [(name, done.returncode) for name, done in run(place)]
    assert [code for _, code in found] == [0, 0]
    uploaded = JOB["steps"][-1]["with"]["path"]
    assert "net.onnx" in (place / uploaded).read_text()


def test_a_slower_model_is_stopped_with_a_sentence(change):
    *_, (name, done) = run(change(64))
    assert name == "It is no slower or larger than the one before"
    assert done.returncode == 4
    assert "regression: " in done.stdout


def test_a_model_beyond_the_limit_is_stopped_first(change):
    ((name, done),) = run(change(16), most_ms="0.000001")
    assert name == "The file is sound, and fast enough"
    assert done.returncode == 1
    assert "blocker too_slow: it takes 0.1" in done.stdout


def test_a_new_model_has_nothing_to_be_compared_with(change):
    place = change(16)
    (place / "models" / "net.onnx").rename(place / "models" / "other.onnx")
    text = [step["run"] for step in JOB["steps"] if "git show" in step.get("run", "")]
    command = text[0].replace("net.onnx", "other.onnx").replace("$BASE", "main")
    done = subprocess.run(["bash", "-e", "-c", command], cwd=place, check=False)
    assert done.returncode == 0
