"""Jobs of the curve: one steerable MODPO run, or eleven models for one preference each, with the same number of updates in total; in the oracle and with a real story teller."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import torch
from datasets import Dataset

from benchmarks.oracle.online import gain
from benchmarks.stories import MAX_NEW_TOKENS, base_model, readers, story_prompts, story_reward
from moalign.evaluation import complete, sample, score_completions
from moalign.methods.modpo import MODPOConfig, MODPOTrainer
from moalign.oracle import OracleWorld
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.preference_sampling import lattice
from reward_heads import Normalizer, VectorReward, select

# Of each world: what its pairs are labelled by, and how strongly the reference holds.
ORACLE_OBJECTIVES, ORACLE_BETA = ("helpful", "brief"), 1.0
STORY_OBJECTIVES, STORY_BETA = ("sentiment", "short"), 0.25
STEPS_OF_LATTICE = 10
# Trained so many at a time by both arms.
BATCH = {"oracle": 128, "stories": 32}

# A policy, its preference, and what is measured of it there.
Measure = Callable[[SteerablePolicy, Preference], dict[str, Any]]


def oracle(arm: str, seed: int, updates: Sequence[int], pairs: int) -> dict[str, Any]:
    """Share of the possible gain at the eleven preferences, after so many updates in total; exact."""
    world = OracleWorld.covered(objectives=ORACLE_OBJECTIVES)
    data = Dataset.from_list(world.sample_pairs(pairs, generator=torch.Generator().manual_seed(1000 + seed)))

    def measure(policy: SteerablePolicy, asked: Preference) -> dict[str, Any]:
        return {"gain": gain(world, policy, asked, ORACLE_BETA)}

    with tempfile.TemporaryDirectory() as folder:
        base = world.save(Path(folder) / "base")
        settings = _settings("oracle", ORACLE_BETA, seed, learning_rate=3e-3, lora_r=32)
        return _arm(arm, base, world.reward, data, settings, updates, measure, Path(folder))


def stories(arm: str, seed: int, updates: Sequence[int], pairs: int, prompts: int, data: str) -> dict[str, Any]:
    """Mean z-scored rewards and KL divergence on held-out prompts at the eleven preferences, after so many updates in total."""
    source = readers(Path(data))
    reward = select(story_reward(source.vader_lexicon()), STORY_OBJECTIVES)
    texts = story_prompts(source.tinystories())
    held_out, training = texts[:prompts], texts[prompts:]
    with tempfile.TemporaryDirectory() as folder:
        base = base_model(source.STORIES_MODEL, Path(folder) / "base")
        rows, unit = _story_pairs(base, reward, training, pairs, seed)

        def measure(policy: SteerablePolicy, asked: Preference) -> dict[str, Any]:
            weights = asked.as_tensor(STORY_OBJECTIVES).expand(len(held_out), -1)
            found = sample(policy, reward, held_out, weights, max_new_tokens=MAX_NEW_TOKENS, seed=seed)
            return {"rewards": unit(found.rewards).nanmean(0).tolist(), "kl": float(found.log_ratio.mean())}

        settings = _settings("stories", STORY_BETA, seed, learning_rate=1e-3, lora_r=8)
        return _arm(arm, base, reward, rows, settings, updates, measure, Path(folder), unit)


def _arm(
    arm: str,
    base: str,
    reward: VectorReward,
    data: Any,
    settings: dict[str, Any],
    updates: Sequence[int],
    measure: Measure,
    folder: Path,
    normalizer: Normalizer | None = None,
) -> dict[str, Any]:
    """What is measured at each preference, by the total number of updates; and the seconds of CPU time of training alone, which other processes on the machine do not change."""
    preferences = lattice(reward.objectives, STEPS_OF_LATTICE)
    found: dict[str, Any] = {}
    for total in updates:
        if arm == "steerable":
            trainer, seconds = _trained(base, reward, data, settings, total, folder / f"{total}", normalizer)
            data = trainer.train_dataset
            trainer.policy.model.eval()
            points = [measure(trainer.policy, asked) for asked in preferences]
            found[str(total)] = {"points": points, "seconds": seconds, "updates": total}
            continue
        each, spent, by_preference = max(1, total // len(preferences)), 0.0, {}
        # The most even one first: it needs every reward, so that its table of pairs, reference and rewards serves all others.
        for i, asked in enumerate(sorted(preferences, key=lambda w: max(w.values.values()))):
            own = settings | {"conditioning": "none", "preference": str(asked)}
            trainer, seconds = _trained(base, reward, data, own, each, folder / f"{total}-{i}", normalizer)
            data, spent = trainer.train_dataset, spent + seconds
            trainer.policy.model.eval()
            by_preference[asked] = measure(trainer.policy, asked)
        points = [by_preference[asked] for asked in preferences]
        found[str(total)] = {"points": points, "seconds": spent, "updates": each * len(preferences)}
    return found


def _trained(
    base: str,
    reward: VectorReward,
    data: Any,
    settings: dict[str, Any],
    steps: int,
    out: Path,
    normalizer: Normalizer | None,
) -> tuple[MODPOTrainer, float]:
    """A run of so many updates with a whole schedule of its own, and the seconds of CPU time that it trained."""
    config = MODPOConfig(**settings, output_dir=str(out), max_steps=steps, warmup_steps=max(1, steps // 20))
    trainer = MODPOTrainer(base, reward, config, data, normalizer=normalizer)
    started = process_time()
    trainer.train()
    return trainer, process_time() - started


def _settings(world: str, beta: float, seed: int, *, learning_rate: float, lora_r: int) -> dict[str, Any]:
    """What both arms share."""
    return {
        "per_device_train_batch_size": BATCH[world],
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "beta": beta,
        "lora_r": lora_r,
        "lora_alpha": 2 * lora_r,
        "label_source": "reward",
        # The oracle's labels follow its rewards, so that a fit gives their unit; the story teller's rewards are nats by definition.
        "margin_scale": "bradley_terry" if world == "oracle" else "none",
        "logging_steps": 50,
        "save_strategy": "no",
        "cache_dir": "off",  # both arms hand the table on; nothing is to be found from an earlier run, or left
        "report_to": [],
        "disable_tqdm": True,
        "seed": seed,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }


def _story_pairs(
    base: str, reward: VectorReward, prompts: Sequence[str], pairs: int, seed: int
) -> tuple[Dataset, Normalizer]:
    """Pairs that the story teller wrote, labelled by a Bradley-Terry annotator who feels a standard deviation of each reward as one nat."""
    from moalign.loading import load_base
    from moalign.training.starting_policy import starting_policy

    config = MODPOConfig(**_settings("stories", STORY_BETA, seed, learning_rate=1e-3, lora_r=1), output_dir="unused")
    writer = starting_policy(load_base(base), reward.objectives, config, seed, None)
    asked = [prompts[i % len(prompts)] for i in range(pairs) for _ in "ab"]
    told = torch.zeros(len(asked), len(reward.objectives))
    texts, _ = complete(writer, asked, told, max_new_tokens=MAX_NEW_TOKENS, seed=1000 + seed, batch_size=256)
    scores = score_completions(reward, asked, texts, 256)
    unit = Normalizer.from_scores(scores, reward.objectives, source=f"{len(texts)} completions of the reference policy")
    better = (unit(scores)[::2] - unit(scores)[1::2]).sigmoid()
    rows = [
        {
            "prompt": asked[2 * i],
            "completion_a": texts[2 * i],
            "completion_b": texts[2 * i + 1],
            "labels": {
                name: None if value != value else round(value, 6)
                for name, value in zip(reward.objectives, better[i].tolist(), strict=True)
            },
        }
        for i in range(pairs)
        if texts[2 * i] and texts[2 * i + 1]
    ]
    return Dataset.from_list(rows), unit
