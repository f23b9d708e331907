"""Measure what soups of language models give: every soup answers the same prompts with the same random numbers."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frontier.errors import InputError
from frontier.points import FrontPoint
from frontier.prompt_rewards import prompt_ids
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.soup import Evaluation, Soup
from frontier.realize.soup.experts import part_folders
from moalign.bundle import sha256, weights_digest
from moalign.evaluation import point_rewards, rewards_by_prompt, sample
from moalign.policy import Text
from moalign.soup.policy import SoupPolicy
from moalign.soup.reward_digest import reward_digest
from reward_heads import Normalizer, VectorReward


class SoupEvaluator:
    r"""Mean rewards of a soup on a prompt set, with standard errors over the prompts and the KL divergence to the base.

    With `kl_coefficient` β the rewards are $r_k(x, y) - \beta \log \frac{\pi(y|x)}{\pi_0(y|x)}$, so that a soup cannot buy rewards with any distance from the base: for weights that sum to 1 the
    weighted sum is what regularised training maximises.

    Args:
        policy (`SoupPolicy`): the base and its experts.
        reward (`VectorReward`): gives the objectives, which need not be the experts.
        prompts (`Sequence`): at least 2.
        normalizer (`Normalizer`, *optional*): of the reward's objectives, applied before β; raw rewards without it.
        reward_name (`str`, *optional*): tells rewards apart in stored evaluations, beside their content (see `reward_digest`): a file that the reward reads only while it scores, say.
        kl_coefficient (`float`, *optional*, defaults to 0): β, in units of the (normalised) rewards.
        samples_per_prompt (`int`, *optional*, defaults to 1): completions per prompt.
        max_new_tokens (`int`, *optional*, defaults to 64): longest completion.
        temperature (`float`, *optional*, defaults to 1): of the sampling; 0 is greedy.
        seed (`int`, *optional*, defaults to 0): of the sampling, the same for every soup: what differs between two soups is them and not their luck alone.
        batch_size (`int`, *optional*, defaults to 128): completions at once.

    Raises:
        InputError: fewer than 2 prompts or objectives, or a setting out of range.
    """

    def __init__(
        self,
        policy: SoupPolicy,
        reward: VectorReward,
        prompts: Sequence[Text],
        *,
        normalizer: Normalizer | None = None,
        reward_name: str = "",
        kl_coefficient: float = 0.0,
        samples_per_prompt: int = 1,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        seed: int = 0,
        batch_size: int = 128,
    ) -> None:
        if len(prompts) < 2:
            raise InputError(f"soups need at least 2 prompts for their standard errors, found {len(prompts)}")
        if len(reward.objectives) < 2:
            raise InputError(f"a front needs at least 2 objectives, the reward has {', '.join(reward.objectives)}")
        if not (math.isfinite(kl_coefficient) and kl_coefficient >= 0):
            raise InputError(f"kl_coefficient must be at least 0, found {kl_coefficient}")
        if normalizer is not None and tuple(normalizer.objectives) != tuple(reward.objectives):
            raise InputError(
                f"the normalizer is of {', '.join(normalizer.objectives)}, the reward of {', '.join(reward.objectives)}"
            )
        self.policy, self.reward, self.prompts, self.normalizer = policy, reward, list(prompts), normalizer
        # Before the first score: what a reward counts is no part of it.
        self.reward_digest = reward_digest(reward)
        self.reward_name, self.kl_coefficient = reward_name, float(kl_coefficient)
        self.samples_per_prompt, self.batch_size = samples_per_prompt, batch_size
        self.sampling: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}

    @property
    def objectives(self) -> tuple[str, ...]:
        """The reward's."""
        return tuple(self.reward.objectives)

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        """The N prompts as a front names them."""
        return prompt_ids(self.prompts)

    def __call__(self, soup: Soup) -> Evaluation:
        """What the soup gives."""
        each = [p for p in self.prompts for _ in range(self.samples_per_prompt)]
        with self.policy.use(soup):
            asked = self.policy.asked(len(each))
            found = sample(
                self.policy, self.reward, each, asked, progress=None, batch_size=self.batch_size, **self.sampling
            )
        rewards = self.normalizer(found.rewards) if self.normalizer is not None else found.rewards
        paid = rewards.double() - self.kl_coefficient * found.log_ratio.double().unsqueeze(-1)
        by_prompt = rewards_by_prompt(paid, self.samples_per_prompt)
        mean, error = point_rewards(by_prompt, self.objectives, "a soup")
        extra = {"mean_tokens": float(found.tokens.float().mean()), "sample": found.completions[0]}
        kl = float(found.log_ratio.mean())
        point = FrontPoint(tuple(mean), tuple(error), len(self.prompts), kl=kl, source="soup", extra=extra)
        return Evaluation(point, by_prompt.numpy())

    def content(self) -> dict[str, Any]:
        """All that the rewards of a soup depend on besides its coefficients, for `Evaluations`."""
        asked = hashlib.sha256(json.dumps(self.prompts, sort_keys=True).encode()).hexdigest()
        normalizer = None if self.normalizer is None else self.normalizer.to_json()
        return {
            "base": self.policy.digest,
            "experts": _digests(self.policy),
            "prompts": asked,
            "reward": [self.reward_name, self.reward_digest],
            "objectives": list(self.objectives),
            "normalizer": normalizer,
            "kl_coefficient": self.kl_coefficient,
            "samples_per_prompt": self.samples_per_prompt,
            # A batch shares its random numbers, so its size decides who gets which.
            "batch_size": self.batch_size,
            **self.sampling,
        }


def _digests(policy: SoupPolicy) -> list[Any]:
    """A fingerprint of each expert's parts: every byte of an adapter, a sample of every tensor of a model."""
    experts = policy.experts
    found = []
    for part, folder in zip(experts.parts, part_folders(experts.parts), strict=True):
        if isinstance(part, LoraFolder):
            files = sorted(f for f in Path(folder).iterdir() if f.name.startswith("adapter_"))
            found.append([sha256(file) for file in files])
        else:
            found.append([weights_digest((name, part.mapped(name)) for name in part.layouts)])
    return [[name, [found[p] for p in places]] for name, places in zip(experts.names, experts.holds, strict=True)]
