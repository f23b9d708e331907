"""Jobs of the Lagrangian: constraints, objective and multipliers against the exact constrained optimum."""

import json
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.oracle.online import prompts, settings
from moalign.methods.lagrangian import LagrangianConfig, LagrangianTrainer
from moalign.oracle import OracleWorld
from moalign.oracle.optimum import kl_divergence
from moalign.scalarize.lagrangian import Constraint

OBJECTIVE = "helpful"
# One from below, and one with an equality beside it; each binds.
PROBLEMS: dict[str, dict[float, tuple[Constraint, ...]]] = {
    "one": {0.3: (Constraint("harmless", "above", 0.4),), 1.0: (Constraint("harmless", "above", 0.2),)},
    "two": {0.3: (Constraint("harmless", "above", 0.5), Constraint("brief", "equal", 0.2))},
}
_BOUNDS = {"above": "at_least", "below": "at_most", "equal": "equal"}
_SIGNS = {"above": ">=", "below": "<=", "equal": "=="}


def lagrangian(problem: str, beta: float, seed: int, steps: int | None = None) -> dict[str, Any]:
    """Maximise one reward of the covered world under constraints on others.

    Returns:
        `dict`: `violation` (exact, in standard deviations, the worst), `gain` (of the Lagrangian at λ*, which violating does not raise: 0 for the reference, 1
        for the optimum), `ratio` (E[r] − β KL over the optimum's), `lambda_error` (mean over the last third against λ*, relative, the worst) and `oscillation`
        (half of max − min over the last third, relative to λ*, the worst).
    """
    world = OracleWorld.covered()
    constraints = PROBLEMS[problem][beta]
    steps = steps or (400 if beta < 0.5 else 600)
    names = (OBJECTIVE, *dict.fromkeys(c.objective for c in constraints))
    bounds: dict[str, dict[str, float]] = {}
    for c in constraints:
        bounds.setdefault(_BOUNDS[c.kind], {})[c.objective] = c.threshold
    exact = world.constrained(OBJECTIVE, beta, **bounds)
    there = {(b.name, str(b.kind)): float(m) for b, m in zip(exact.bounds, exact.multipliers, strict=True)}
    # An equality's violation is the reward minus the threshold, so that its multiplier is minus the oracle's.
    stars = [there[c.objective, _BOUNDS[c.kind]] * (-1 if c.kind == "equal" else 1) for c in constraints]
    with tempfile.TemporaryDirectory() as folder:
        own = settings(Path(folder) / "run", world, beta, steps, seed) | {"logging_steps": 1, "report_samples": 1}
        texts = [f"{c.objective}{_SIGNS[c.kind]}{c.threshold!r}" for c in constraints]
        trainer = LagrangianTrainer(
            world.save(Path(folder) / "base"),
            world.reward_of(names),
            LagrangianConfig(**own, constraints=texts),
            prompts(world),
        )
        trainer.train()
        trainer.policy.model.eval()
        log_probs = world.policy_distribution(trainer.policy, dict.fromkeys(names, 1 / len(names)))
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]

    def values(policy: Tensor) -> tuple[float, float, list[float]]:
        level = dict(zip(names, world.expected(policy, names).tolist(), strict=True))
        value = level[OBJECTIVE] - beta * float(kl_divergence(policy, world.log_reference).mean())
        gaps = [float(c.violation(level[c.objective])) for c in constraints]
        return value, value - sum(star * gap for star, gap in zip(stars, gaps, strict=True)), gaps

    value, full, gaps = values(log_probs)
    none = values(world.log_reference)[1]
    paths = [
        [line[f"lambda/{c.objective}_{c.kind}"] for line in lines if f"lambda/{c.objective}_{c.kind}" in line]
        for c in constraints
    ]
    tails = [path[-max(1, len(path) // 3) :] for path in paths]
    sizes = [max(abs(star), 1e-9) for star in stars]
    return {
        "violation": max(abs(g) if c.kind == "equal" else g for c, g in zip(constraints, gaps, strict=True)),
        "ratio": value / exact.value,
        "gain": (full - none) / (exact.value - none),
        "lambda_error": max(
            abs(sum(tail) / len(tail) - star) / size for tail, star, size in zip(tails, stars, sizes, strict=True)
        ),
        "oscillation": max((max(tail) - min(tail)) / 2 / size for tail, size in zip(tails, sizes, strict=True)),
        "updates": steps,
    }
