"""Soups of a real story teller's experts, judged again on prompts and random numbers that the search did not see."""

from typing import Any

import numpy as np
from datasets import Dataset

from benchmarks.report import Row
from benchmarks.soup.context import Context, ordering, searches, volume
from benchmarks.stories import MAX_NEW_TOKENS, base_model, readers, story_prompts, story_reward
from frontier.front import ParetoFront
from frontier.measure import reference_point
from frontier.realize.soup import Evaluations, Soup
from moalign.evaluation import measure_normalizer
from moalign.methods.clp import CLPConfig
from moalign.methods.rewarded_soups import train_rewarded_soups
from moalign.policy import SteerablePolicy
from moalign.soup import SoupEvaluator, SoupPolicy, soup_of_bundle
from reward_heads import Normalizer, VectorReward

# A nat costs what training charges for it.
BETA = 0.15


def rows(context: Context) -> list[Row]:
    """Hypervolume of z-scored rewards - β KL on held-out prompts, and on those of the search."""
    if context.data is None or not (context.data / "loaders.py").is_file():
        return [Row("stories.skipped", "the folder with real data is not there: --data", None)]
    steps, budget, prompts, blocks = (6, 10, 12, 2) if context.quick else (60, 45, 48, 3)
    data = readers(context.data)
    reward = story_reward(data.vader_lexicon())
    texts = story_prompts(data.tinystories())
    base = base_model(data.STORIES_MODEL, context.scratch / "base")
    policy, normalizer = experts(context, base, reward, texts[256:], steps)

    def evaluator(part: list[str], seed: int) -> SoupEvaluator:
        return SoupEvaluator(
            policy,
            reward,
            part,
            normalizer=normalizer,
            kl_coefficient=BETA,
            max_new_tokens=MAX_NEW_TOKENS,
            seed=seed,
        )

    search, judge = evaluator(texts[:prompts], 0), evaluator(texts[128 : 128 + prompts], 1)
    fronts = searches(
        search,
        policy.experts,
        search.objectives,
        budget=budget,
        layers=blocks,
        seed=0,
        evaluations=Evaluations(content=search.content(), places=policy.experts.places),
    )
    what = f"hypervolume of z-scored rewards − {BETA:g} KL, experts of {steps // 3} updates, {budget} soups on {prompts} prompts"
    found = {name: front.rewards for name, front in fronts.items()}
    held_out = {name: again(front, judge) for name, front in fronts.items()}
    return [
        *ordering(
            "stories", _volumes(held_out), f"{what}; the front found, measured again on as many other prompts", ""
        ),
        *ordering("stories.search", _volumes(found), f"{what}; as the search measured it, so chosen luck counts", ""),
    ]


def experts(
    context: Context, base: str, reward: VectorReward, prompts: list[str], steps: int
) -> tuple[SoupPolicy, Normalizer | None]:
    """An expert for each objective by online RL, as the stories benchmark trains its soups."""
    config = CLPConfig(
        output_dir=str(context.scratch / "soup"),
        max_steps=steps,
        per_device_train_batch_size=32,
        num_generations=4,
        max_completion_length=MAX_NEW_TOKENS,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        beta=BETA,
        lora_r=8,
        lora_alpha=16,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=0,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
    )
    trained = train_rewarded_soups(base, reward, config, Dataset.from_dict({"prompt": prompts}))
    trained.save_pretrained(context.scratch / "bundle")
    document = trained.normalizer
    normalizer = Normalizer.from_json(document) if document else _measured(trained, reward, prompts)
    return soup_of_bundle(context.scratch / "bundle"), normalizer


def _measured(trained: SteerablePolicy, reward: VectorReward, prompts: list[str]) -> Normalizer:
    return measure_normalizer(trained, reward, prompts[:256], max_new_tokens=MAX_NEW_TOKENS)


def again(front: ParetoFront, judge: SoupEvaluator) -> list[tuple[float, ...]]:
    """What the front's soups give on other prompts."""
    return [judge(Soup.of_point(point)).point.rewards for point in front.points]


def _volumes(rewards: dict[str, Any]) -> dict[str, list[float]]:
    """Above one reference point for all."""
    place = reference_point(np.vstack([np.asarray(r) for r in rewards.values()]))
    return {name: [volume(r, place)] for name, r in rewards.items()}
