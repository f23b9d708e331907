"""Jobs of MaxMin: the worst-off group's value against the exact max-min optimum, and EM against the planted groups."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from benchmarks.oracle.online import prompts, settings
from moalign.methods.maxmin import MaxMinConfig, MaxMinTrainer
from moalign.oracle import OracleWorld
from moalign.oracle.optimum import kl_divergence, optimum
from reward_heads.users import UserGroupsConfig, fit_user_groups


def maxmin(beta: float, seed: int, steps: int | None = None) -> dict[str, Any]:
    """Train for the worst-off of the world's groups; values are the worst group's E[r] − β KL."""
    world = OracleWorld.covered()
    names = world.groups
    # Where the reference matters more, there is less to gain and sampling noise weighs more.
    steps = steps or (400 if beta < 0.5 else 600)
    with tempfile.TemporaryDirectory() as folder:
        own = settings(Path(folder) / "maxmin", world, beta, steps, seed) | {"report_samples": 1, "logging_steps": 10}
        config = MaxMinConfig(**own)
        trainer = MaxMinTrainer(world.save(Path(folder) / "base"), world.reward_of(names), config, prompts(world))
        trainer.train()
        trainer.policy.model.eval()
        log_probs = world.policy_distribution(trainer.policy, dict.fromkeys(names, 1 / len(names)))
    best = world.max_min(beta)

    def worst(policy: Tensor) -> float:
        kl = float(kl_divergence(policy, world.log_reference).mean())
        return float(world.expected(policy, names).min()) - beta * kl

    def linear(weights: Sequence[float]) -> float:
        chosen = torch.tensor(weights, dtype=torch.float64)
        return worst(optimum(world.log_reference, world.group_rewards, chosen, beta).log_probs)

    return {
        "worst_ratio": worst(log_probs) / best.value,
        "equal": linear([1 / len(names)] * len(names)) / best.value,
        "pooled": linear(world.config.shares or ()) / best.value,
        "weights": trainer.scalarizer.average_weights,
        "worst_case": best.weights.tolist(),
        "updates": steps,
    }


def groups(seed: int, users: int = 40, pairs: int = 4000) -> dict[str, Any]:
    """Find the planted user groups from pairs alone, their number by held-out likelihood from 1 to 3."""
    world = OracleWorld.covered()
    records, truth = world.sample_user_pairs(pairs, users, torch.Generator().manual_seed(100 + seed))
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        config = UserGroupsConfig(max_groups=3, learning_rate=1e-3, batch_size=64, num_epochs=4, seed=seed)
        found = fit_user_groups(base, records, config)
    names = sorted(truth)
    rand = adjusted_rand_score([truth[name] for name in names], [found.assign(name) for name in names])
    return {"rand": float(rand), "chosen": found.chosen}
