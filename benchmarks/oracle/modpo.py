"""Jobs of MODPO: one steerable policy, and one model per preference as in the paper; the rewards themselves give the margins."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from benchmarks.oracle.online import WORLDS, gain, gains
from moalign.methods.modpo import MODPOConfig, MODPOTrainer
from moalign.oracle import OracleWorld
from moalign.preference_sampling import lattice


def _data(world: OracleWorld, pairs: int, seed: int) -> Dataset:
    """Pairs that the reference wrote, each labelled once for every objective by a Bradley-Terry annotator."""
    return Dataset.from_list(world.sample_pairs(pairs, generator=torch.Generator().manual_seed(1000 + seed)))


def _settings(out: Path, beta: float, steps: int, batch: int, seed: int) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "max_steps": steps,
        "per_device_train_batch_size": batch,
        "learning_rate": 2e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 10,
        "max_grad_norm": 1.0,
        "beta": beta,
        "lora_r": 16,
        "lora_alpha": 32,
        "logging_steps": 50,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": seed,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }


def steerable(
    kind: str, beta: float, seed: int, pairs: int = 200_000, steps: int = 800, batch: int = 256, **changes: Any
) -> dict[str, Any]:
    """One policy for all preferences, each row of a batch under one of its own."""
    world = WORLDS[kind]()
    data = _data(world, pairs, seed)
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        config = MODPOConfig(**_settings(Path(folder) / "run", beta, steps, batch, seed) | changes)
        trainer = MODPOTrainer(base, world.reward, config, data)
        trainer.train()
        return {"gains": gains(world, trainer.policy, beta), "updates": steps, "pairs": pairs}


def one_per_weight(
    kind: str, beta: float, seed: int, pairs: int = 200_000, steps: int = 400, batch: int = 256, **changes: Any
) -> dict[str, Any]:
    """A model of its own for each of the ten weights."""
    world = WORLDS[kind]()
    data = _data(world, pairs, seed)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        for i, w in enumerate(lattice(world.objectives, 3)):
            own = _settings(Path(folder) / str(i), beta, steps, batch, seed) | changes
            config = MODPOConfig(**own, conditioning="none", preference=str(w))
            trainer = MODPOTrainer(base, world.reward, config, data)
            trainer.train()
            found.append(gain(world, trainer.policy, w, beta))
    return {"gains": found, "updates": 10 * steps, "pairs": pairs}
