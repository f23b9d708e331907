"""The forward that scored a rollout serves the loss: the same update, one forward less, and only where a rollout is used once."""

import pytest
import torch
from datasets import Dataset

from moalign.methods.clp import CLPConfig, CLPTrainer
from reward_heads import FunctionReward

PROMPTS = Dataset.from_dict({"prompt": ["a b", "c d e", "f", "g h ? i"] * 4})
REWARD = FunctionReward(
    {
        "helpful": lambda p, c: float(sum(word in "aeiou" for word in c.split())),
        "brief": lambda p, c: -float(len(c.split())),
    }
)


def trained(base, folder, **changes):
    defaults = {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 6,
        "learning_rate": 1e-2,
        "lora_r": 4,
        "normalize_rewards": False,
        "beta": 0.3,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    trainer = CLPTrainer(str(base), REWARD, CLPConfig(**defaults | changes), PROMPTS)
    forwards = []
    trainer.model.register_forward_hook(lambda *args: forwards.append(torch.is_grad_enabled()))
    trainer.train()
    weights = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if ".lora_" in n}
    return weights, sum(forwards)


@pytest.mark.parametrize("changes", [{}, {"gradient_aggregation": "UPGrad"}, {"conditioned": "logits"}])
def test_the_update_is_the_same(tiny_base, tmp_path, changes):
    kept, forwards = trained(tiny_base, tmp_path / "kept", **changes)
    twice, others = trained(tiny_base, tmp_path / "twice", reuse_rollout_forward=False, **changes)
    assert (
        forwards == others == 3
    )  # with a graph: one an update either way, so that the other's scoring forwards come on top
    for name, value in kept.items():
        torch.testing.assert_close(value, twice[name], atol=2e-5, rtol=1e-4, msg=name)
    assert any(value.any() for name, value in kept.items() if "lora_B" in name)


@pytest.mark.parametrize(
    "changes",
    [{"num_iterations": 2}, {"gradient_accumulation_steps": 2}, {"gradient_checkpointing": True}],
)
def test_a_rollout_that_is_used_more_than_once_is_computed_again(tiny_base, tmp_path, changes):
    """Kept or not, such a run is bit by bit the one without: nothing was kept."""
    one, _ = trained(tiny_base, tmp_path / "a", max_steps=2, **changes)
    two, _ = trained(tiny_base, tmp_path / "b", max_steps=2, reuse_rollout_forward=False, **changes)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name
