"""A sweep's ingredients, all tiny: prompts, pairs and rewards on the letters of the tiny model, and an engine that pretends."""

import json

import pytest

from moalign.sweep.config import SweepConfig

REWARD = '''
"""Rewards on letters. Where a file `die` lies beside this one, the process of the job that it names kills itself once, when its first checkpoint is written."""
import os
import signal
import sys
from pathlib import Path

from reward_heads import FunctionReward


def helpful(prompt, completion):
    here, folder = Path(__file__).parent, Path(sys.argv[-1])
    order = here / "die"
    if order.is_file() and folder.name == order.read_text() and (folder / "bundle" / "checkpoint-1").is_dir():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return float(sum(w < "k" for w in completion.split()))


reward = FunctionReward({"helpful": helpful, "brief": lambda prompt, completion: -float(len(set(completion.split())))})
'''


@pytest.fixture(scope="session")
def ingredients(tmp_path_factory, tiny_base):
    """Settings that all jobs share, and a folder whose file `die` kills a job."""
    root = tmp_path_factory.mktemp("ingredients")
    (root / "letters.py").write_text(REWARD)
    prompts = [f"{a} {b}" for a in "abcd" for b in "xyz"]
    labels = {"helpful": "a", "brief": "b"}
    pairs = [{"prompt": p, "completion_a": "a b c", "completion_b": "x", "labels": labels} for p in prompts]
    (root / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    (root / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return root


@pytest.fixture(scope="session")
def shared(ingredients, tiny_base):
    """Settings of a sweep that trains for a moment."""
    return {
        "model": str(tiny_base),
        "reward": f"{ingredients / 'letters.py'}:reward",
        "dataset": str(ingredients / "prompts.jsonl"),
        "per_method": {
            "modpo": {"dataset": str(ingredients / "pairs.jsonl"), "margin_scale": "none"},
            "clp": {"num_generations": 2, "max_completion_length": 5, "normalize_rewards": False},
        },
        "train": {
            "max_steps": 2,
            "save_steps": 1,
            "lora_r": 2,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.05,
            "logging_steps": 1,
            "use_cpu": True,
        },
        "evaluation": {
            "dataset": str(ingredients / "prompts.jsonl"),
            "partitions": 2,
            "n_prompts": 10,
            "max_new_tokens": 5,
        },
    }


@pytest.fixture
def config(shared, tmp_path):
    """A sweep's configuration with some settings changed."""

    def make(**changes):
        return SweepConfig(**{"output_dir": str(tmp_path / "sweep"), "methods": ["modpo", "clp"], **shared, **changes})

    return make


class Pretender:
    """An engine whose jobs end as a script says: by job, the exit codes of its attempts; 0 writes nothing."""

    def __init__(self, script, places=1):
        self.script, self.places = {name: list(codes) for name, codes in script.items()}, places
        self.started, self.stopped, self.now = [], [], 0

    def room(self):
        return self.now < self.places

    def start(self, folder):
        self.now += 1
        assert self.now <= self.places
        self.started.append(folder.path.name)
        codes = self.script.get(folder.path.name, [0])
        return Pretended(self, folder, codes.pop(0) if codes else 0)

    def close(self):
        pass


class Pretended:
    def __init__(self, engine, folder, code):
        self.engine, self.folder, self._code, self.looks = engine, folder, code, 0

    def started(self):
        return True

    def code(self):
        self.looks += 1
        if self._code is None or self.looks < 2:
            return None
        if self.looks == 2:
            self.engine.now -= 1
        return self._code

    def stop(self):
        self.engine.stopped.append(self.folder.path.name)
        self._code, self.looks = 143, 1

    def kill(self):
        raise AssertionError("it stopped when it was asked to")


@pytest.fixture
def pretender():
    return Pretender
