"""One training per scalarizer, held against the exact optimum of what it asks for."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.oracle.online import WORLDS, prompts, settings
from moalign.scalarize import Aspiration, GroupNormalised, Linear, SmoothTchebycheff
from moalign.training.online import OnlineConfig, OnlineTrainer

WEIGHTS = "helpful=0.5,brief=0.3,warm=0.2"
DIRECTION = "direction:helpful=0.8,brief=-0.6"


def _tchebycheff() -> Any:
    return SmoothTchebycheff(torch.tensor([2.0, 2.0, 2.0]), smoothing=0.5)


def _aspiration() -> Any:
    return Aspiration(torch.tensor([0.5, 0.5, 0.5]))


# Name to what makes it, the preference, further settings, and whether its own values define the optimum (else the weighted sum does).
SCALARIZERS: dict[str, tuple[Callable[[], Any], str, dict[str, Any], bool]] = {
    "linear": (Linear, WEIGHTS, {}, True),
    "direction": (Linear, DIRECTION, {}, True),
    "smooth_tchebycheff": (_tchebycheff, WEIGHTS, {}, True),
    "aspiration": (_aspiration, WEIGHTS, {}, True),
    "gdpo": (lambda: GroupNormalised(32), WEIGHTS, {}, False),
    "mo_grpo": (lambda: GroupNormalised(32, whiten=False), WEIGHTS, {}, False),
    "upgrad": (Linear, WEIGHTS, {"gradient_aggregation": "UPGrad"}, False),
    "mgda": (Linear, WEIGHTS, {"gradient_aggregation": "MGDA"}, False),
    "cagrad": (Linear, WEIGHTS, {"gradient_aggregation": "CAGrad"}, False),
}

NOTES = {
    "gdpo": ". Whitening gives rewards a scale of their own, beside which the same β counts for less: the policy goes past the optimum",
    "mo_grpo": ". Dividing by the spread of a group changes what β is worth",
}


def scalarized(name: str, beta: float, steps: int, seed: int) -> dict[str, Any]:
    """One unconditioned policy under a scalarizer; the gain is in the scalarizer's own values where these define an optimum.

    A scalarizer that judges each completion for itself is a reward like any other, so its optimum is π_ref exp(s/β) as well. Group normalisation and
    gradient aggregation change the step, not the question: they are held against the weighted sum.
    """
    make, preference, changes, own_values = SCALARIZERS[name]
    world = WORLDS["covered"]()
    scalarizer = make()
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        config = OnlineConfig(
            **settings(Path(folder) / name, world, beta, steps, seed) | changes,
            conditioning="none",
            preference=preference,
        )
        trainer = OnlineTrainer(base, world.reward, config, prompts(world), scalarizer=scalarizer)
        trainer.train()
        weights = world.weights(preference)
        judge = scalarizer if own_values else Linear()
        log_probs = world.policy_distribution(trainer.policy, preference)
        judged = world.judged_by(judge(world.rewards, weights.expand_as(world.rewards)))
    return {
        "gain": judged.gain(log_probs, [1.0], beta),
        "rewards": world.expected(log_probs).tolist(),
        "updates": steps,
    }
