import hashlib
import json
import subprocess
import sys

import pytest
import torch

from moalign.training.runs import record
from moalign.training.runs.record import file_fingerprint, git_state, read_runs

from ..safe_runs import direct, online, rejection


def test_a_run_says_what_it_was_made_with_and_a_resumed_one_adds_to_it(tiny_base, tmp_path):
    direct(tiny_base, tmp_path, max_steps=2, seed=7, data_seed=3, evaluates=True).train()
    (first,) = read_runs(tmp_path / "run.json")
    assert (first["seed"], first["data_seed"], first["precision"], first["processes"]) == (7, 3, "float32", 1)
    assert (first["outcome"], first["steps"], first["resumed_from"]) == ("finished", [0, 2], None)
    assert first["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert {"moalign", "transformers", "trl", "peft", "accelerate"} <= set(first["versions"])
    assert first["python"] == sys.version.split()[0]
    assert first["device"] == "cpu"
    assert (first["data"]["train"]["rows"], first["data"]["eval"]["rows"]) == (12, 2)
    assert first["started"] <= first["ended"]
    direct(tiny_base, tmp_path, max_steps=3, seed=7, data_seed=3).train(resume_from_checkpoint=True)
    again, second = read_runs(tmp_path / "run.json")
    assert again == first
    assert (second["steps"], second["resumed_from"]) == ([2, 3], str(tmp_path / "checkpoint-2"))
    assert second["data"]["train"] == first["data"]["train"]
    direct(tiny_base, tmp_path, max_steps=1).train()
    assert len(read_runs(tmp_path / "run.json")) == 1  # begun anew


@pytest.mark.parametrize("learner", [online, rejection])
def test_learners_on_prompts_leave_one_too(tiny_base, tmp_path, learner):
    learner(tiny_base, tmp_path, max_steps=1).train()
    (entry,) = read_runs(tmp_path / "run.json")
    assert entry["outcome"] == "finished"
    assert entry["data"]["train"]["rows"] == 12


def test_what_ends_a_run_is_recorded(tiny_base, tmp_path):
    def end_by(error):
        trainer = direct(tiny_base, tmp_path)
        trainer.compute_loss = lambda *args, **kwargs: (_ for _ in ()).throw(error)
        with pytest.raises(type(error)):
            trainer.train()
        (entry,) = read_runs(tmp_path / "run.json")
        return entry["outcome"]

    assert end_by(ZeroDivisionError("division by zero")) == "failed: ZeroDivisionError: division by zero"
    assert end_by(KeyboardInterrupt()) == "failed: KeyboardInterrupt: "  # the second Ctrl-C, which does not wait


def test_a_damaged_record_does_not_keep_a_run_from_going_on(tiny_base, tmp_path, caplog):
    direct(tiny_base, tmp_path, max_steps=1).train()
    for text in ("", '{"runs": 5}', "[]", '{"runs": [5]}'):
        (tmp_path / "run.json").write_text(text)
        assert read_runs(tmp_path / "run.json") == []
    direct(tiny_base, tmp_path, max_steps=2).train(resume_from_checkpoint=True)
    assert f"{tmp_path / 'run.json'} cannot be read" in caplog.text
    (entry,) = read_runs(tmp_path / "run.json")
    assert (entry["outcome"], entry["steps"]) == ("finished", [1, 2])


def test_sums_of_files_and_folders(tmp_path, monkeypatch):
    file = tmp_path / "data" / "rows.jsonl"
    file.parent.mkdir()
    file.write_bytes(b"abc")
    assert file_fingerprint(file) == hashlib.sha256(b"abc").hexdigest()
    folder = file_fingerprint(file.parent)
    file.rename(file.with_name("other.jsonl"))
    assert file_fingerprint(file.parent) != folder  # names count
    assert file_fingerprint("org/name-on-a-hub") is None
    monkeypatch.setattr(record, "_WHOLE", 2)
    monkeypatch.setattr(record, "_END", 2)
    big = tmp_path / "model.safetensors"
    sums = []
    for content in (b"ab..cd", b"ab,,cd", b"ab...cd", b"xb..cd", b"ab..cx"):
        big.write_bytes(content)
        sums.append(file_fingerprint(big))
    assert sums[0] == sums[1]  # the middle of a big file does not count
    assert len(set(sums)) == 4  # its length and its ends do


def test_the_commit_is_that_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "train.py").write_text("1")
    for command in (["init", "-q"], ["add", "train.py"], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], check=True)
    state = git_state()
    assert len(state["commit"]) == 40
    assert not state["changed"]
    (tmp_path / "train.py").write_text("2")
    assert git_state() == {"commit": state["commit"], "changed": True}
    monkeypatch.setenv("PATH", "")
    assert git_state() is None


def test_the_command_line_adds_the_sums_of_its_files(tiny_base, tmp_path):
    from moalign.cli.run_record import RecordSources

    data = tmp_path / "pairs.jsonl"
    data.write_text("{}")
    code = tmp_path / "reward.py"
    code.write_text("reward = 1")
    sources = {
        "model": str(tiny_base),
        "reward": "org/reward",
        "own": f"{code}:reward",
        "dataset": str(data),
        "eval_dataset": None,
    }
    direct(tiny_base, tmp_path / "run", callbacks=[RecordSources(sources)], max_steps=1).train()
    (entry,) = read_runs(tmp_path / "run" / "run.json")
    assert entry["sources"] == {
        "model": {"name": str(tiny_base), "sha256": file_fingerprint(tiny_base)},
        "reward": {"name": "org/reward", "sha256": None},
        "own": {"name": f"{code}:reward", "sha256": hashlib.sha256(b"reward = 1").hexdigest()},
        "dataset": {"name": str(data), "sha256": hashlib.sha256(b"{}").hexdigest()},
    }
    assert json.loads((tmp_path / "run" / "config.json").read_text())["dataset"] == str(data)
