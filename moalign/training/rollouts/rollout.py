"""Which preference each row of a rollout batch is generated, rewarded and held to the reference by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.preference_sampling import dirichlet_weights
from moalign.scalarize.base import Scalarizer
from moalign.scalarize.gradient_aggregation import GradientAggregation
from moalign.scalarize.linear import Linear
from moalign.training.steering_config import SteeringConfig


@dataclass
class RolloutRows:
    """Per-row conditioning of one rollout batch, and what becomes known of its rows on the way; every row of a prompt group carries the same preference.

    Args:
        weights (`Tensor`): `[B, K]`, the preference.
        alpha (`Tensor`): `[B]`, CLP's KL weight in [0, 1); 0 in every row without KL-mixing.
        prompts (`list`, *optional*): B prompts as the user asked them.
        log_probs, reference_log_probs (`Tensor`, *optional*): `[B, T]` of the completions' tokens.
        rewards (`Tensor`, *optional*): `[B of all processes, K]`, normalised, times 1 − α.
    """

    weights: Tensor
    alpha: Tensor
    prompts: list[Any] | None = None
    log_probs: Tensor | None = None
    reference_log_probs: Tensor | None = None
    rewards: Tensor | None = None

    @property
    def mixture_weights(self) -> Tensor:
        """What the adapters are mixed with: (1 − α) w, so that α pulls the policy's weights back to the reference's."""
        return (1 - self.alpha).unsqueeze(1) * self.weights

    def log_ratio(self) -> Tensor:
        """`[B, T]` log π_w − log π_ref of every token, once both were scored."""
        assert self.log_probs is not None
        assert self.reference_log_probs is not None
        return self.log_probs - self.reference_log_probs

    def rows(self, start: int, stop: int) -> "RolloutRows":
        """The preferences of one process's rows."""
        return RolloutRows(self.weights[start:stop], self.alpha[start:stop])


class PreferenceSampler:
    """Draw a preference (and with KL-mixing a KL weight α) per prompt group, from a generator of its own that a checkpoint can restore.

    Args:
        objectives (`tuple[str, ...]`): the K names.
        concentration (`float`): of the symmetric Dirichlet; 1 is uniform on the simplex, below 1 favours its corners.
        preference (`Preference`, *optional*): always this one instead of sampling.
        alpha_range (`tuple[float, float]`, *optional*): draw α uniformly from it (KL-mixing); no KL-mixing otherwise.
        seed (`int`): of the generator.
    """

    def __init__(
        self,
        objectives: tuple[str, ...],
        concentration: float = 1.0,
        preference: Preference | None = None,
        alpha_range: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> None:
        if not concentration > 0:
            raise InputError(f"concentration must be positive, found {concentration}")
        if alpha_range is not None and not 0 < alpha_range[0] <= alpha_range[1] < 1:
            raise InputError(f"alpha_range must satisfy 0 < low <= high < 1, found {alpha_range}")
        self.objectives = objectives
        self.concentration = concentration
        self.fixed = preference.as_tensor(objectives) if preference is not None else None
        self.alpha_range = alpha_range
        self.generator = torch.Generator().manual_seed(seed)

    def sample(self, groups: int, group_size: int) -> RolloutRows:
        """Rows for `groups` prompts of `group_size` completions each, a prompt's rows next to each other."""
        if self.fixed is not None:
            weights = self.fixed.expand(groups, -1)
        else:
            weights = dirichlet_weights(groups, len(self.objectives), self.concentration, self.generator).float()
        if self.alpha_range is None:
            alpha = torch.zeros(groups)
        else:
            low, high = self.alpha_range
            alpha = low + (high - low) * torch.rand(groups, generator=self.generator)
        return RolloutRows(weights.repeat_interleave(group_size, 0), alpha.repeat_interleave(group_size, 0))

    def state(self) -> str:
        """The generator's state as hexadecimal text."""
        return bytes(self.generator.get_state().tolist()).hex()

    def restore(self, state: str) -> None:
        """Go on exactly where `state` was taken."""
        self.generator.set_state(torch.tensor(list(bytes.fromhex(state)), dtype=torch.uint8))


def preference_sampler(
    args: SteeringConfig,
    objectives: Sequence[str],
    decides_alone: bool = False,
    alpha_range: tuple[float, float] | None = None,
) -> PreferenceSampler:
    """The sampler that a learner's settings ask for.

    Args:
        args (`SteeringConfig`): the settings.
        objectives (`Sequence[str]`): the K names.
        decides_alone (`bool`, *optional*, defaults to `False`): the scalarizer weighs the objectives itself, so that an unconditioned policy needs no preference.
        alpha_range (`tuple[float, float]`, *optional*): of KL-mixing.

    Raises:
        InputError: an unconditioned policy without a preference, or a preference that is malformed.
    """
    names = tuple(objectives)
    preference = Preference.parse(args.preference, names) if args.preference else None
    if preference is None and args.conditioning == "none":
        if not decides_alone and len(names) > 1:
            raise InputError(
                "conditioning none trains one model for one preference: set `preference`, as in "
                f"--preference {','.join(f'{name}={1 / len(names):.3g}' for name in names)}"
            )
        preference = Preference.uniform(names)
    return PreferenceSampler(names, args.concentration, preference, alpha_range, args.seed)  # type: ignore[attr-defined]


def leave_one_out(rewards: Tensor, group_size: int) -> Tensor:
    r"""RLOO's advantages ([Ahmadian et al., 2024](https://huggingface.co/papers/2402.14740)) of several rewards at once: $r_i$ minus the mean of the others of its prompt.

    Args:
        rewards (`Tensor`): `[B, K]`, a prompt's rows next to each other, NaN = not known.
        group_size (`int`): rows per prompt, at least 2 (with 1 there is nothing to compare with: all 0).

    Returns:
        `Tensor` `[B, K]`: 0 where nothing is known to compare with; NaN in the columns that are not known in any row.
    """
    if group_size == 1:
        return torch.zeros_like(rewards)
    groups = rewards.view(-1, group_size, rewards.shape[1])
    known = ~groups.isnan()
    others = known.sum(1, keepdim=True) - 1
    baseline = (groups.nansum(1, keepdim=True) - groups) / others
    advantages = (groups - baseline).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).view_as(rewards)
    return advantages.masked_fill(rewards.isnan().all(0), torch.nan)


def check_group_size(scalarizer: Scalarizer, args: Any, evaluates: bool) -> None:
    """A scalarizer that compares the completions of a prompt has to know how many there are.

    Args:
        scalarizer (`Scalarizer`): one that compares has a `group_size`.
        args (`RLOOConfig`): `num_generations` and `num_generations_eval`.
        evaluates (`bool`): there is a data set for evaluation.

    Raises:
        InputError: the sizes differ.
    """
    size = getattr(scalarizer, "group_size", None)
    sizes = {"num_generations": args.num_generations}
    if evaluates:
        sizes["num_generations_eval"] = args.num_generations_eval or args.num_generations
    for name, found in sizes.items():
        if size is not None and size != found:
            raise InputError(
                f"{type(scalarizer).__name__} compares groups of {size} completions, but {name} is {found}: they must be equal"
            )


def reward_figures(objectives: Sequence[str], weights: Tensor, rewards: Tensor, group_size: int) -> dict[str, float]:
    """What the log says of a batch's rewards beside their means.

    Args:
        objectives (`Sequence[str]`): the K names.
        weights (`Tensor`): `[B, K]`, the same in every row of a prompt group.
        rewards (`Tensor`): `[B, K]`, NaN = not known.
        group_size (`int`): rows per prompt.

    Returns:
        `dict[str, float]`: `missing/OBJECTIVE`, the share of rows without that reward; `steering/OBJECTIVE`, Spearman between $w_k$ and $r_k$ over the prompt groups, and
        `steering_error`, 1 minus its mean over objectives, where weights and rewards vary.
    """
    figures = {f"missing/{name}": float(rewards[:, k].isnan().float().mean()) for k, name in enumerate(objectives)}
    asked = weights[::group_size].cpu()
    got = rewards.view(-1, group_size, rewards.shape[1]).nanmean(1).cpu()
    correlations = []
    for k, name in enumerate(objectives):
        # Not by their deviation: equal numbers leave one of a few ulps.
        if len(asked) > 2 and all(column.min() < column.max() for column in (asked[:, k], got[:, k])):
            correlations.append(float(spearmanr(asked[:, k], got[:, k]).statistic))
            figures[f"steering/{name}"] = correlations[-1]
    if correlations:
        figures["steering_error"] = 1 - sum(correlations) / len(correlations)
    return figures


def keep_checkpoint_context(policy: SteerablePolicy) -> None:
    """Make gradient checkpointing recompute a forward under its own weights, however it is turned on.

    TRL turns it off to generate, and on again with settings of its own.

    Args:
        policy (`SteerablePolicy`): its model's `gradient_checkpointing_enable` is replaced.
    """
    model: Any = policy.model
    enable = model.gradient_checkpointing_enable
    options = {"use_reentrant": False, "context_fn": policy.mixture.checkpoint_context}
    model.gradient_checkpointing_enable = lambda *_, **__: enable(gradient_checkpointing_kwargs=options)


def check_save_steps(args: Any) -> None:
    """Refuse checkpoints in the middle of what one rollout serves: the rest of the rollout is in no checkpoint.

    Raises:
        InputError: `save_steps` is no multiple of the updates after which an update and a rollout end together.
    """
    batches = args.steps_per_generation * args.num_iterations
    updates = batches // math.gcd(batches, args.gradient_accumulation_steps)
    if args.save_strategy == "steps" and args.save_steps >= 1 and args.save_steps % updates:
        raise InputError(
            f"save_steps must be a multiple of {updates}, the updates after which no rollout is half used, found {args.save_steps}: "
            "a run could not be resumed exactly between them"
        )


def make_aggregation(args: Any, scalarizer: Scalarizer) -> GradientAggregation | None:
    """The gradient aggregation that an online learner's settings ask for.

    Raises:
        InputError: an unknown name, or settings that act on one combined reward.
    """
    if args.gradient_aggregation is None:
        return None
    if not isinstance(scalarizer, Linear):
        raise InputError(
            f"gradient_aggregation combines the objectives' gradients, so no other scalarizer can: found {type(scalarizer).__name__}"
        )
    for name in ("normalize_advantages", "reward_clip_range"):
        if getattr(args, name):
            raise InputError(f"{name} acts on one combined reward: it does not go with gradient_aggregation")
    return GradientAggregation(args.gradient_aggregation)
