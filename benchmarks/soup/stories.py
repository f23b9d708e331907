"""Soups of a real story teller's experts, judged again on prompts and random numbers that the search did not see."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from benchmarks.jobs import Job, run_jobs
from benchmarks.report import Row
from benchmarks.soup.context import WIDE, Context, compared, kinds, ordering, searches, volume
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
# Runs of layers; the story teller has five.
RUNS = 3
# So many times the search's prompts judge what it found.
FRESH = 3
# Sums of coefficients below 1 are best here, which the simplex does not have.
KINDS = kinds(WIDE)


def rows(context: Context) -> list[Row]:
    """Hypervolume of z-scored rewards - β KL on held-out prompts, and on those of the search."""
    if context.data is None or not (context.data / "loaders.py").is_file():
        return [Row("stories.skipped", "the folder with real data is not there: --data", None)]
    seeds, steps, budget, prompts = (1, 3, 8, 6) if context.quick else (2, 90, 45, 128)
    settings = {"data": str(context.data), "steps": steps, "budget": budget, "prompts": prompts}
    jobs = [Job(one, {"seed": seed, **settings}, 180.0) for seed in range(seeds)]
    results = run_jobs(jobs, what="Soups of story tellers", keep=context.keep)
    what = f"z-scored rewards − {BETA:g} KL, three experts of {steps // 3} updates each, {budget} soups on {prompts} prompts"
    fresh = f"{what}; the front that was found, measured again on {FRESH * prompts} other prompts; ratios with 95 % intervals over these"
    own = f"{what}; as the search measured it, so that chosen luck counts"
    unit = "cubed reference sd"
    return [
        *ordering("stories", results, KINDS, fresh, unit, "held_out"),
        *ordering("stories.search", results, KINDS, own, unit, "search"),
    ]


def one(seed: int, data: str, steps: int, budget: int, prompts: int) -> dict[str, Any]:
    """The hypervolumes that each search reaches, on held-out prompts and on its own."""
    source = readers(Path(data))
    reward = story_reward(source.vader_lexicon())
    texts = story_prompts(source.tinystories())
    with tempfile.TemporaryDirectory() as folder:
        base = base_model(source.STORIES_MODEL, Path(folder) / "base")
        policy, normalizer = experts(Path(folder), base, reward, texts[(1 + FRESH) * prompts :], steps, seed)
    options: dict[str, Any] = {"normalizer": normalizer, "kl_coefficient": BETA, "max_new_tokens": MAX_NEW_TOKENS}
    search = SoupEvaluator(policy, reward, texts[:prompts], seed=seed, **options)
    judge = SoupEvaluator(policy, reward, texts[prompts : (1 + FRESH) * prompts], seed=1000 + seed, **options)
    fronts = searches(search, policy.experts, search.objectives, budget=budget, layers=RUNS, seed=seed, kinds=KINDS)
    again = Judged(judge, policy)
    rewards = {name: again(front) for name, front in fronts.items()}
    means = {name: found.mean(axis=1) for name, found in rewards.items()}
    return {
        "search": volumes({name: front.rewards for name, front in fronts.items()}),
        "held_out": volumes(means) | {"ratios": compared(rewards, reference_point(np.vstack([*means.values()])))},
    }


class Judged:
    """What the soups of fronts give on other prompts; a soup that several fronts hold is asked once.

    Args:
        judge (`SoupEvaluator`): with the other prompts.
        policy (`SoupPolicy`): that is judged.
    """

    def __init__(self, judge: SoupEvaluator, policy: SoupPolicy) -> None:
        self.judge = judge
        self.known = Evaluations(places=policy.experts.places)

    def __call__(self, front: ParetoFront) -> NDArray[np.float64]:
        """`[P, N, K]`, their rewards on every prompt."""
        found = []
        for soup in map(Soup.of_point, front.points):
            if self.known.get(soup) is None:
                self.known.add(soup, self.judge(soup))
            evaluation = self.known.get(soup)
            assert evaluation is not None
            assert evaluation.by_prompt is not None
            found.append(evaluation.by_prompt)
        return np.array(found)


def experts(
    folder: Path, base: str, reward: VectorReward, prompts: list[str], steps: int, seed: int
) -> tuple[SoupPolicy, Normalizer | None]:
    """An expert for each objective by online RL, as the stories benchmark trains its soups."""
    config = CLPConfig(
        output_dir=str(folder / "soup"),
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
        seed=seed,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
    )
    trained = train_rewarded_soups(base, reward, config, Dataset.from_dict({"prompt": prompts}))
    trained.save_pretrained(folder / "bundle")
    document = trained.normalizer
    normalizer = Normalizer.from_json(document) if document else _measured(trained, reward, prompts)
    return soup_of_bundle(folder / "bundle"), normalizer


def _measured(trained: SteerablePolicy, reward: VectorReward, prompts: list[str]) -> Normalizer:
    return measure_normalizer(trained, reward, prompts[:256], max_new_tokens=MAX_NEW_TOKENS)


def volumes(rewards: Mapping[str, Any]) -> dict[str, float]:
    """Above one reference point for all."""
    place = reference_point(np.vstack([np.asarray(r) for r in rewards.values()]))
    return {name: volume(r, place) for name, r in rewards.items()}
