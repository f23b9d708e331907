import os

import pytest

from frontier.errors import InputError
from moalign.training.runs.checkpoint_seal import SEAL, seal
from moalign.training.runs.checkpoints import (
    checked,
    latest_checkpoint,
    publish,
    remove_unfinished,
    saving_folder,
    why_not_whole,
)


@pytest.fixture
def make(tmp_path):
    """A sealed checkpoint of a step, as small as can be; `text` tells two of one step apart."""

    def call(step, text="{}", folder=tmp_path):
        path = folder / f"checkpoint-{step}"
        path.mkdir(parents=True)
        (path / "trainer_state.json").write_text("{}")
        (path / "steering_state.json").write_text(text)
        seal(path)
        return path

    return call


def test_the_highest_step_counts_not_the_name(make, tmp_path):
    for step in (9, 10, 2):
        make(step)
    (tmp_path / "checkpoint-best").mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_damaged_ones_are_skipped_with_the_reason(make, tmp_path, caplog):
    make(1)
    (make(2) / "steering_state.json").write_text("{]")
    (make(3) / "steering_state.json").unlink()
    (make(4) / "trainer_state.json").write_text("{} ")
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    warnings = [record.getMessage().removeprefix(f"{tmp_path}{os.sep}") for record in caplog.records]
    assert warnings == [
        "checkpoint-4 is damaged (trainer_state.json has 3 bytes, 2 were written): skipped",
        "checkpoint-3 was not written to its end (steering_state.json is missing): skipped",
        "checkpoint-2 is damaged (steering_state.json does not have the checksum that was written): skipped",
    ]


def test_without_checksums_one_that_was_written_to_its_end_is_enough(make, tmp_path):
    (make(2) / "steering_state.json").write_text("{]")
    (make(3) / "steering_state.json").unlink()
    assert latest_checkpoint(tmp_path, required=True, verify=False) == tmp_path / "checkpoint-2"
    with pytest.raises(InputError, match="holds no checkpoint to go on from"):
        latest_checkpoint(tmp_path, required=True)


def test_checkpoints_of_before_there_were_seals_are_taken(make):
    (make(1) / SEAL).unlink()
    assert why_not_whole(make(2).parent / "checkpoint-1") is None


def test_a_path_that_was_asked_for_is_refused_with_another_way_out(make, tmp_path):
    make(1)
    assert checked(make(2)) == tmp_path / "checkpoint-2"
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text("{")
    with pytest.raises(InputError, match=r"checkpoint-2 is damaged .*checkpoint-1 is whole"):
        checked(str(tmp_path / "checkpoint-2"))
    with pytest.raises(InputError, match=r"has no steering_state.json"):
        checked(tmp_path / "checkpoint-7")


def test_none_left_is_an_error_only_where_one_is_required(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "nowhere") is None
    with pytest.raises(InputError, match="holds no checkpoint to go on from"):
        latest_checkpoint(tmp_path, required=True)


def test_a_checkpoint_gets_its_name_whole_and_takes_the_place_of_a_damaged_one(make, tmp_path):
    old = make(5, text='"damaged"')
    (old / "left over").write_text("x")
    saving = saving_folder(tmp_path, 5)
    written = make(5, text='"new"', folder=saving)
    (written / SEAL).unlink()
    assert latest_checkpoint(tmp_path) == old  # nothing hidden counts
    publish(written, old)
    assert why_not_whole(old) is None
    assert {p.name for p in old.iterdir()} == {SEAL, "trainer_state.json", "steering_state.json"}
    assert (old / "steering_state.json").read_text() == '"new"'


def test_what_cannot_be_read_back_does_not_get_the_name(make, tmp_path):
    written = saving_folder(tmp_path, 5) / "checkpoint-5"
    written.mkdir(parents=True)
    (written / "trainer_state.json").write_text("{")
    with pytest.raises(OSError, match="cannot be read back"):
        publish(written, tmp_path / "checkpoint-5")
    assert not (tmp_path / "checkpoint-5").exists()


def test_only_what_killed_runs_left_is_removed(make, tmp_path):
    make(1)
    make(2, folder=saving_folder(tmp_path, 2))
    (tmp_path / ".mine.saving").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".config.json.ab_d3fgh").write_text("{")
    (tmp_path / ".config.json").write_text("{}")
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "nowhere")
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoint-1", ".mine.saving", ".git", ".config.json"}
