"""Output folders: refused early, claimed by one run, there as a whole or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from edgeprune.errors import OutputError
from edgeprune.output import aside, check_folder, claimed, is_free, publish
from tests.waiting import wait_for

HOLDS = """
import sys, time
from pathlib import Path
from edgeprune.output import aside, claimed
out = Path(sys.argv[1])
with claimed(out), aside(out) as written:
    (written / "model.onnx").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def place(tmp_path):
    """A folder for output folders, apart from the cache."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "what"),
    [("report.json", "a run"), ("score.json", "scores"), ("model.onnx", "not empty")],
)
def test_a_folder_that_holds_anything_is_refused(name, what, place):
    (place / name).write_text("mine")
    with pytest.raises(OutputError, match=what):
        check_folder(place)
    assert (place / name).read_text() == "mine"


def test_a_folder_below_a_file_or_a_broken_link_is_refused(place):
    (place / "file").write_text("")
    (place / "nowhere").symlink_to("missing")
    (place / "itself").symlink_to("itself")
    for name in ("file", "nowhere", "itself"):
        with pytest.raises(OutputError, match="Cannot write"):
            check_folder(place / name / "run")
        with pytest.raises(OutputError, match="Cannot write"):
            check_folder(place / name)


def test_checking_makes_nothing(place):
    check_folder(place / "new" / "run")
    assert not list(place.iterdir())


def test_an_empty_folder_is_filled(place):
    (place / "run").mkdir()
    written = write(place / "run", "model.onnx", "report.json")
    assert written == place / "run"
    assert names(place) == ["run"]
    assert names(written) == ["model.onnx", "report.json"]


def test_folders_have_the_permissions_that_new_folders_have(place):
    (place / "plain").mkdir()
    written = write(place / "above" / "run", "model.onnx")
    assert written.stat().st_mode == (place / "plain").stat().st_mode


def test_a_failed_run_leaves_nothing(place):
    with pytest.raises(OutputError), aside(place / "a" / "run") as written:
        written.joinpath("missing", "model.onnx").read_text()
    assert not names(place)


def test_what_appeared_meanwhile_stays_and_the_result_goes_beside_it(place):
    with claimed(place / "run"):
        (place / "run").mkdir()
        (place / "run" / "model.onnx").write_text("mine")
        assert write(place / "run", "model.onnx") == place / "run-2"
    assert (place / "run" / "model.onnx").read_text() == "mine"
    assert names(place) == ["run", "run-2"]


def test_a_second_run_into_one_folder_is_refused_at_once(place):
    with claimed(place / "run"):
        assert not is_free(place / "run")
        with pytest.raises(OutputError, match="Another run"), claimed(place / "run"):
            pass
        with claimed(place / "other"):
            pass
    assert is_free(place / "run")


def test_a_cache_that_cannot_be_written_does_not_stop_a_claim(place, monkeypatch):
    (place / "file").write_text("")
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(place / "file" / "cache"))
    with claimed(place / "run"):
        assert not is_free(place / "run")


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_killed_run_leaves_nothing_and_frees_the_folder(name, place):
    command = [sys.executable, "-c", HOLDS, str(place / "run")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout.readline() == b"ready\n"
        assert names(place) == [".edgeprune-run"]
        assert not is_free(place / "run")
        run.send_signal(getattr(signal, name))
        run.communicate()
    wait_for(lambda: not names(place))
    assert is_free(place / "run")


@pytest.mark.parametrize("how", ["killed", "crashed", "ended"])
def test_a_process_that_dies_says_what_it_was_at(how):
    """As torch's exporter does now and then, with a segmentation fault."""
    code = "\n".join(
        [
            "import ctypes, os, signal",
            "from edgeprune.temporary import last_words",
            "with last_words('it wrote Net'):",
            "    pass",
            "with last_words('it wrote Other'):",
            {
                "killed": "    os.kill(os.getpid(), signal.SIGKILL)",
                "crashed": "    ctypes.string_at(0)",
                "ended": "    pass",
            }[how],
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    said = done.stderr.splitlines()[-1:]
    assert said == ([] if how == "ended" else ["it wrote Other"])


def test_a_folder_that_cannot_be_replaced_is_written_inside(place, monkeypatch):
    monkeypatch.setattr("pathlib.Path.is_mount", lambda path: path.name == "mounted")
    (place / "mounted").mkdir()
    number = (place / "mounted").stat().st_ino
    assert write(place / "mounted", "model.onnx") == place / "mounted"
    assert (place / "mounted").stat().st_ino == number
    assert names(place / "mounted") == ["model.onnx"]


def write(folder, *files):
    with aside(folder) as written:
        for name in files:
            (written / name).write_text("made")
        return publish(written, folder)


def names(folder):
    return sorted(path.name for path in folder.iterdir())
