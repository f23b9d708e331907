"""The smallest runs of the learners, for tests of what happens when one is killed, stopped or cannot write."""

import torch
from datasets import Dataset

from reward_heads import FunctionReward

PROMPTS = ["a b", "c d e", "f", "g h ? i"]
ANSWERS = [" a e i", " b", " o u x", " z z a", " k l m n", " i"]
REWARD = FunctionReward(
    {
        "helpful": lambda prompt, completion: float(sum(word in "aeiou" for word in completion.split())),
        "brief": lambda prompt, completion: -float(len(completion.split())),
    }
)
SHARED = {
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "lora_r": 4,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
}


def pairs(n=12):
    """No two of them alike, so that each is known by its content."""
    rows = []
    for i in range(n):
        a, b = ANSWERS[i % 6], ANSWERS[(i * 5 + 1 + i // 6) % 6]
        labels = {"helpful": float(i % 3 > 0), "brief": float(i % 2)}
        prompt = f"{PROMPTS[i % 4]} {chr(97 + i)}"
        rows.append({"prompt": prompt, "completion_a": a, "completion_b": b, "labels": labels})
    return Dataset.from_list(rows)


def direct(base, folder, callbacks=(), evaluates=False, **changes):
    """A run on pairs."""
    from moalign.training.direct import DirectConfig, DirectTrainer

    torch.set_num_threads(1)
    config = DirectConfig(output_dir=str(folder), **(SHARED | changes))
    evaluation = pairs(2) if evaluates else None
    return DirectTrainer(str(base), REWARD, config, pairs(), evaluation, callbacks=list(callbacks))


def online(base, folder, callbacks=(), **changes):
    """A run on prompts, with two completions of each."""
    from moalign.training.online import OnlineConfig, OnlineTrainer

    torch.set_num_threads(1)
    rollout = {"num_generations": 2, "max_completion_length": 5, "normalizer_samples": 16}
    config = OnlineConfig(output_dir=str(folder), **(SHARED | rollout | changes))
    prompts = Dataset.from_dict({"prompt": [row["prompt"] for row in pairs()]})
    return OnlineTrainer(str(base), REWARD, config, prompts, callbacks=list(callbacks))


def rejection(base, folder, callbacks=(), **changes):
    """A run of rounds."""
    from moalign.training.rejection import RejectionTrainer
    from moalign.training.rejection_config import RejectionConfig

    torch.set_num_threads(1)
    rounds = {"num_generations": 2, "max_completion_length": 5, "normalizer_samples": 16, "prompts_per_round": 8}
    config = RejectionConfig(output_dir=str(folder), **(SHARED | rounds | changes))
    prompts = Dataset.from_dict({"prompt": [row["prompt"] for row in pairs()]})
    return RejectionTrainer(str(base), REWARD, config, prompts, callbacks=list(callbacks))
