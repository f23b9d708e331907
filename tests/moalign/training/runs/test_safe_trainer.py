"""Checkpoints that are whole or not there, signals, and stops with their cause, on all three learners."""

import errno
import json
import math
import os
import resource
import signal
import types

import pytest
import torch
from transformers import TrainerCallback

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.training.runs.checkpoint_seal import SEAL
from moalign.training.runs.checkpoints import latest_checkpoint, saving_folder, why_not_whole
from moalign.training.runs.stopping import RunInterrupted, RunStopped, RunTerminated

from ..safe_runs import direct, online, rejection

LEARNERS = {"direct": direct, "online": online, "rejection": rejection}


class At(TrainerCallback):
    """Do something at the end of a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.act()


def sent(number):
    return lambda: os.kill(os.getpid(), number)


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def adapters(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if "lora_" in name}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    assert a
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


# ---- saving


def test_a_checkpoint_has_no_name_before_it_is_whole(tiny_base, tmp_path, monkeypatch):
    seen = []
    trainer = direct(tiny_base, tmp_path, max_steps=2)
    write = trainer._save_rng_state

    def watched(output_dir):
        step = trainer.state.global_step
        assert output_dir == str(saving_folder(tmp_path, step) / f"checkpoint-{step}")
        seen.append([path.name for path in tmp_path.glob("checkpoint-*")])
        write(output_dir)

    monkeypatch.setattr(trainer, "_save_rng_state", watched)
    trainer.train()
    assert seen == [[], ["checkpoint-1"]]
    assert hidden(tmp_path) == []
    for step in (1, 2):
        assert (tmp_path / f"checkpoint-{step}" / SEAL).is_file()
        assert why_not_whole(tmp_path / f"checkpoint-{step}") is None
    assert SteerablePolicy.from_pretrained(tmp_path / "checkpoint-2").objectives == ("helpful", "brief")


def test_the_best_and_the_latest_are_kept_under_their_own_names(tiny_base, tmp_path, monkeypatch):
    best = {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "save_total_limit": 2}
    best |= {"metric_for_best_model": "eval_loss", "greater_is_better": False}
    trainer = direct(tiny_base, tmp_path, evaluates=True, **best)
    losses = iter([3.0, 1.0, 2.0, 2.5])
    weights = []

    def evaluate(*args, **kwargs):
        weights.append(adapters(trainer))
        metrics = {"eval_loss": next(losses)}
        trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
        return metrics

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    trainer.train()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    for step in (2, 4):
        state = json.loads((tmp_path / f"checkpoint-{step}" / "trainer_state.json").read_text())
        assert state["best_model_checkpoint"] == str(tmp_path / "checkpoint-2")
    assert_equal(adapters(trainer), weights[1])


def test_what_a_killed_run_left_is_removed_and_a_damaged_checkpoint_gone_over(tiny_base, tmp_path, caplog):
    whole = direct(tiny_base, tmp_path, max_steps=3)
    whole.train()
    end = adapters(whole)
    path = tmp_path / "checkpoint-3" / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-100])
    (tmp_path / "checkpoint-2" / "scheduler.pt").unlink()
    (saving_folder(tmp_path, 3) / "checkpoint-3").mkdir(parents=True)
    again = direct(tiny_base, tmp_path, max_steps=3)
    again.train(resume_from_checkpoint=True)
    assert f"{tmp_path / 'checkpoint-3'} is damaged (optimizer.pt has" in caplog.text
    assert f"{tmp_path / 'checkpoint-2'} is damaged (scheduler.pt is missing): skipped" in caplog.text
    assert hidden(tmp_path) == []
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    assert_equal(adapters(again), end)


def test_a_damaged_path_is_refused(tiny_base, tmp_path):
    direct(tiny_base, tmp_path, max_steps=2).train()
    file = tmp_path / "checkpoint-2" / "trainer_state.json"
    file.write_text(file.read_text().replace("2", "3", 1))
    with pytest.raises(InputError, match=r"checkpoint-2 is damaged \(trainer_state.json .*checkpoint-1 is whole"):
        direct(tiny_base, tmp_path, max_steps=2).train(resume_from_checkpoint=str(file.parent))


# ---- a disk that is full


@pytest.mark.parametrize("limit", [7_000, 30_000], ids=["adapter", "optimizer"])
def test_a_file_that_cannot_be_written_stops_the_run_and_leaves_the_older_checkpoint(tiny_base, tmp_path, limit):
    """A limit on the size of files stands for the full disk: the same error, from the same writers, at the same place."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))

    trainer = direct(tiny_base, tmp_path, callbacks=[At(2, full)])
    try:
        with pytest.raises(RunStopped) as caught:
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    file = "*.safetensors" if limit == 7_000 else f"checkpoint-2{os.sep}optimizer.pt"
    assert f"step 2: .checkpoint-2.saving{os.sep}{file} could not be written: " in str(caught.value)
    assert "MiB are free" in str(caught.value)
    assert caught.value.checkpoint == tmp_path / "checkpoint-1"
    assert why_not_whole(tmp_path / "checkpoint-1") is None
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]
    assert hidden(tmp_path) == []
    assert json.loads((tmp_path / "run.json").read_text())["runs"][0]["outcome"].startswith("stopped: step 2")


def test_a_full_disk_stops_the_run_outside_of_a_checkpoint_too(tiny_base, tmp_path):
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "metrics.jsonl"))

    with pytest.raises(
        RunStopped, match=r"step 2: metrics.jsonl could not be written: No space left on device"
    ) as caught:
        direct(tiny_base, tmp_path, callbacks=[At(2, full)]).train()
    assert caught.value.checkpoint == tmp_path / "checkpoint-1"
    assert json.loads((tmp_path / "run.json").read_text())["runs"][0]["outcome"].startswith("stopped: step 2")


def test_an_error_that_names_no_file(tiny_base, tmp_path):
    """As of a write to a file that is open, metrics.jsonl for one."""

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RunStopped, match=r"step 1: a file could not be written: No space left on device"):
        direct(tiny_base, tmp_path, callbacks=[At(1, full)]).train()


def test_other_errors_of_the_system_are_not_taken_for_a_full_disk(tiny_base, tmp_path):
    def missing():
        raise FileNotFoundError(errno.ENOENT, "not there", "prompts.jsonl")

    with pytest.raises(FileNotFoundError, match=r"prompts.jsonl"):
        direct(tiny_base, tmp_path, callbacks=[At(1, missing)]).train()


# ---- signals


@pytest.mark.parametrize("learner", LEARNERS)
def test_sigterm_saves_the_step_under_way_and_the_resumed_run_ends_the_same(tiny_base, tmp_path, learner):
    run = LEARNERS[learner]
    whole = run(tiny_base, tmp_path / "whole", save_strategy="no")
    whole.train()
    parts = tmp_path / "parts"
    cut = run(tiny_base, parts, save_strategy="no", callbacks=[At(2, sent(signal.SIGTERM))])
    with pytest.raises(RunTerminated) as caught:
        cut.train()
    assert (caught.value.code, caught.value.step) == (143, 2)
    assert caught.value.checkpoint == parts / "checkpoint-2"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    again = run(tiny_base, parts, save_strategy="no")
    again.train(resume_from_checkpoint=True)
    assert_equal(adapters(again), adapters(whole))
    runs = json.loads((parts / "run.json").read_text())["runs"]
    assert [(r["outcome"], r["steps"], r["resumed_from"]) for r in runs] == [
        ("terminated", [0, 2], None),
        ("finished", [2, 4], str(parts / "checkpoint-2")),
    ]
    steps = [json.loads(line)["step"] for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert len(steps) == len((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines())


def test_a_rollout_that_serves_several_steps_is_used_up_first(tiny_base, tmp_path):
    cut = online(
        tiny_base, tmp_path, save_steps=2, steps_per_generation=2, max_steps=6, callbacks=[At(3, sent(signal.SIGTERM))]
    )
    with pytest.raises(RunTerminated) as caught:
        cut.train()
    assert caught.value.step == 4


def test_ctrl_c_saves_once_and_does_not_wait_twice(tiny_base, tmp_path):
    with pytest.raises(RunInterrupted, match="interrupted after step 1"):
        direct(tiny_base, tmp_path, save_steps=50, callbacks=[At(1, sent(signal.SIGINT))]).train()
    assert why_not_whole(tmp_path / "checkpoint-1") is None

    def twice():
        sent(signal.SIGINT)()
        sent(signal.SIGINT)()

    with pytest.raises(KeyboardInterrupt) as caught:
        direct(tiny_base, tmp_path / "twice", save_steps=50, callbacks=[At(1, twice)]).train()
    assert not isinstance(caught.value, RunInterrupted)
    assert latest_checkpoint(tmp_path / "twice") is None


def test_a_signal_after_the_last_step_is_not_lost(tiny_base, tmp_path):
    class Late(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            sent(signal.SIGTERM)()

    with pytest.raises(RunTerminated) as caught:
        direct(tiny_base, tmp_path, max_steps=2, save_strategy="no", callbacks=[Late()]).train()
    assert why_not_whole(caught.value.checkpoint) is None
    assert caught.value.step == 2


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_run_that_has_made_all_its_steps_makes_no_more_when_it_is_resumed(tiny_base, tmp_path, learner):
    """As after a kill between the last checkpoint and the bundle; 4 steps are no whole number of epochs."""
    whole = LEARNERS[learner](tiny_base, tmp_path, lr_scheduler_type="constant")
    whole.train()
    again = LEARNERS[learner](tiny_base, tmp_path, lr_scheduler_type="constant")
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 4
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert_equal(adapters(again), adapters(whole))
    assert again.steering_state() == whole.steering_state()


def test_saving_in_the_middle_of_a_step_is_refused(tiny_base, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(InputError, match="enable_jit_checkpoint saves in the middle of a step"):
            direct(tiny_base, tmp_path, enable_jit_checkpoint=True).train()
    finally:
        signal.signal(signal.SIGTERM, before)


# ---- what is not finite


def spoil(trainer, call, value=math.nan):
    """Multiply the loss of one micro-batch, and keep the batch as the learner got it."""
    real, seen = trainer.compute_loss, []

    def compute_loss(self, model, inputs, *args, **kwargs):
        seen.append(inputs)
        loss = real(model, inputs, *args, **kwargs)
        return loss * value if len(seen) == call else loss

    trainer.compute_loss = types.MethodType(compute_loss, trainer)
    return seen


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(tiny_base, tmp_path, learner, value):
    trainer = LEARNERS[learner](tiny_base, tmp_path)
    spoil(trainer, 3, value)
    kept = {}
    trainer.add_callback(At(2, lambda: kept.update(adapters(trainer))))
    with pytest.raises(RunStopped, match=r"step 3: the loss is (nan|-?inf), of a batch from") as caught:
        trainer.train()
    assert_equal(adapters(trainer), kept)
    assert caught.value.step == 3
    assert caught.value.rows
    assert caught.value.checkpoint == tmp_path / "checkpoint-2"
    assert "lower learning_rate (0.01)" in str(caught.value)
    assert not (tmp_path / "checkpoint-3").exists()
    again = LEARNERS[learner](tiny_base, tmp_path)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 4


def test_the_rows_are_those_of_the_micro_batch(tiny_base, tmp_path):
    trainer = direct(tiny_base, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    seen = spoil(trainer, 6)  # the second half of step 3
    with pytest.raises(RunStopped) as caught:
        trainer.train()
    table = trainer.train_dataset
    assert [table.prompts[row] for row in caught.value.rows] == seen[5]["prompt"]
    assert f"pairs of the training data {caught.value.rows[0]}, {caught.value.rows[1]};" in str(caught.value)


def test_a_gradient_that_is_not_finite_names_the_whole_update(tiny_base, tmp_path):
    trainer = direct(tiny_base, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    parameter = next(p for p in trainer.model.parameters() if p.requires_grad)
    calls = []

    def hook(gradient):
        calls.append(1)
        return gradient * math.inf if len(calls) == 4 else gradient

    parameter.register_hook(hook)
    with pytest.raises(RunStopped, match=r"step 2: the gradient's norm is (nan|inf) at a finite loss") as caught:
        trainer.train()
    assert len(caught.value.rows) == 4


def test_it_can_be_told_to_train_on(tiny_base, tmp_path):
    trainer = direct(tiny_base, tmp_path, stop_on_nan=False, max_steps=2)
    spoil(trainer, 1)
    trainer.train()
    assert trainer.state.global_step == 2


def test_weights_that_an_update_has_broken_are_not_saved(tiny_base, tmp_path):
    trainer = direct(tiny_base, tmp_path)

    def broken():
        with torch.no_grad():
            next(p for p in trainer.model.parameters() if p.requires_grad).view(-1)[0] = math.inf

    trainer.add_callback(At(2, broken))
    with pytest.raises(
        RunStopped, match="step 2: its update has made weights of the adapters infinite or NaN"
    ) as caught:
        trainer.train()
    assert caught.value.checkpoint == tmp_path / "checkpoint-1"
    assert hidden(tmp_path) == []
