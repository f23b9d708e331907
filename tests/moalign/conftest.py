"""Quick runs of the online learner: two rewards that count words, settings of a few steps, and policies whose adapters do something."""

import json

import pytest
import torch
from datasets import Dataset

from moalign.loading import load_base
from moalign.methods.clp import CLPConfig
from moalign.training.starting_policy import starting_policy
from reward_heads import FunctionReward


class Quick:
    """What tests of learners share."""

    prompts = Dataset.from_dict({"prompt": ["a b", "c d e", "f", "g h ? i"] * 4})
    objectives = ("helpful", "brief")
    # Per-parameter steps in proportion to the gradient, so that equal updates are equal gradients.
    sgd = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 0.05}  # noqa: RUF012 - constant

    @staticmethod
    def helpful(prompt, completion):
        """How many words are single letters of the first half of the alphabet."""
        return float(sum(word in "abcdefghijklm" for word in completion.split()))

    @staticmethod
    def brief(prompt, completion):
        """Minus the number of words."""
        return -float(len(completion.split()))

    @property
    def reward(self):
        return FunctionReward({"helpful": self.helpful, "brief": self.brief})

    @staticmethod
    def settings(folder, **changes):
        defaults = {
            "output_dir": str(folder),
            "max_steps": 2,
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 6,
            "learning_rate": 1e-2,
            "lora_r": 4,
            "normalize_rewards": False,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
        }
        return CLPConfig(**{**defaults, **changes})

    def policy(self, base, seed=0, size=0.3, **changes):
        """A policy as the settings ask for, with adapters that already do something."""
        config = self.settings("nowhere", **changes)
        policy = starting_policy(load_base(base), self.objectives, config, seed, None)
        torch.manual_seed(seed)
        with torch.no_grad():
            for up in policy.mixture.parameters()[1::2]:
                up.normal_(std=size)
        policy.model.eval()
        return policy

    @staticmethod
    def parameters(trainer):
        return {n: p.detach().clone() for n, p in trainer.model.named_parameters() if ".lora_" in n}

    @staticmethod
    def metrics(folder):
        """The log's lines of training steps."""
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if "reward" in line]


@pytest.fixture(scope="session")
def quick():
    return Quick()


@pytest.fixture(scope="session")
def untied_base(tmp_path_factory, tiny_base, tokenizer):
    """The tiny Llama with an output layer of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base") / "untied"
    torch.manual_seed(1)
    config = LlamaConfig.from_pretrained(tiny_base)
    config.tie_word_embeddings = False
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
