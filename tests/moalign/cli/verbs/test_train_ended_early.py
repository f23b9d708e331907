"""`moalign train` that does not come to its end: the exit code says why, the message how to go on."""

import json
import os
import signal

import pytest

from moalign.bundle import read_manifest
from moalign.cli.run_record import RecordSources
from moalign.training.runs.checkpoints import why_not_whole


@pytest.fixture
def call(tmp_path, tiny_base, reward, prompts_file):
    settings = {
        "model": tiny_base,
        "reward": reward,
        "dataset": prompts_file,
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "num_generations": 2,
        "max_completion_length": 5,
        "normalizer_samples": 16,
        "lora_r": 2,
        "save_steps": 50,
        "lr_scheduler_type": "constant",
        "use_cpu": True,
    }
    return ["train", "clp", *(part for name, value in settings.items() for part in (f"--{name}", value))]


@pytest.fixture
def at_step_2(monkeypatch):
    """Do something at the end of the second step of the runs that the command line starts."""

    def set_up(act):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                act()

        monkeypatch.setattr(RecordSources, "on_step_end", on_step_end)

    return set_up


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_message_says_how_to_go_on(
    moalign, call, at_step_2, tmp_path, monkeypatch, number, code
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    at_step_2(lambda: os.kill(os.getpid(), number))
    found, out, err = moalign(*call, "--output_dir", parts)
    assert found == code
    assert f"after step 2, saved in {parts / 'checkpoint-2'}" in err
    assert "--resume_from_checkpoint true" in err
    assert "The bundle is in" not in out
    assert why_not_whole(parts / "checkpoint-2") is None
    at_step_2(lambda: None)
    assert moalign(*call, "--output_dir", parts, "--resume_from_checkpoint", "true")[0] == 0
    assert moalign(*call, "--output_dir", whole)[0] == 0
    assert read_manifest(parts).files == read_manifest(whole).files
    runs = json.loads((parts / "run.json").read_text())["runs"]
    assert [run["outcome"] for run in runs] == ["terminated" if code == 143 else "interrupted", "finished"]
    assert set(runs[0]["sources"]) == {"model", "reward", "dataset"}


def test_what_cannot_go_on_ends_with_1_and_the_cause(moalign, call, at_step_2, tmp_path):
    def full():
        raise OSError(28, "No space left on device", str(tmp_path / "run" / "metrics.jsonl"))

    at_step_2(full)
    code, _, err = moalign(*call, "--output_dir", tmp_path / "run", "--save_steps", 1)
    assert code == 1
    assert "Traceback" not in err
    assert "moalign: error: step 2: metrics.jsonl could not be written: No space left on device" in err
    assert f"{tmp_path / 'run' / 'checkpoint-1'} is whole: go on with" in err
