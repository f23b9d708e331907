"""What the tests' small trainings have in common: prompts, rewards that count words, settings of a few steps, and how their outcome is read."""

import json

from datasets import Dataset

PROMPTS = Dataset.from_dict({"prompt": ["a b", "c d e", "f", "g h ? i"] * 4})
SETTINGS = {
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-2,
    "lora_r": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
}
ROLLOUT = {"num_generations": 4, "max_completion_length": 6}


def vowels(prompt, completion):
    """How many words are single vowels."""
    return float(sum(word in "aeiou" for word in completion.split()))


def brevity(prompt, completion):
    """Minus the number of words."""
    return -float(len(completion.split()))


def parameters(trainer):
    """Copies of all adapters' parameters."""
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters() if ".lora_" in n}


def metrics(folder):
    """The lines of a run folder's log."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
