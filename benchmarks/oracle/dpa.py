"""Jobs of DPA: the expected v·r of the trained policy against the exact best-of-n policy's."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

from moalign.methods.dpa import DPAConfig, DPATrainer
from moalign.oracle import OracleWorld
from moalign.training.directions import draw_directions

DIRECTIONS, DRAWS = 12, 8
# Four choices instead of five where three objectives are told apart: one round shows 4096 completions, and imitating is what it is judged by.
LENGTH = 4


class AtRoundEnd(TrainerCallback):
    """Call `measure(round)` when a round's last epoch is over."""

    def __init__(self, measure: Callable[[int], None]) -> None:
        self.measure = measure

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count rounds by their epochs."""
        number, within = divmod(round(state.epoch), args.epochs_per_round)
        if within == 0:
            self.measure(number)


def dpa(conditioning: str, objectives: int, seed: int, **changes: Any) -> dict[str, Any]:
    """Three rounds; the mean over twelve directions of E[v·r] over that of the exact best-of-n from the reference, after the first and the third."""
    world = OracleWorld.covered(length=LENGTH, objectives=("helpful", "brief", "warm")[:objectives])
    directions = draw_directions(DIRECTIONS, objectives, torch.Generator().manual_seed(100))
    best = [float(world.expected(world.best_of_n(v, DRAWS)) @ v.double()) for v in directions]
    found: dict[str, Any] = {}

    def measure(number: int) -> None:
        if number not in (1, 3):
            return
        ratios = []
        for v, goal in zip(directions, best, strict=True):
            asked = {"direction": dict(zip(world.objectives, v.tolist(), strict=True))}
            log_probs = world.policy_distribution(trainer.policy, asked)
            ratios.append(float(world.expected(log_probs) @ v.double()) / goal)
        found[f"round{number}"] = sum(ratios) / len(ratios)
        found[f"worst{number}"] = min(ratios)

    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            "output_dir": str(Path(folder) / "dpa"),
            "conditioning": conditioning,
            "prompt_style": "plain",
            "rounds": 3,
            "num_generations": DRAWS,
            "prompts_per_round": 4096,
            "epochs_per_round": 12,
            "per_device_train_batch_size": 256,
            "generation_batch_size": 2048,
            "max_completion_length": world.config.length + 1,
            "learning_rate": 3e-3,
            "lr_scheduler_type": "constant",
            "adam_beta2": 0.99,
            "normalize_rewards": False,
            "logging_steps": 100,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "seed": seed,
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
        }
        config = DPAConfig(**settings | changes)
        prompts = Dataset.from_dict({"prompt": list(world.prompts)})
        base = world.save(Path(folder) / "base")
        trainer = DPATrainer(base, world.reward, config, prompts, callbacks=[AtRoundEnd(measure)])
        trainer.train()
    return found | {"updates": trainer.state.global_step}
