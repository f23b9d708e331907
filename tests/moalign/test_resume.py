"""Killed at any moment and resumed, every method ends where the uninterrupted run does: parameters and logs, bit for bit on the CPU."""

import json
import multiprocessing
import os
import signal

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import TrainerCallback

from frontier.errors import InputError
from moalign.cli.methods import METHODS, find_method
from moalign.training.runs.checkpoints import latest_checkpoint
from reward_heads import FunctionReward

from .small_runs import PROMPTS, ROLLOUT, brevity, vowels

STEPS, SAVED, KILLED = 6, 3, 5


REWARD = FunctionReward({"helpful": vowels, "brief": brevity})


def pairs():
    """Labels that mostly agree with the rewards, some missing."""
    rows = []
    for i, prompt in enumerate(PROMPTS["prompt"]):
        a, b = ("a e b", "x y z d") if i % 2 else ("b c d f", "i o")
        better = [float(f(prompt, a) > f(prompt, b)) for f in (vowels, brevity)]
        noisy = [abs(label - 0.25) for label in better]
        labels = {"helpful": noisy[0], "brief": None if i % 4 == 2 else noisy[1]}
        rows.append({"prompt": prompt, "completion_a": a, "completion_b": b, "labels": labels, "user": None})
    return Dataset.from_list(rows)


# What each method needs beyond what all share; a method that is not here fails the test below.
SETTINGS = {
    "clp": {**ROLLOUT, "kl_mixing": True},
    "rewarded_soups": {**ROLLOUT, "max_steps": 2 * STEPS},
    "modpo": {},
    "dpa": {**ROLLOUT, "rounds": 3, "prompts_per_round": 16, "epochs_per_round": 1, "conditioning": "adapter_mixture"},
    "maxmin": ROLLOUT,
    "lagrangian": {**ROLLOUT, "constraints": ["brief>=-4"]},
}


class Kill(TrainerCallback):
    """The end of the process, without any chance to tidy up."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)


def train(name, base, folder, resume=False, callbacks=()):
    torch.set_num_threads(1)
    method = find_method(name)
    config_class, trainer_class = method.load()
    config = config_class(
        **{
            "output_dir": str(folder),
            "max_steps": STEPS,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "lora_r": 4,
            "normalizer_samples": 32,
            "logging_steps": 1,
            "save_strategy": "steps",
            "save_steps": SAVED,
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            **SETTINGS[name],
        }
    )
    data = pairs() if method.data == "pairs" else PROMPTS
    if not isinstance(trainer_class, type):
        trainer_class(base, REWARD, config, data, callbacks=list(callbacks), resume_from_checkpoint=resume)
        return
    trainer = trainer_class(base, REWARD, config, data, callbacks=list(callbacks))
    trainer.train(resume_from_checkpoint=resume or None)


def killed(name, base, folder):
    train(name, base, folder, callbacks=[Kill()])


def results(folder):
    """Every adapter of every last checkpoint, and every logged line without its clock."""
    weights = {
        f"{path.relative_to(folder)}:{key}": tensor
        for path in sorted(folder.glob(f"**/checkpoint-{STEPS}/*/adapter_model.safetensors"))
        for key, tensor in load_file(path).items()
    }
    # The last one is Trainer's own mean over the steps of one process, whichever they are.
    clock = ("time", "runtime", "per_second", "flos", "train_loss")
    logs = {
        str(path.relative_to(folder)): [
            {key: value for key, value in json.loads(line).items() if not any(part in key for part in clock)}
            for line in path.read_text().splitlines()
        ]
        for path in sorted(folder.glob("**/metrics.jsonl"))
    }
    return weights, logs


@pytest.mark.parametrize("name", METHODS)
def test_killed_and_resumed_is_as_if_nothing_had_happened(name, tiny_base, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(name, str(tiny_base), whole)
    child = multiprocessing.get_context("spawn").Process(target=killed, args=(name, str(tiny_base), broken))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert list(broken.glob(f"**/checkpoint-{SAVED}"))
    assert len(list(broken.glob(f"**/checkpoint-{STEPS}"))) < len(list(whole.glob(f"**/checkpoint-{STEPS}")))
    train(name, str(tiny_base), broken, resume=True)
    (weights, logs), (resumed_weights, resumed_logs) = results(whole), results(broken)
    assert weights
    assert weights.keys() == resumed_weights.keys()
    for key, tensor in weights.items():
        assert torch.equal(tensor, resumed_weights[key]), key
    assert logs.keys() == resumed_logs.keys()
    for file, lines in logs.items():
        assert len(lines) == len(resumed_logs[file])
        for line, again in zip(lines, resumed_logs[file], strict=True):
            assert {k: (v, again.get(k)) for k, v in line.items() if v != again.get(k)} == {}, line["step"]
    assert any(tensor.any() for key, tensor in weights.items() if "lora_B" in key)  # it trained at all


def test_a_checkpoint_that_was_cut_off_is_skipped(tiny_base, tmp_path, caplog):
    """Killed while it wrote a checkpoint: the run goes on from the one before."""
    train("clp", str(tiny_base), tmp_path)
    for missing in ("trainer_state.json", "steering_state.json"):
        (tmp_path / f"checkpoint-{STEPS}" / missing).unlink(missing_ok=True)
        assert latest_checkpoint(tmp_path).name == f"checkpoint-{SAVED}"
    assert f"checkpoint-{STEPS} was not written to its end" in caplog.text
    (tmp_path / f"checkpoint-{SAVED}" / "trainer_state.json").write_text('{"global_st')
    with pytest.raises(InputError, match="holds no checkpoint to go on from"):
        latest_checkpoint(tmp_path, required=True)
