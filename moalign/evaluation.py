"""Measure what a steerable policy really does: its rewards, its distance from the reference and its texts, at many preferences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from frontier.errors import InputError, unknown_name
from frontier.front import FrontPoint, ParetoFront
from frontier.prompt_rewards import PromptRewards, prompt_ids
from moalign.policy import SteerablePolicy, Text
from moalign.preference import Preference
from reward_heads import NormalizedReward, Normalizer, VectorReward
from reward_heads.text import as_messages, is_conversational
from reward_heads.vector_reward import score_checked


@dataclass(frozen=True)
class Samples:
    """Completions of one policy with what is known of each of them.

    Args:
        completions (`list[str]`): N texts.
        rewards (`Tensor`): `[N, K]` in the reward's own units.
        log_ratio (`Tensor`): `[N]` log π_w(y|x) − log π_ref(y|x) in nats, at temperature 1: where the sampling was too, its mean estimates the KL
            divergence.
        reference_log_probs (`Tensor`): `[N]` log π_ref(y|x) in nats.
        tokens (`Tensor`): `[N]` completion lengths, the ending token included.
    """

    completions: list[str]
    rewards: Tensor
    log_ratio: Tensor
    reference_log_probs: Tensor
    tokens: Tensor

    def rows(self, start: int, stop: int) -> "Samples":
        """A contiguous part."""
        part = slice(start, stop)
        return Samples(
            self.completions[part],
            self.rewards[part],
            self.log_ratio[part],
            self.reference_log_probs[part],
            self.tokens[part],
        )


@torch.no_grad()
def sample(
    policy: SteerablePolicy,
    reward: VectorReward,
    prompts: Sequence[Text],
    weights: Tensor,
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
    progress: str | None = None,
    **generate_kwargs: Any,
) -> Samples:
    """Sample one completion per row and score it; rows of any weights share the batches.

    Args:
        policy (`SteerablePolicy`): the policy.
        reward (`VectorReward`): scores the completions.
        prompts (`Sequence`): N prompts.
        weights (`Tensor`): `[N, K]`, a zero row being the reference policy.
        max_new_tokens (`int`): longest completion.
        temperature (`float`): of the sampling; 0 is greedy.
        seed (`int`): of the sampling.
        batch_size (`int`): rows per batch.
        progress (`str`, *optional*): label of a progress bar; none without it.
        **generate_kwargs: further options of `generate`.

    Raises:
        InputError: no prompts, as many rows of weights as are not one per prompt, or a reward that is infinite.
    """
    texts, completion_ids = complete(
        policy,
        prompts,
        weights,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
        **generate_kwargs,
    )
    was_training = policy.model.training
    policy.model.eval()
    # The reference reads the prompt without whatever the policy is told there.
    prompt_ids, plain_ids = policy.encode(prompts, weights), policy.encode(prompts)
    ratios, reference = [], []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        written = completion_ids[part]
        own = policy.token_log_probs(prompt_ids[part], written, weights[part])[0].sum(-1)
        ref = policy.token_log_probs(plain_ids[part], written, torch.zeros_like(weights[part]))[0].sum(-1)
        ratios.append((own - ref).cpu())
        reference.append(ref.cpu())
    policy.model.train(was_training)
    scores = score_completions(reward, prompts, texts, batch_size)
    tokens = torch.tensor([len(ids) for ids in completion_ids])
    return Samples(texts, scores, torch.cat(ratios), torch.cat(reference), tokens)


def complete(
    policy: SteerablePolicy,
    prompts: Sequence[Text],
    weights: Tensor,
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
    progress: str | None = None,
    **generate_kwargs: Any,
) -> tuple[list[str], list[list[int]]]:
    """The completions of `sample`, as texts and as token ids; no log-probs, for those who only want to score them."""
    check_asked(prompts, weights)
    was_training = policy.model.training
    policy.model.eval()
    options = generation_options(max_new_tokens, temperature) | generate_kwargs
    completion_ids: list[list[int]] = []
    bar = tqdm(total=len(prompts), desc=progress, disable=progress is None, unit="completion")
    prompt_ids = policy.encode(prompts, weights)
    for start in range(0, len(prompts), batch_size):
        ids, rows = prompt_ids[start : start + batch_size], weights[start : start + batch_size]
        completion_ids += policy.generate_ids(ids, rows, seed=seed + start, **options)
        bar.update(len(ids))
    bar.close()
    policy.model.train(was_training)
    return policy.tokenizer.batch_decode(completion_ids, skip_special_tokens=True), completion_ids


def check_asked(prompts: Sequence[Text], weights: Tensor) -> None:
    """Refuse (`InputError`) to sample for no prompts, or with other rows of weights than one for each."""
    if not len(prompts):
        raise InputError("no prompts to sample completions of")
    if len(weights) != len(prompts):
        raise InputError(f"{len(weights)} rows of weights for {len(prompts)} prompts: give one per prompt")


def generation_options(max_new_tokens: int, temperature: float) -> dict[str, Any]:
    """What to ask `generate` for so that it samples from the policy itself, whatever the base's own generation config says.

    Args:
        max_new_tokens (`int`): longest completion.
        temperature (`float`): 0 is greedy.
    """
    plain = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_p": None, "typical_p": 1.0, "min_length": 0}
    plain |= {"min_new_tokens": None, "bad_words_ids": None, "suppress_tokens": None}
    drawn = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
    return {"max_new_tokens": max_new_tokens, "do_sample": temperature > 0, **drawn, **plain}


def score_completions(reward: VectorReward, prompts: Sequence[Text], texts: Sequence[str], batch_size: int) -> Tensor:
    """`[N, K]` rewards of N completions given as texts, in the reward's own units."""
    # Conversational prompts have conversational completions.
    completions: list[Text] = [
        as_messages(text, "assistant") if is_conversational(prompt) else text
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    parts = [
        score_checked(reward, list(prompts[i : i + batch_size]), completions[i : i + batch_size])
        for i in range(0, len(prompts), batch_size)
    ]
    return torch.cat(parts)


def measure_normalizer(
    policy: SteerablePolicy,
    reward: VectorReward,
    prompts: Sequence[Text],
    *,
    samples: int = 256,
    seed: int = 0,
    **sampling: Any,
) -> Normalizer:
    """Location and scale of each reward on the reference policy's own completions: the unit that weights refer to.

    Args:
        policy (`SteerablePolicy`): its base is the reference.
        reward (`VectorReward`): the rewards.
        prompts (`Sequence`): drawn from evenly, repeated where there are fewer than `samples`.
        samples (`int`): completions.
        seed (`int`): of the sampling.
        sampling: `max_new_tokens`, `temperature`, ... of `sample`.

    Raises:
        InputError: no prompts, or a reward that is constant on the reference policy, which no weight can move.
    """
    if not len(prompts):
        raise InputError("no prompts to measure the normaliser on")
    # Rounded even steps from end to end would take the first and the last of a few prompts half as often as the others.
    few = len(prompts) < samples
    places = np.arange(samples) * len(prompts) // samples if few else np.linspace(0, len(prompts) - 1, samples).round()
    chosen = [prompts[int(i)] for i in places]
    zero = torch.zeros(samples, len(policy.objectives))
    texts, _ = complete(policy, chosen, zero, seed=seed, progress="Normaliser", **sampling)
    source = f"{samples} completions of the reference policy"
    return Normalizer.from_scores(score_completions(reward, chosen, texts, 128), reward.objectives, source=source)


def measure_front(
    policy: SteerablePolicy,
    reward: VectorReward,
    prompts: Sequence[Text],
    preferences: Sequence[Preference],
    *,
    normalizer: Normalizer | None = None,
    others: Mapping[str, VectorReward] | None = None,
    samples_per_prompt: int = 1,
    source: str = "steerable",
    info: dict[str, Any] | None = None,
    progress: bool = True,
    seed: int = 0,
    **sampling: Any,
) -> ParetoFront:
    """Sweep preferences over a prompt set, the reference policy along with them.

    Every point answers the same prompts. Standard errors are those of the mean over prompts (completions of one prompt are averaged first).

    Args:
        policy (`SteerablePolicy`): the policy.
        reward (`VectorReward`): gives the front's rewards, in the policy's objectives and their order (`reward_heads.select` brings it there).
        prompts (`Sequence`): at least 2.
        preferences (`Sequence[Preference]`): the points to measure.
        normalizer (`Normalizer`, *optional*): applied to the rewards; raw rewards without it.
        others (`Mapping[str, VectorReward]`, *optional*): further rewards of the same objectives (the world's true ones, say), recorded per point
            under `extra["rewards/NAME"]`; the scale of a `NormalizedReward` goes into `info["normalizer/NAME"]`.
        samples_per_prompt (`int`): completions per prompt and preference.
        source (`str`): goes into every point.
        info (`dict`, *optional*): goes into the front.
        progress (`bool`): show a progress bar.
        seed (`int`): of the sampling.
        sampling: `max_new_tokens`, `temperature`, `batch_size`, ... of `sample`.

    Returns:
        `ParetoFront`: a point per preference with mean rewards, standard errors, KL in nats per completion, the perplexity of its completions under the
        reference policy and one sample text. `prompt_rewards` holds the rewards on every prompt, NaN where one is not known, so that points and fronts that
        answered the same prompts can be compared pair by pair.

    Raises:
        InputError: fewer than 2 prompts, no preferences, objectives that are not the policy's in their order, or an objective whose reward is not known
            for any prompt.
    """
    if len(prompts) < 2:
        raise InputError(f"a front needs at least 2 prompts for its standard errors, found {len(prompts)}")
    if not preferences or samples_per_prompt < 1:
        raise InputError(
            f"a front needs at least 1 preference and 1 sample per prompt, found {len(preferences)} and {samples_per_prompt}"
        )
    for what, scored in [("reward", reward), ("normalizer", normalizer), *(others or {}).items()]:
        if scored is not None and tuple(scored.objectives) != policy.objectives:
            raise InputError(
                f"'{what}' has the objectives {', '.join(scored.objectives)}, expected the policy's in their order: {', '.join(policy.objectives)}"
            )
    per_point = len(prompts) * samples_per_prompt
    each: list[Text] = [p for p in prompts for _ in range(samples_per_prompt)]
    rows = torch.cat(
        [torch.zeros(per_point, len(policy.objectives))]
        + [p.as_tensor(policy.objectives).expand(per_point, -1) for p in preferences]
    )
    label = "Front" if progress else None
    found = sample(policy, reward, each * (len(preferences) + 1), rows, seed=seed, progress=label, **sampling)
    parts = [found.rows(i * per_point, (i + 1) * per_point) for i in range(len(preferences) + 1)]
    info = dict(info or {})
    for name, other in (others or {}).items():
        if isinstance(other, NormalizedReward):
            info[f"normalizer/{name}"] = other.normalizer.to_json()

    by_prompt = [
        rewards_by_prompt(normalizer(p.rewards) if normalizer is not None else p.rewards, samples_per_prompt)
        for p in parts
    ]

    def point(part: Samples, rewards: Tensor, preference: Preference | None) -> FrontPoint:
        mean, error = point_rewards(rewards, policy.objectives)
        extra: dict[str, Any] = {
            "perplexity_under_reference": float(torch.exp(-part.reference_log_probs.sum() / part.tokens.sum())),
            "mean_tokens": float(part.tokens.float().mean()),
            "sample": part.completions[0],
        }
        for name, other in (others or {}).items():
            scored = score_completions(other, each, part.completions, 512)
            other_mean, other_error = _mean_and_error(rewards_by_prompt(scored, samples_per_prompt))
            extra |= {f"rewards/{name}": _json(other_mean), f"standard_error/{name}": _json(other_error)}
        return FrontPoint(
            rewards=tuple(mean),
            standard_error=tuple(error),
            n_prompts=len(prompts),
            preference=preference.to_json() if preference is not None else None,
            kl=float(part.log_ratio.mean()),
            source=source if preference is not None else "reference",
            extra=extra,
        )

    return ParetoFront(
        objectives=policy.objectives,
        points=tuple(point(*row) for row in zip(parts[1:], by_prompt[1:], preferences, strict=True)),
        reference_policy=point(parts[0], by_prompt[0], None),
        normalizer=normalizer.to_json() if normalizer is not None else None,
        info=info,
        prompt_rewards=PromptRewards(
            policy.objectives,
            torch.stack(by_prompt[1:]).numpy(),
            prompt_ids(prompts),
            by_prompt[0].numpy(),
        ),
    )


def rewards_by_prompt(rewards: Tensor, samples_per_prompt: int) -> Tensor:
    """`[N, K]` in double precision: the mean over the completions of each prompt, NaN where no reward of them is known.

    Args:
        rewards (`Tensor`): `[N * samples_per_prompt, K]`, the completions of a prompt one after the other.
        samples_per_prompt (`int`): completions per prompt.
    """
    return rewards.double().view(-1, samples_per_prompt, rewards.shape[1]).nanmean(1)


def point_rewards(by_prompt: Tensor, objectives: Sequence[str], of: str = "a point") -> tuple[list[float], list[float]]:
    """Mean over prompts and its standard error, `[K]` each; prompts whose reward is not known are left out per objective.

    Args:
        by_prompt (`Tensor`): `[N, K]`, NaN = not known.
        objectives (`Sequence[str]`): the K names.
        of (`str`, *optional*): whose completions they are, for the message.

    Raises:
        InputError: an objective whose reward is not known for any prompt.
    """
    mean, error = _mean_and_error(by_prompt)
    unknown = [name for name, value in zip(objectives, mean, strict=True) if math.isnan(value)]
    if unknown:
        raise InputError(f"the reward of objective '{unknown[0]}' is not known for any completion of {of}")
    return mean, error


def _mean_and_error(by_prompt: Tensor) -> tuple[list[float], list[float]]:
    means, errors = [], []
    for column in by_prompt.T:
        known = column[~column.isnan()]
        means.append(float(known.mean()))
        errors.append(float(known.std() / len(known) ** 0.5) if len(known) > 1 else float("nan"))
    return means, errors


def _json(values: list[float]) -> list[float | None]:
    """What is not known as null, for JSON has no NaN."""
    return [None if math.isnan(value) else value for value in values]


def front_of(front: ParetoFront, name: str) -> ParetoFront:
    """The same points in the units of another reward that was recorded along with them (`others` of `measure_front`).

    Only means and standard errors of it were recorded, so the front has no per-prompt rewards.

    Raises:
        InputError: no such reward was recorded, or it is not known for an objective of a point.
    """

    def swap(point: FrontPoint) -> FrontPoint:
        if f"rewards/{name}" not in point.extra:
            recorded = [key.removeprefix("rewards/") for key in point.extra if key.startswith("rewards/")]
            raise unknown_name("reward of the front", name, recorded)
        errors = point.extra[f"standard_error/{name}"]
        return FrontPoint(
            rewards=tuple(point.extra[f"rewards/{name}"]),
            standard_error=tuple(math.nan if error is None else error for error in errors),
            n_prompts=point.n_prompts,
            preference=point.preference,
            kl=point.kl,
            source=point.source,
            extra=point.extra,
        )

    return ParetoFront(
        objectives=front.objectives,
        points=tuple(swap(p) for p in front.points),
        reference_policy=swap(front.reference_policy) if front.reference_policy is not None else None,
        normalizer=front.info.get(f"normalizer/{name}"),
        info=front.info,
    )
