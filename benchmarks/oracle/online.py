"""Jobs of the online learner: CLP, and its peers Rewarded Soups and one model per preference."""

import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset

from moalign.methods.clp import CLPConfig, CLPTrainer
from moalign.methods.rewarded_soups import train_rewarded_soups
from moalign.oracle import OracleWorld
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.preference_sampling import lattice
from moalign.training.online import OnlineConfig, OnlineTrainer

WORLDS = {"covered": OracleWorld.covered, "rare": OracleWorld.rare}


# Of a policy that has to be right at every preference, and of its peers. Groups of 8 and not of 32: 32 preferences an update instead of 8 matter more than a
# sharper baseline (0.991 against 0.989 after 1000 updates). Corners are drawn more often than evenly: nothing but the corners shows what happens there.
STEERABLE = {
    "num_generations": 8,
    "learning_rate": 3.3e-3,
    "adam_beta2": 0.99,
    "lora_r": 32,
    "lora_alpha": 64,
    "concentration": 0.8,
}


def settings(out: Path, world: OracleWorld, beta: float, steps: int, seed: int) -> dict[str, Any]:
    """What every online training here shares: 256 completions an update, groups of 32."""
    return {
        "output_dir": str(out),
        "max_steps": steps,
        "per_device_train_batch_size": 256,
        "num_generations": 32,
        "max_completion_length": world.config.length + 1,
        "learning_rate": 2.5e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 10,
        "beta": beta,
        "lora_r": 16,
        "lora_alpha": 32,
        "normalize_rewards": False,  # the world's rewards are standardised under the reference already
        "logging_steps": 50,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": seed,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }


def prompts(world: OracleWorld) -> Dataset:
    """The world's prompts, often enough for a batch."""
    return Dataset.from_dict({"prompt": list(world.prompts) * 64})


def gain(world: OracleWorld, policy: SteerablePolicy, weights: Preference, beta: float) -> float:
    """Fraction of the possible gain at one preference."""
    return world.gain(world.policy_distribution(policy, weights), weights, beta)


def gains(world: OracleWorld, policy: SteerablePolicy, beta: float) -> list[float]:
    """Fraction of the possible gain at the ten weights of a lattice: corners, edges and the middle."""
    policy.model.eval()
    return [gain(world, policy, w, beta) for w in lattice(world.objectives, 3)]


def clp(kind: str, beta: float, steps: int, seed: int, **changes: Any) -> dict[str, Any]:
    """One steerable policy by CLP."""
    world = WORLDS[kind]()
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        config = CLPConfig(**settings(Path(folder) / "clp", world, beta, steps, seed) | STEERABLE | changes)
        trainer = CLPTrainer(base, world.reward, config, prompts(world))
        trainer.train()
        return {"gains": gains(world, trainer.policy, beta), "updates": steps}


def soup(kind: str, beta: float, steps: int, seed: int) -> dict[str, Any]:
    """Rewarded Soups (exact ΔW) with as many updates in total."""
    world = WORLDS[kind]()
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        config = CLPConfig(**settings(Path(folder) / "soup", world, beta, steps, seed) | STEERABLE)
        policy = train_rewarded_soups(base, world.reward, config, prompts(world))
        return {"gains": gains(world, policy, beta), "updates": steps}


def one_per_weight(kind: str, beta: float, steps: int, seed: int) -> dict[str, Any]:
    """A model of its own for each of the ten weights (RLOO on the weighted sum), with as many updates in total."""
    world = WORLDS[kind]()
    weights = lattice(world.objectives, 3)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        for i, w in enumerate(weights):
            own = settings(Path(folder) / str(i), world, beta, steps // len(weights), seed) | STEERABLE
            config = OnlineConfig(**own, conditioning="none", preference=str(w))
            trainer = OnlineTrainer(base, world.reward, config, prompts(world))
            trainer.train()
            found.append(gain(world, trainer.policy, w, beta))
    return {"gains": found, "updates": steps // len(weights) * len(weights)}
