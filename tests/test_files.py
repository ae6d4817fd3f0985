import pytest

from edgeprune.errors import OutputError
from edgeprune.files import write_whole


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "a" / "b.txt", "content")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
    assert (tmp_path / "a" / "b.txt").read_text() == "content"


def test_a_file_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        write_whole(tmp_path / "file" / "run" / "x", b"")
