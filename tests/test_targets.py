import pytest

from edgeprune import targets
from edgeprune.errors import TargetError

GOOD = """name = "board"
description = "A board"
transport = "ssh"

[runtime]
engine = "onnxruntime"
provider = "CPUExecutionProvider"
threads = 4
"""


def write(tmp_path, text):
    path = tmp_path / "board.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", targets.available())
def test_shipped_targets_are_valid_and_named_after_their_files(name):
    assert targets.load(name).name == name


def test_a_target_of_ones_own_is_a_file(tmp_path):
    assert targets.load(write(tmp_path, GOOD)).runtime.threads == 4


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("threads = 4", "threads = 0", r"board.toml:8: runtime.threads: .* found 0"),
        ("threads = 4", "threads = 'x'", r"board.toml:8: runtime.threads"),
        ("threads = 4", "", r"board.toml:5: runtime.threads: it is missing"),
        ('"ssh"', '"fax"', r"board.toml:3: transport: .*'fax'"),
        ("threads = 4", "threads = 4\ncolour = 1", r"board.toml:9: runtime.colour"),
        ("[runtime]", "[runtime", r"is not TOML: .*line 5"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, before, after, complaint):
    with pytest.raises(TargetError, match=complaint):
        targets.load(write(tmp_path, GOOD.replace(before, after)))


def test_an_unknown_target_lists_the_known_ones():
    with pytest.raises(TargetError, match=r"'phone': choose one of android-browser, "):
        targets.load("phone")


def test_a_missing_file_is_refused():
    with pytest.raises(TargetError, match="cannot be read"):
        targets.load("nowhere.toml")
