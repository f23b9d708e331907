"""Train in worlds whose optimum is known exactly; report the fraction of the possible gain that each method reaches.

python -m benchmarks.oracle --json out.json
"""

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

from datasets import Dataset

from benchmarks.report import Row, at_least, main
from moalign.methods.clp import CLPConfig, CLPTrainer
from moalign.methods.rewarded_soups import train_rewarded_soups
from moalign.oracle import OracleWorld
from moalign.policy import SteerablePolicy
from moalign.preference_sampling import lattice

WORLDS = {"covered": OracleWorld.covered, "rare": OracleWorld.rare}


def config(out: Path, world: OracleWorld, beta: float, steps: int, seed: int) -> CLPConfig:
    """The same settings for the steerable policy and for the soups."""
    return CLPConfig(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=256,
        num_generations=8,
        max_completion_length=world.config.length + 1,
        learning_rate=1.5e-3,
        lr_scheduler_type="cosine",
        warmup_steps=10,
        beta=beta,
        lora_r=8,
        lora_alpha=16,
        normalize_rewards=False,  # the world's rewards are standardised under the reference already
        logging_steps=50,
        save_strategy="no",
        report_to=[],
        seed=seed,
        bf16=False,
        gradient_checkpointing=False,
    )


def gains(world: OracleWorld, policy: SteerablePolicy, beta: float) -> list[float]:
    """Fraction of the possible gain at the ten weights of a lattice: corners, edges and the middle."""
    policy.model.eval()
    return [world.gain(world.policy_distribution(policy, w), w, beta) for w in lattice(world.objectives, 3)]


def run(args: argparse.Namespace) -> list[Row]:
    """Fraction of the possible gain in worlds whose optimum is known: CLP beside Rewarded Soups at equal updates."""
    steps = 30 if args.quick else args.steps
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ["covered"] if args.quick else args.worlds:
            for beta in [0.3] if args.quick else args.betas:
                rows += compare(Path(folder) / f"{kind}-{beta}", kind, beta, steps, args.seed)
    return rows


def compare(folder: Path, kind: str, beta: float, steps: int, seed: int) -> list[Row]:
    """One world at one β: CLP, and soups of as many updates in total."""
    world = WORLDS[kind]()
    base = world.save(folder / "base")
    prompts = Dataset.from_dict({"prompt": list(world.prompts) * 64})
    started = perf_counter()
    trainer = CLPTrainer(base, world.reward, config(folder / "clp", world, beta, steps, seed), prompts)
    trainer.train()
    seconds = perf_counter() - started
    own = gains(world, trainer.policy, beta)
    soup = gains(
        world,
        train_rewarded_soups(base, world.reward, config(folder / "soup", world, beta, steps, seed), prompts),
        beta,
    )
    where = f"{kind}.beta{beta:g}"
    what = f"{kind} world, β {beta:g}, {steps} updates of 256 completions in {seconds:.0f} s"
    mean = {"peer": "Rewarded Soups, exact ΔW, equal updates", "peer_value": sum(soup) / len(soup)}
    least = {"peer": "Rewarded Soups", "peer_value": min(soup)}
    return [
        Row(
            f"clp.gain.mean.{where}",
            what,
            sum(own) / len(own),
            "of the possible gain",
            **mean,
            **at_least(0.99, sum(own) / len(own)),
        ),
        Row(f"clp.gain.min.{where}", what, min(own), "of the possible gain", **least, **at_least(0.95, min(own))),
        Row(
            f"soup.gain.mean.{where}",
            f"{kind} world, β {beta:g}, {steps} updates in total",
            sum(soup) / len(soup),
            "of the possible gain",
        ),
    ]


if __name__ == "__main__":
    main(
        "oracle",
        run,
        [
            (
                "--steps",
                {"type": int, "default": 800, "help": "updates of the steerable policy, and of all soups together"},
            ),
            ("--worlds", {"nargs": "+", "choices": list(WORLDS), "default": list(WORLDS), "help": "which worlds"}),
            ("--betas", {"nargs": "+", "type": float, "default": [0.3, 1.0], "help": "which KL coefficients"}),
            ("--seed", {"type": int, "default": 0, "help": "of training"}),
        ],
    )
