"""Quick runs of the online learner: two rewards that count words, settings of a few steps, and policies whose adapters do something."""

import pytest
import torch

from moalign.loading import load_base
from moalign.methods.clp import CLPConfig
from moalign.training.starting_policy import starting_policy
from reward_heads import FunctionReward

from .small_runs import PROMPTS, ROLLOUT, SETTINGS, brevity, metrics, parameters


class Quick:
    """What tests of learners share."""

    prompts = PROMPTS
    objectives = ("helpful", "brief")
    # Per-parameter steps in proportion to the gradient, so that equal updates are equal gradients.
    sgd = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 0.05}  # noqa: RUF012 - constant

    @staticmethod
    def helpful(prompt, completion):
        """How many words are single letters of the first half of the alphabet."""
        return float(sum(word in "abcdefghijklm" for word in completion.split()))

    brief = staticmethod(brevity)

    @property
    def reward(self):
        return FunctionReward({"helpful": self.helpful, "brief": self.brief})

    @staticmethod
    def settings(folder, **changes):
        defaults = {**SETTINGS, **ROLLOUT, "output_dir": str(folder), "normalize_rewards": False}
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

    parameters = staticmethod(parameters)

    @staticmethod
    def metrics(folder):
        """The log's lines of training steps."""
        return [line for line in metrics(folder) if "reward" in line]


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
