r"""How sure a reward is of each score, through whatever it is wrapped in.

Where a wrapper is a sum, a choice, a sign or a change of units, the standard deviation follows exactly. Through transforms (calibration, decorrelation), which may bend scores:

- an ensemble's members are transformed one by one, and their spread is measured afterwards;
- any other reward's score $s$ with deviation $\sigma$ is moved one objective at a time: $\operatorname{Var}[T_i] \approx \sum_k \big( \tfrac12 [T_i(s + \sigma_k e_k) - T_i(s - \sigma_k e_k)] \big)^2$,
  which is exact where the transform is affine and the heads err independently.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.cache import CachedReward
from reward_heads.combine import CombinedReward, NegatedReward, SelectedReward
from reward_heads.ensemble.combine import combine_members, member_std
from reward_heads.ensemble.ensemble import EnsembleReward
from reward_heads.normalizer import NormalizedReward
from reward_heads.text import Text, check_same_length
from reward_heads.transforms import TransformedReward
from reward_heads.vector_reward import VectorReward, score_checked

Pair = tuple[Tensor, Tensor]


@runtime_checkable
class UncertainReward(VectorReward, Protocol):
    """A reward that knows how sure it is."""

    def score_with_uncertainty(self, prompts: Sequence[Text], completions: Sequence[Text]) -> tuple[Tensor, Tensor]:
        """What `score` gives, and the standard deviation of each score in the same unit: `[B, K]` float32 on the CPU, not negative, NaN = not known."""


def score_with_uncertainty(
    reward: VectorReward, prompts: Sequence[Text], completions: Sequence[Text]
) -> tuple[Tensor, Tensor]:
    """Scores of any reward, and how sure it is of them.

    Args:
        reward (`VectorReward`): an [`UncertainReward`] (ensembles, probes), any other reward, or one of them normalised, selected, negated, combined, cached or transformed.
        prompts (`Sequence[Text]`): `B` prompts.
        completions (`Sequence[Text]`): `B` completions.

    Returns:
        `tuple[Tensor, Tensor]`: `[B, K]` scores, those of `reward.score`, and `[B, K]` standard deviations; NaN where nothing is known about one.

    Raises:
        InputError: the batch does not pair up, or the reward broke the contract.
    """
    check_same_length(prompts, completions)
    own = getattr(reward, "score_with_uncertainty", None)
    if own is not None:
        scores, std = own(prompts, completions)
        return _checked(reward, scores, std, len(prompts))
    match reward:
        case CachedReward():
            return score_with_uncertainty(reward.reward, prompts, completions)
        case SelectedReward() | NegatedReward() | NormalizedReward():
            scores, std = score_with_uncertainty(reward.reward, prompts, completions)
            return _rewrap(reward, scores), _rewrap_std(reward, std)
        case CombinedReward():
            parts = [score_with_uncertainty(part, prompts, completions) for part in reward.rewards]
            return torch.cat([scores for scores, _ in parts], dim=1), torch.cat([std for _, std in parts], dim=1)
        case TransformedReward():
            found = opinions(reward, prompts, completions)
            if found is not None:
                return found[0], member_std(found[1])
            return _moved(reward, *score_with_uncertainty(reward.reward, prompts, completions), prompts, completions)
    scores = score_checked(reward, prompts, completions)
    return scores, torch.full_like(scores, torch.nan)


def _checked(reward: VectorReward, scores: Tensor, std: Tensor, rows: int) -> Pair:
    expected = (rows, len(reward.objectives))
    for what, found in (("scores", scores), ("standard deviations", std)):
        if tuple(found.shape) != expected:
            raise InputError(
                f"{type(reward).__name__}.score_with_uncertainty must return {what} {list(expected)}, found {list(found.shape)}"
            )
        if found.isinf().any() or (found is std and bool((found < 0).any())):
            raise InputError(
                f"{type(reward).__name__}.score_with_uncertainty: {what} must be finite (deviations not negative), or NaN"
            )
    return scores.detach().to("cpu", torch.float32), std.detach().to("cpu", torch.float32)


def _rewrap(reward: SelectedReward | NegatedReward | NormalizedReward, scores: Tensor) -> Tensor:
    """`[..., K]` scores of the inner reward as the wrapper shows them."""
    match reward:
        case SelectedReward():
            return scores[..., [reward.reward.objectives.index(name) for name in reward.objectives]]
        case NegatedReward():
            return scores * torch.tensor([-1.0 if name in reward.costs else 1.0 for name in reward.reward.objectives])
        case NormalizedReward():
            return reward.normalizer(scores)


def _rewrap_std(reward: SelectedReward | NegatedReward | NormalizedReward, std: Tensor) -> Tensor:
    match reward:
        case SelectedReward():
            return _rewrap(reward, std)
        case NegatedReward():
            return std
        case NormalizedReward():
            return std / std.new_tensor(reward.normalizer.scale)


def opinions(reward: VectorReward, prompts: Sequence[Text], completions: Sequence[Text]) -> Pair | None:
    """The scores `[B, K]` and each member's `[M, B, K]`, where an ensemble is at the bottom; `None` otherwise."""
    match reward:
        case EnsembleReward():
            members = reward.member_scores(prompts, completions)
            return combine_members(members, reward.combine, reward.penalty), members
        case CachedReward():
            return opinions(reward.reward, prompts, completions)
        case SelectedReward() | NegatedReward() | NormalizedReward():
            found = opinions(reward.reward, prompts, completions)
            return None if found is None else (_rewrap(reward, found[0]), _rewrap(reward, found[1]))
        case TransformedReward():
            found = opinions(reward.reward, prompts, completions)
            if found is None:
                return None
            scores, *each = [reward.transform(part, prompts, completions) for part in (found[0], *found[1])]
            return scores, torch.stack(each)
    return None


def _moved(
    reward: TransformedReward, scores: Tensor, std: Tensor, prompts: Sequence[Text], completions: Sequence[Text]
) -> Pair:
    """Through transforms by moving one objective at a time; what depends on a score of unknown deviation has an unknown one."""
    variance = torch.zeros_like(scores)
    step = std.nan_to_num(nan=1.0)
    for k in range(scores.shape[1]):
        shift = torch.zeros_like(scores)
        shift[:, k] = step[:, k]
        up, down = (reward.transform(scores + sign * shift, prompts, completions) for sign in (1, -1))
        moved = ((up - down) / 2).square()
        unknown = std[:, k, None].isnan() & (moved > 0)
        # A score that is NaN moves nothing: its own deviation is masked below.
        variance += moved.nan_to_num(nan=0.0).masked_fill(unknown, torch.nan)
    transformed = reward.transform(scores, prompts, completions)
    return transformed, variance.sqrt().masked_fill(transformed.isnan() | std.isnan(), torch.nan)
