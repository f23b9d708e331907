import os

import pytest

from frontier.errors import InputError
from moalign.cli.output_folder import check_unused, check_writable, clear_results, nothing_left_of_refused_input


def test_a_new_folder_is_fine_and_not_made_yet(tmp_path):
    assert check_unused(tmp_path / "a" / "b", overwrite=False) == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["steer.json", "config.json", "checkpoint-10"])
def test_trained_work_is_not_overwritten_unasked(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf"already holds a result \({name}\).*or resume, or pass --overwrite"):
        check_unused(tmp_path, overwrite=False, remedy=", or resume")
    assert check_unused(tmp_path, overwrite=True) == tmp_path


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file, expected a folder"):
        check_writable(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_right_to_write(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="no right to write"):
        check_writable(tmp_path / "run")


def test_fronts_and_the_record_of_an_earlier_run_go(tmp_path):
    old = ["front.json", "front.prompts.safetensors", "front-other.json", "front-other.prompts.safetensors", "run.json"]
    mine = ["frontier.json", "front-page.txt", "notes.md"]
    for name in (*old, *mine):
        (tmp_path / name).write_text("")
    clear_results(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(mine)


def guarded(folder, files, error):
    """Inside the guard: write the files, then fail."""
    with nothing_left_of_refused_input(folder):
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("")
        raise error


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_nothing_is_left_of_refused_input(tmp_path):
    with pytest.raises(InputError, match="no"):
        guarded(tmp_path / "runs" / "x", ["config.json", "adapter/a"], InputError("no"))
    assert names(tmp_path) == []


def test_what_was_there_before_stays(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine").write_text("kept")
    with pytest.raises(InputError):
        guarded(tmp_path, ["adapter/new", "more/deep/new"], InputError("no"))
    assert names(tmp_path) == ["adapter", "adapter/mine"]


def test_a_crash_or_a_checkpoint_keeps_everything(tmp_path):
    with pytest.raises(RuntimeError):
        guarded(tmp_path / "crash", ["config.json"], RuntimeError("a bug"))
    with pytest.raises(InputError):
        guarded(tmp_path / "late", ["config.json", "checkpoint-50/state"], InputError("after hours of training"))
    assert names(tmp_path / "crash") == ["config.json"]
    assert names(tmp_path / "late") == ["checkpoint-50", "checkpoint-50/state", "config.json"]
