"""The stages that every complete run shares: train a steerable policy, sweep its front, draw it, pick points, show what changed."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from frontier import ParetoFront, Selection, common_reference_point, front_page, pick, plot_front
from frontier.atomic import write_text
from moalign.bundle import read_manifest
from moalign.evaluation import front_of, measure_front, measure_normalizer
from moalign.methods.clp import CLPConfig, CLPTrainer
from moalign.methods.rewarded_soups import train_rewarded_soups
from moalign.model_card import model_card
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.preference_sampling import lattice
from moalign.training.runs.folder import finite
from reward_heads import NormalizedReward, Normalizer, VectorReward


@dataclass(frozen=True)
class Sweep:
    """How a front is measured.

    Args:
        prompts (`Sequence[str]`): held-out prompts, the same for every point.
        partitions (`int`): of the Das-Dennis lattice (5 gives 21 preferences of three objectives).
        samples_per_prompt (`int`): completions per prompt and preference.
        max_new_tokens (`int`): of a completion.
        generate_kwargs (`dict`): further options of `generate`.
        seed (`int`): of the sampling.
    """

    prompts: Sequence[str]
    partitions: int = 5
    samples_per_prompt: int = 2
    max_new_tokens: int = 48
    generate_kwargs: dict[str, Any] = field(default_factory=dict)
    seed: int = 1

    def measure(
        self,
        policy: SteerablePolicy,
        reward: VectorReward,
        normalizer: Normalizer,
        truth: VectorReward | None,
        source: str,
    ) -> ParetoFront:
        """The front of a policy in normalised rewards; `truth` is recorded along with it."""
        return measure_front(
            policy,
            reward,
            self.prompts,
            lattice(policy.objectives, self.partitions),
            normalizer=normalizer,
            others={"true": truth} if truth is not None else None,
            samples_per_prompt=self.samples_per_prompt,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            source=source,
            batch_size=256,
            **self.generate_kwargs,
        )


def say(text: str) -> None:
    """One line of progress for the person who watches."""
    print(text, flush=True)  # noqa: T201 - the demo talks to a person


def train_clp(
    base: str, reward: VectorReward, prompts: Sequence[str], config: CLPConfig
) -> tuple[SteerablePolicy, Normalizer]:
    """Train with CLP and leave a bundle in `config.output_dir`."""
    trainer = CLPTrainer(base, reward, config, Dataset.from_dict({"prompt": list(prompts)}))
    trainer.train()
    trainer.save_model()
    trainer.policy.model.eval()
    assert trainer.normalizer is not None  # train() measures it
    return trainer.policy, trainer.normalizer


def train_soups(
    base: str, reward: VectorReward, prompts: Sequence[str], config: CLPConfig, normalizer: Normalizer
) -> SteerablePolicy:
    """The peer: as many updates in total, each adapter alone; a bundle in `config.output_dir`."""
    dataset = Dataset.from_dict({"prompt": list(prompts)})
    policy = train_rewarded_soups(base, reward, config, dataset, normalizer=normalizer)
    policy.model.eval()
    policy.save_pretrained(str(config.output_dir))
    return policy


def write_front(folder: Path, front: ParetoFront, picks: Mapping[str, Selection], title: str) -> None:
    """`front.json`, `front.png` and `front.html` in the bundle, and the front in its model card."""
    front.save(folder / "front.json")
    marked = {name: selection.index for name, selection in picks.items()}
    plot_front(front, folder / "front.png", title=title, picks=marked)
    front_page(front, folder / "front.html", title=title, picks=marked)
    write_text(folder / "README.md", model_card(read_manifest(folder), front))


def three_picks(front: ParetoFront) -> dict[str, Selection]:
    """The knee; the best of the first objective with the last kept above its middle; the point nearest to 3/4 of every objective's range."""
    first, last = front.objectives[0], front.objectives[-1]
    low, high = front.rewards.min(0), front.rewards.max(0)
    middle = float((low[-1] + high[-1]) / 2)
    wish = {name: float(low[k] + 0.75 * (high[k] - low[k])) for k, name in enumerate(front.objectives)}
    return {
        "knee": pick(front, knee=True),
        f"{first}, {last} ≥ {middle:.2g}": pick(front, minimum={last: middle}, maximize=first),
        "near 3/4 of all": pick(front, aspire=wish),
    }


def five_preferences(objectives: Sequence[str]) -> list[Preference]:
    """Each objective alone (at most three), all of them evenly, and mixes of the first two; a single objective has one preference only."""
    corners = [Preference.only(name) for name in objectives[:3]]
    shares = (0.5, 0.75, 0.25) if len(objectives) > 1 else ()
    mixes = [Preference({objectives[0]: share, objectives[1]: 1 - share}) for share in shares]
    # Of two objectives, half of each is the same as all of them evenly.
    return list(dict.fromkeys([*corners, Preference.uniform(objectives), *mixes]))[:5]


def compare_samples(policy: SteerablePolicy, prompt: str, **generate_kwargs: Any) -> list[dict[str, Any]]:
    """The same prompt, greedily answered by the reference and at `five_preferences`."""
    preferences: list[Preference | None] = [None, *five_preferences(policy.objectives)]
    answers = policy.generate([prompt] * len(preferences), preferences, do_sample=False, **generate_kwargs)
    return [
        {"preference": str(p) if p is not None else "reference", "prompt": prompt, "completion": answer.strip()}
        for p, answer in zip(preferences, answers, strict=True)
    ]


def front_figures(front: ParetoFront, reference_point: Sequence[float] | None = None) -> dict[str, Any]:
    """Steering, hypervolumes with their reference point, EUM, MIP and their difference."""
    volume = front.hypervolume(reference_point)
    assert front.reference_policy is not None  # every sweep measures it
    alone = ParetoFront(front.objectives, (front.reference_policy,), normalizer=front.normalizer)
    return {
        "steering": front.steering(),
        "hypervolume": {
            "steerable": volume.value,
            "reference": alone.hypervolume(volume.reference_point).value,
            "reference_point": list(volume.reference_point),
            "n_prompts": volume.n_prompts,
        },
        "eum": front.eum(),
        "mip": front.mip(),
        "controllability_gap": front.controllability_gap(),
    }


def perplexity_figures(front: ParetoFront) -> dict[str, Any]:
    """Perplexity of the steered texts under the reference model, beside that of the reference's own texts: gibberish would be far above it."""
    assert front.reference_policy is not None
    own = front.reference_policy.extra["perplexity_under_reference"]
    steered = [p.extra["perplexity_under_reference"] for p in front.points]
    mean = math.exp(float(np.mean(np.log(steered))))
    return {
        "reference": own,
        "steered_mean": mean,
        "steered_max": max(steered),
        "ratio": mean / own,
        "how": "geometric mean over the swept preferences of the per-token perplexity of sampled texts under the reference model, over the reference's own",
    }


def compare_soup(front: ParetoFront, soup: ParetoFront) -> dict[str, Any]:
    """Hypervolumes of steerable policy, soup and reference above one common reference point."""
    point = [float(v) for v in common_reference_point(front, soup)]
    figures = front_figures(front, point)
    figures["hypervolume"]["soup"] = soup.hypervolume(point).value
    figures["soup"] = {"eum": soup.eum(), "mip": soup.mip(), "steering": soup.steering()}
    return figures


def steer_and_measure(
    base: str,
    reward: VectorReward,
    prompts: Sequence[str],
    config: CLPConfig,
    sweep: Sweep,
    *,
    truth: VectorReward | None = None,
    soup_config: CLPConfig | None = None,
    title: str = "Pareto front",
) -> dict[str, Any]:
    """Train with CLP, sweep, draw, pick, sample; with `soup_config` do the same for Rewarded Soups and compare.

    Args:
        base (`str`): folder of the base model, which is the reference policy.
        reward (`VectorReward`): what is trained against.
        prompts (`Sequence[str]`): training prompts.
        config (`CLPConfig`): its `output_dir` becomes the bundle, with the front inside.
        sweep (`Sweep`): how to measure.
        truth (`VectorReward`, *optional*): true rewards, where they are known; the figures are then in their units (those of the learned rewards go under
            `learned`).
        soup_config (`CLPConfig`, *optional*): trains the peer.
        title (`str`): of the pictures.

    Returns:
        `dict`: the figures of `summary.json`.
    """
    torch.manual_seed(config.seed)
    started = time.perf_counter()
    say(f"Training one steerable policy for {', '.join(reward.objectives)} with CLP ...")
    policy, normalizer = train_clp(base, reward, prompts, config)
    trained = time.perf_counter()
    if truth is not None:  # in the same unit as the learned rewards: what the reference policy's completions vary by
        scale = measure_normalizer(
            policy,
            truth,
            prompts,
            samples=config.normalizer_samples,
            max_new_tokens=sweep.max_new_tokens,
            seed=config.seed,
        )
        truth = NormalizedReward(truth, scale)
    say("Sweeping the front ...")
    front = sweep.measure(policy, reward, normalizer, truth, "steerable")
    picks = three_picks(front)
    folder = Path(str(config.output_dir))
    write_front(folder, front, picks, title)
    judged = _in_truth(front, truth)
    seconds = {"train": trained - started, "front": time.perf_counter() - trained}
    if soup_config is None:
        figures = front_figures(judged)
    else:
        say("Training the peer, Rewarded Soups (exact ΔW), with as many updates in total ...")
        began = time.perf_counter()
        soup_policy = train_soups(base, reward, prompts, soup_config, normalizer)
        seconds["train_soup"] = time.perf_counter() - began
        soup = sweep.measure(soup_policy, reward, normalizer, truth, "soup")
        soup.save(Path(str(soup_config.output_dir)) / "front.json")
        figures = compare_soup(judged, _in_truth(soup, truth))
        both, caption = {"steerable": front, "soup": soup}, f"{title}: one steerable policy and Rewarded Soups"
        plot_front(both, folder / "compare.png", title=caption)
        front_page(both, folder / "compare.html", title=caption)
    if truth is not None:
        figures["learned"] = front_figures(front)
    options = {"max_new_tokens": sweep.max_new_tokens, **sweep.generate_kwargs}
    return {
        "objectives": list(policy.objectives),
        **figures,
        "perplexity": perplexity_figures(front),
        "picks": {name: _described(selection, policy.objectives) for name, selection in picks.items()},
        "samples": compare_samples(policy, sweep.prompts[0], **options),
        "normalizer": normalizer.to_json(),
        "seconds_by_stage": seconds,
    }


def _in_truth(front: ParetoFront, truth: VectorReward | None) -> ParetoFront:
    return front_of(front, "true") if truth is not None else front


def _described(selection: Selection, objectives: Sequence[str]) -> dict[str, Any]:
    point = selection.point
    return {
        "preference": point.preference,
        "rewards": dict(zip(objectives, point.rewards, strict=True)),
        "standard_error": dict(zip(objectives, point.standard_error, strict=True)),
        "reason": selection.reason,
    }


def _short(preference: str) -> str:
    """A preference for a narrow column: two decimals, zeros left out."""
    if preference == "reference":
        return preference
    return ", ".join(f"{name} {value:.2g}" for name, value in Preference.parse(preference).values.items() if value)


def print_summary(summary: Mapping[str, Any], printer: Callable[[str], None] = say) -> None:
    """The summary for a terminal: samples first, then figures."""
    printer("\nThe same prompt at several preferences:")
    for sample in summary["samples"]:
        if sample["preference"] == "reference":
            printer(f"  {sample['prompt']!r}")
        printer(f"  {_short(sample['preference']):>34} | {sample['completion']}")
    printer("\nPicked points:")
    for name, chosen in summary["picks"].items():
        weights = ", ".join(f"{k}={v:.2f}" for k, v in chosen["preference"]["weights"].items())
        rewards = ", ".join(f"{k} {v:.2f} ± {chosen['standard_error'][k]:.2f}" for k, v in chosen["rewards"].items())
        printer(f"  {name}: weights {weights}; expected rewards {rewards}")
    learned = summary.get("learned")
    if learned is not None:
        printer("\nBy the learned rewards, which were trained against and which the pictures show:")
        for line in _merits(learned):
            printer(line)
        printer("\nBy the true rewards:")
    else:
        printer("")
    steering, volumes, merits = _merits(summary)
    printer(steering)
    printer(volumes)
    printer(
        f"{merits}; perplexity under the reference {summary['perplexity']['steered_mean']:.2f} (its own texts {summary['perplexity']['reference']:.2f})"
    )


def _merits(figures: Mapping[str, Any]) -> tuple[str, str, str]:
    """Steering, hypervolumes and what the front could give, a line each."""
    steering = ", ".join(f"{k} {v:.3f}" for k, v in figures["steering"].items())
    volumes = ", ".join(f"{k} {v:.3g}" for k, v in figures["hypervolume"].items() if isinstance(v, float))
    return (
        f"Steering (Spearman of weight and mean reward): {steering}",
        f"Hypervolume: {volumes}",
        f"EUM {figures['eum']:.3f}, MIP {figures['mip']:.3f}, controllability gap {figures['controllability_gap']:.3f}",
    )


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write `summary.json`; figures that are not known (the steering of a reward that never moved) become null."""
    text = json.dumps(finite(summary), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "summary.json", text + "\n")
