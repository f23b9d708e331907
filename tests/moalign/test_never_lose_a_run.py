"""Killed at any moment, also while it writes a checkpoint, and resumed each time, a run ends bit for bit where the uninterrupted one does."""

import json
import multiprocessing
import os
import random
import resource
import signal
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from moalign.training.runs.checkpoints import latest_checkpoint, why_not_whole

from .training.safe_runs import direct, online

LEARNERS = {"direct": direct, "online": online}
# What a save does to files: it makes, writes, reads back, renames and removes them.
EVENTS = 70  # of one checkpoint, about
LIMIT = 600  # seconds that no life needs
SAVING = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


class KillAtStep(TrainerCallback):
    """The end of the process at the end of the n-th step of this life, before its checkpoint."""

    def __init__(self, n):
        self.left = n

    def on_step_end(self, args, state, control, **kwargs):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_at_event(folder, n):
    """The end of the process at the n-th thing that happens to a file of a checkpoint once training has begun."""
    left = [n]

    def hook(event, arguments):
        if event in SAVING and any("checkpoint-" in str(a) and str(folder) in str(a) for a in arguments):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    class Watch(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if left[0] == n:  # not while the checkpoint is read that this life goes on from
                sys.addaudithook(hook)

    return Watch()


def tear_at_byte(n):
    """The end of the process in the middle of the first file that has more bytes: the system writes so many and ends it."""

    class Limit(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    return Limit()


def live(learner, base, folder, steps, how, number):
    """One life of a run, in a process of its own."""
    logs = os.open(os.devnull, os.O_WRONLY)
    os.dup2(logs, 2)
    callbacks = {
        "step": lambda: [KillAtStep(number)],
        "event": lambda: [kill_at_event(folder, number)],
        "byte": lambda: [tear_at_byte(number)],
        "end": list,
        "whole": list,
    }[how]()
    often = 1 if how != "whole" else steps
    trainer = LEARNERS[learner](
        base, folder, callbacks=callbacks, max_steps=steps, save_steps=often, save_total_limit=2
    )
    trainer.train(resume_from_checkpoint=True if latest_checkpoint(folder) else None)


def state_of(checkpoint):
    """Every tensor and number that a checkpoint holds."""
    found = {}
    for path in sorted(checkpoint.glob("*/adapter_model.safetensors")):
        found |= {f"{path.parent.name}:{name}": tensor for name, tensor in load_file(path).items()}
    optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    for place, values in optimizer["state"].items():
        found |= {f"optimizer {place}:{name}": value for name, value in values.items()}
    scheduler = torch.load(checkpoint / "scheduler.pt", weights_only=True)
    steering = json.loads((checkpoint / "steering_state.json").read_text())
    return found, optimizer["param_groups"], scheduler, steering


def logged(folder):
    clock = ("time", "runtime", "per_second", "flos", "train_loss")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not any(part in k for part in clock)} for line in lines]


@pytest.fixture(scope="module")
def lives():
    """Start a life from a server that has imported everything, and give its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["moalign.training.direct", "moalign.training.online"])

    def start(*arguments):
        process = context.Process(target=live, args=arguments)
        process.start()
        process.join(LIMIT)
        if process.exitcode is None:  # it hangs
            process.kill()
        return process.exitcode

    return start


def moments(seed, counts):
    """Drawn moments: the end of the first, second or third step of a life, one of the events of its first two saves, or a byte of one of its files."""
    draw = random.Random(seed)
    ranges = {"step": (1, 3), "event": (1, 2 * EVENTS), "byte": (1, 100_000)}
    found = [(how, draw.randint(*ranges[how])) for how, count in counts.items() for _ in range(count)]
    draw.shuffle(found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "counts"),
    [("direct", {"step": 6, "event": 14, "byte": 3}), ("online", {"step": 1, "event": 3, "byte": 1})],
)
def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(tiny_base, tmp_path, lives, learner, counts):
    drawn = moments(8, counts)
    steps = 2 * len(drawn) + 3  # a life makes two checkpoints at most
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert lives(learner, str(tiny_base), whole, steps, "whole", 0) == 0
    for how, number in drawn:
        code = lives(learner, str(tiny_base), broken, steps, how, number)
        assert code == -(signal.SIGXFSZ if how == "byte" else signal.SIGKILL), (how, number)
        # Whatever has the name of a checkpoint is one, but for the one that was just being removed.
        names = sorted(broken.glob("checkpoint-*"), key=lambda path: -int(path.name.partition("-")[2]))
        assert all(why_not_whole(path) is None for path in names[:1])
    assert lives(learner, str(tiny_base), broken, steps, "end", 0) == 0
    assert [path.name for path in broken.iterdir() if path.name.startswith(".")] == []
    ends = [state_of(folder / f"checkpoint-{steps}") for folder in (whole, broken)]
    assert ends[0][0].keys() == ends[1][0].keys()
    for name, tensor in ends[0][0].items():
        assert torch.equal(tensor, ends[1][0][name]), name
    assert ends[0][1:] == ends[1][1:]
    assert any(tensor.any() for name, tensor in ends[0][0].items() if "lora_B" in name)  # it trained at all
    assert logged(whole) == logged(broken)
    runs = json.loads((broken / "run.json").read_text())["runs"]
    assert runs[-1]["outcome"] == "finished"
    assert all(run["outcome"] == "running" for run in runs[:-1])
