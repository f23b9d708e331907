import pytest

from frontier.atomic import replace_folder, write_text


def test_write_text_replaces_and_leaves_no_traces(tmp_path):
    target = tmp_path / "new" / "file.json"
    write_text(target, "one")
    write_text(target, "zwei ü")
    assert target.read_text(encoding="utf-8") == "zwei ü"
    assert [p.name for p in target.parent.iterdir()] == ["file.json"]


def test_write_text_keeps_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "file.json"
    write_text(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "\ud800")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_replace_folder_appears_only_when_complete(tmp_path):
    target = tmp_path / "bundle"
    with replace_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("1")
        assert not target.exists()
    assert (target / "sub" / "a").read_text() == "1"


def test_replace_folder_keeps_other_files_of_an_existing_folder(tmp_path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "mine").write_text("keep")
    (target / "a").write_text("old")
    with replace_folder(target) as folder:
        (folder / "a").write_text("new")
    assert (target / "mine").read_text() == "keep"
    assert (target / "a").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle"]


def test_replace_folder_leaves_nothing_when_it_fails(tmp_path):
    def write_half():
        with replace_folder(tmp_path / "bundle") as folder:
            (folder / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(tmp_path.iterdir()) == []
