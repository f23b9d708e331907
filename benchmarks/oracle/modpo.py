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

PAIRS = 20_000


def _data(world: OracleWorld, pairs: int, seed: int) -> Dataset:
    """Pairs that the reference wrote, each labelled once for every objective by a Bradley-Terry annotator."""
    return Dataset.from_list(world.sample_pairs(pairs, generator=torch.Generator().manual_seed(1000 + seed)))


def _settings(out: Path, beta: float, steps: int, seed: int, label_source: str) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "max_steps": steps,
        "per_device_train_batch_size": 128,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 10,
        "beta": beta,
        "lora_r": 32,
        "lora_alpha": 64,
        "label_source": label_source,
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
    kind: str, beta: float, seed: int, pairs: int = PAIRS, steps: int = 1000, label_source: str = "reward"
) -> dict[str, Any]:
    """One policy for all preferences, each row of a batch under one of its own."""
    world = WORLDS[kind]()
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        config = MODPOConfig(**_settings(Path(folder) / "run", beta, steps, seed, label_source), concentration=0.8)
        trainer = MODPOTrainer(base, world.reward, config, _data(world, pairs, seed))
        trainer.train()
        return {"gains": gains(world, trainer.policy, beta), "updates": steps, "pairs": pairs}


def one_per_weight(
    kind: str, beta: float, seed: int, pairs: int = PAIRS, steps: int = 400, label_source: str = "reward"
) -> dict[str, Any]:
    """A model of its own for each of the ten weights."""
    world = WORLDS[kind]()
    data: Any = _data(world, pairs, seed)
    weights = lattice(world.objectives, 3)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        # The first asks for margins, so that its table of pairs, reference and rewards serves all others.
        for i, w in enumerate(sorted(weights, key=lambda w: max(w.values.values()))):
            own = _settings(Path(folder) / str(i), beta, steps, seed, label_source)
            config = MODPOConfig(**own, conditioning="none", preference=str(w))
            trainer = MODPOTrainer(base, world.reward, config, data)
            data = trainer.train_dataset
            trainer.train()
            found[w] = gain(world, trainer.policy, w, beta)
    return {"gains": [found[w] for w in weights], "updates": len(weights) * steps, "pairs": pairs}
