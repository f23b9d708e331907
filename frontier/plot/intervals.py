"""Intervals for the figures on a page, where a front kept its rewards per prompt."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from frontier.front import ParetoFront
from frontier.measure.uncertainty import Estimate, bootstrap, compare_rewards, posterior_non_dominated
from frontier.measure.uncertainty.samples import FEWEST_PROMPTS, unknown_to_some
from frontier.plot.view import View

# A page is made in seconds: enough draws for two digits of an interval's ends.
RESAMPLES = 1000
MOST_POINTS = 64  # of a hypervolume in more than three objectives, where every draw costs its own exact computation


def figures_with_intervals(view: View) -> dict[str, dict[str, Estimate]]:
    """By front label and then by column of the summary: 95 % intervals over prompts.

    A front without `prompt_rewards`, or with fewer than ten prompts known for some reward, has none; so has a hypervolume that takes long.
    """
    found: dict[str, dict[str, Estimate]] = {}
    for layer in view.layers:
        rewards = rewards_per_prompt(layer.front)
        if rewards is None:
            continue
        place, steered = view.reference_point, layer.steered()
        weights = layer.front.weights[steered]
        figures = found.setdefault(layer.label, {})
        if _quick(rewards):
            figures["hypervolume"] = bootstrap(rewards, "hypervolume", reference_point=place, resamples=RESAMPLES)
        if steered.any():
            figures["EUM"] = bootstrap(rewards, "eum", weights=weights, resamples=RESAMPLES)
            figures["MIP"] = bootstrap(rewards[steered], "mip", weights=weights, resamples=RESAMPLES)
        if steered.all():
            figures["gap"] = bootstrap(rewards, "controllability_gap", weights=weights, resamples=RESAMPLES)
    return found


def chances_non_dominated(view: View) -> dict[str, Sequence[float]]:
    """By front label, the probability of each point to be non-dominated within its front. A front without `prompt_rewards` has none."""
    known = {layer.label: rewards_per_prompt(layer.front) for layer in view.layers}
    return {
        label: posterior_non_dominated(rewards, resamples=RESAMPLES).probability
        for label, rewards in known.items()
        if rewards is not None
    }


def differences_with_intervals(view: View, weights: NDArray[np.float64]) -> Mapping[str, Estimate]:
    """By figure, the difference of the first and the second front of a view with its 95 % interval over the prompts, which must be the same for both.

    Args:
        view (`View`): of two fronts.
        weights (`NDArray`): `[W, K]`, of the EUM.
    """
    first, second = (layer.front for layer in view.layers)
    one, other = rewards_per_prompt(first), rewards_per_prompt(second)
    if one is None or other is None or first.prompt_rewards is None or second.prompt_rewards is None:
        return {}
    if set(first.prompt_rewards.prompts) != set(second.prompt_rewards.prompts):
        return {}
    # Row j must be the same prompt in both: that is what makes the difference sharp.
    other = second.prompt_rewards.align(first.prompt_rewards.prompts).rewards
    if (~unknown_to_some(np.concatenate([one, other]))).sum(axis=0).min() < FEWEST_PROMPTS:
        return {}
    found = {"EUM": compare_rewards(one, other, "eum", weights_a=weights, resamples=RESAMPLES).difference}
    if _quick(one) and _quick(other):
        place = view.reference_point
        found["hypervolume"] = compare_rewards(
            one, other, "hypervolume", reference_point=place, resamples=RESAMPLES
        ).difference
    if all(layer.steered().all() for layer in view.layers):
        for name, indicator in (("MIP", "mip"), ("gap", "controllability_gap")):
            found[name] = compare_rewards(
                one, other, indicator, weights_a=first.weights, weights_b=second.weights, resamples=RESAMPLES
            ).difference
    return found


def rewards_per_prompt(front: ParetoFront) -> NDArray[np.float64] | None:
    """`[P, N, K]` rewards where a front kept them and enough are known of each point and objective to say how sure a figure is."""
    kept = front.prompt_rewards
    if kept is None or (~np.isnan(kept.rewards)).sum(axis=1).min() < FEWEST_PROMPTS:
        return None
    return kept.rewards


def _quick(rewards: NDArray[np.float64]) -> bool:
    points, _, objectives = rewards.shape
    return objectives <= 3 or (objectives <= 5 and points <= MOST_POINTS)
