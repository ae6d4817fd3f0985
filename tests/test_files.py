import pytest

from edgeprune.errors import OutputError
from edgeprune.files import check_folder, write_whole


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "a" / "b.txt", "content")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
    assert (tmp_path / "a" / "b.txt").read_text() == "content"


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(OutputError, match="already holds a run"):
        check_folder(tmp_path)


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is no folder"):
        check_folder(tmp_path / "file" / "run")
    with pytest.raises(OutputError, match="Cannot write"):
        write_whole(tmp_path / "file" / "run" / "x", b"")


def test_checking_makes_nothing(tmp_path):
    check_folder(tmp_path / "new" / "run")
    assert not list(tmp_path.iterdir())
