"""Soups of oracle experts: rewards, KL divergence and the best possible front are exact, so nothing is noise."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.jobs import Job, run_jobs
from benchmarks.oracle.online import STEERABLE, WORLDS, prompts, settings
from benchmarks.report import Row
from benchmarks.soup.context import SIMPLEX, Context, kinds, ordering, searches, volume
from frontier.measure import reference_point, weight_lattice
from frontier.realize.soup import Soup
from moalign.methods.clp import CLPConfig
from moalign.methods.rewarded_soups import train_rewarded_soups
from moalign.oracle import OracleWorld
from moalign.soup import SoupPolicy, soup_of_bundle

BETA = 0.3
KINDS = kinds(SIMPLEX, "global_wide", "layerwise_wide")


def rows(context: Context) -> list[Row]:
    """Hypervolume of r - β KL, as a share of that of the exact front."""
    seeds, steps, budget = (1, 15, 12) if context.quick else (2, 180, 66)
    jobs = [Job(one, {"seed": seed, "steps": steps, "budget": budget}, 120.0) for seed in range(seeds)]
    results = run_jobs(jobs, what="Soups of oracle experts", keep=context.keep)
    what = f"E[r_k] − {BETA:g} KL, as a share of the exact front's hypervolume; covered world, three experts of {steps // 3} updates each, {budget} soups evaluated exactly"
    return ordering("oracle", results, KINDS, what, "of the exact front's")


def one(seed: int, steps: int, budget: int) -> dict[str, float]:
    """The share of the exact front's hypervolume that each search reaches."""
    world = WORLDS["covered"]()
    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        config = CLPConfig(**settings(Path(folder) / "soup", world, BETA, steps, seed) | STEERABLE)
        train_rewarded_soups(base, world.reward, config, prompts(world)).save_pretrained(Path(folder) / "bundle")
        policy = soup_of_bundle(Path(folder) / "bundle")
    layers = sum(place.isdigit() for place in policy.experts.places)
    fronts = searches(
        lambda soup: value(world, policy, soup),
        policy.experts,
        world.objectives,
        budget=budget,
        layers=layers,
        seed=seed,
        kinds=KINDS,
    )
    best = exact_front(world)
    place = reference_point(np.vstack([best, *(front.rewards for front in fronts.values())]))
    whole = volume(best, place)
    return {name: volume(front.rewards, place) / whole for name, front in fronts.items()}


def value(world: OracleWorld, policy: SoupPolicy, soup: Soup) -> list[float]:
    """E[r_k] - β KL of one soup, exactly."""
    with policy.use(soup):
        log_probs = world.policy_distribution(policy.model)
    return paid(world, log_probs)


def paid(world: OracleWorld, log_probs: torch.Tensor) -> list[float]:
    """E[r_k] - β KL(π ‖ π_ref), prompts weighted equally."""
    kl = (log_probs.exp() * (log_probs - world.log_reference)).sum(1).mean()
    found: list[float] = (world.expected(log_probs) - BETA * kl).tolist()
    return found


def exact_front(world: OracleWorld) -> np.ndarray[Any, np.dtype[np.float64]]:
    """`[231, K]`: the optimum at the weights of a fine lattice."""
    weights = weight_lattice(len(world.objectives), 20)
    return np.array([paid(world, world.optimum(tuple(w), BETA).log_probs) for w in weights.tolist()])
