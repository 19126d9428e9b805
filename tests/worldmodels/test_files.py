import pytest

from worldmodels import files


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "a.txt"
    files.write_atomically(path, "one")
    files.write_atomically(path, b"two")
    assert path.read_text() == "two" and list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = files.write_atomically(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(path, "\ud800")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_written_whole(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.written(tmp_path / "models") as temporary:
        temporary.mkdir()
        (temporary / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_of_a_folder_that_is_there_only_the_files_that_are_written_are_replaced(tmp_path):
    for name in ("kept", "replaced"):
        files.write_atomically(tmp_path / "models" / name, "old")
    with files.written(tmp_path / "models") as temporary:
        temporary.mkdir()
        (temporary / "replaced").write_text("new")
    assert {path.name: path.read_text() for path in (tmp_path / "models").iterdir()} == {
        "kept": "old",
        "replaced": "new",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_closing_path_leads_to_its_folder_until_its_block_has_failed(tmp_path):
    with files.closing_path(tmp_path) as path:
        (path / "a.txt").write_text("written")
    assert (tmp_path / "a.txt").read_text() == "written" and not path.exists()
    with pytest.raises(KeyboardInterrupt), files.closing_path(tmp_path) as path:
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="Not a directory"):
        (path / "b.txt").write_text("late")
    with pytest.raises(OSError, match="Not a directory|File exists"):
        (path / "folder").mkdir(parents=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
