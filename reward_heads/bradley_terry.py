r"""Say how many nats of preference one unit of each reward is worth, with its standard error.

A reward that was trained elsewhere (or is a programme) has its own unit. Bradley-Terry labels fix it: for pairs with score difference $\Delta_i = r(a_i) - r(b_i)$
and labels $p_i$ = probability that a is better, the scale $\alpha$ of $P(a \succ b) = \sigma(\alpha\, \Delta)$ minimises
([Bradley & Terry, 1952](https://doi.org/10.2307/2334029))

$$ \ell(\alpha) = \sum_i v_i \big[ \mathrm{softplus}(\alpha \Delta_i) - p_i\, \alpha \Delta_i \big], \qquad
   \mathrm{se}(\alpha) = \Big[ \sum_i v_i\, \Delta_i^2\, \sigma(\alpha \Delta_i)\, \sigma(-\alpha \Delta_i) \Big]^{-1/2} $$

with weights $v_i$ (1 by default). $\alpha = 1$: the reward is in nats already, as after training on pairs; near 0: the labels don't follow it; negative: they oppose it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.examples import read_examples
from reward_heads.vector_reward import VectorReward, score_checked

# Beyond this many nats per standard unit of difference the labels are, in float64, a step function: no finite scale is better than a larger one.
_STEEPEST = 2.0**20


@dataclass(frozen=True)
class BradleyTerryScale:
    """What [`bradley_terry_scale`] measured; K entries in the order of `objectives`.

    Args:
        objectives (`tuple[str, ...]`): K names.
        scale (`Tensor`): `[K]` float64, nats per unit of reward. With `strict=False`: ±inf where labels follow (or oppose) the order of the scores
            without exception, NaN where nothing can be measured.
        standard_error (`Tensor`): `[K]` float64, of the scale, if labels are draws and pairs independent; inf where the scale isn't finite.
        n (`Tensor`): `[K]` int64, how many pairs were used: labelled, with known scores and a positive weight.
    """

    objectives: tuple[str, ...]
    scale: Tensor
    standard_error: Tensor
    n: Tensor


def bradley_terry_scale(
    reward: VectorReward, pairs: Iterable[Mapping[str, Any]], *, strict: bool = True
) -> BradleyTerryScale:
    """Fit the scale of each objective of a reward to the labels of pairs.

    Args:
        reward (`VectorReward`): K objectives; its offset doesn't matter, since only differences of scores enter.
        pairs (`Iterable[Mapping]`): rows with `prompt`, `completion_a`, `completion_b`, `labels`; labels of other objectives are ignored.
        strict (`bool`, *optional*, defaults to `True`): refuse an objective without a finite scale; otherwise report it as ±inf or NaN.

    Raises:
        InputError: a row is broken or a rating; or (`strict`) an objective has no usable pair or is separable, see [`scale_of_differences`].

    Example:
        >>> from reward_heads import FunctionReward
        >>> reward = FunctionReward({"brief": lambda prompt, completion: -len(completion)})
        >>> pair = {"prompt": "Ask.", "completion_a": "yes", "completion_b": "maybe", "labels": {"brief": 0.9}}
        >>> round(bradley_terry_scale(reward, [pair]).scale.item(), 4)  # log(0.9 / 0.1) nats for two letters
        1.0986
    """
    examples = read_examples(pairs, reward.objectives, what="pairs", ignore_others=True)
    others = [example.other for example in examples if example.other is not None]
    if len(others) < len(examples):
        number = next(i for i, example in enumerate(examples) if example.other is None)
        raise InputError(f"pairs, row {number}: is a rating, which compares nothing")
    prompts = [example.prompt for example in examples]
    scores = score_checked(reward, prompts * 2, [example.completion for example in examples] + others).double()
    labels = torch.tensor([e.targets for e in examples], dtype=torch.float64)
    labels = labels.reshape(len(examples), len(reward.objectives))
    differences = scores[: len(examples)] - scores[len(examples) :]
    return scale_of_differences(differences, labels, reward.objectives, strict=strict)


def scale_of_differences(
    differences: Tensor,
    labels: Tensor,
    objectives: Sequence[str] | None = None,
    *,
    weights: Tensor | None = None,
    strict: bool = True,
) -> BradleyTerryScale:
    """Fit the scale of each column by Newton's method in float64.

    Args:
        differences (`Tensor`): `[N, K]`, score of a minus score of b; NaN = not known.
        labels (`Tensor`): `[N, K]`, probability in [0, 1] that a is better (0.5 = tie); NaN = missing.
        objectives (`Sequence[str]`, *optional*): K names, for the result and messages; by default `0`, `1`, ...
        weights (`Tensor`, *optional*): `[N]` or `[N, K]`, not negative; how much each pair counts, such as a user group's responsibility.
        strict (`bool`, *optional*, defaults to `True`): refuse a column without a finite scale; otherwise report it as ±inf or NaN.

    Raises:
        InputError: shapes differ, a label is outside [0, 1], a weight is negative, a difference is infinite; or (`strict`) a column has no labelled pair with
            unequal scores, or is separable: all its labels are certain and follow the order of the scores, so that every larger scale fits better.
    """
    names = tuple(str(k) for k in range(differences.shape[-1])) if objectives is None else tuple(objectives)
    if differences.dim() != 2 or labels.shape != differences.shape or differences.shape[1] != len(names):
        raise InputError(
            f"differences and labels must both be [N, {len(names)}], found {list(differences.shape)} and {list(labels.shape)}"
        )
    d, p = (x.detach().to("cpu", torch.float64) for x in (differences, labels))
    v = torch.ones_like(d) if weights is None else weights.detach().to("cpu", torch.float64)
    v = v.reshape(-1, 1).expand_as(d) if v.dim() == 1 and len(v) == len(d) else v
    if v.shape != d.shape:
        raise InputError(f"weights must be [N] or [N, {len(names)}] with N = {len(d)}, found {list(v.shape)}")
    if not ((v >= 0) & v.isfinite()).all():
        raise InputError("weights must be finite and not negative")
    if ((p < 0) | (p > 1)).any() or d.isinf().any():
        raise InputError("labels must be in [0, 1] and differences finite; NaN where not known")
    used = ~(d.isnan() | p.isnan()) & (v > 0)
    fitted = [_fit(d[u, k], p[u, k], v[u, k]) for k, u in enumerate(used.T)]
    n = used.sum(dim=0)
    if strict:
        for name, (scale, _), count in zip(names, fitted, n.tolist(), strict=True):
            _refuse(name, scale, count)
    scales, errors = (torch.tensor(column, dtype=torch.float64) for column in zip(*fitted, strict=True))
    return BradleyTerryScale(names, scales, errors, n)


def _refuse(name: str, scale: float, n: int) -> None:
    if math.isnan(scale):
        raise InputError(
            f"objective '{name}' has no scale: none of its {n} labelled pairs has two different scores"
            if n
            else f"objective '{name}' has no scale: no pair has both a label and known scores"
        )
    if math.isinf(scale):
        what = "follow" if scale > 0 else "oppose"
        raise InputError(
            f"objective '{name}' is separable: the labels of all {n} pairs {what} the order of its scores with certainty, so no finite scale fits best; "
            "add pairs, or labels that are probabilities"
        )


def _fit(d: Tensor, p: Tensor, v: Tensor) -> tuple[float, float]:
    """Scale and standard error of one column without missing entries."""
    told = d != 0  # a pair of equal scores says nothing about the scale
    d, p, v = d[told], p[told], v[told]
    if not len(d):
        return math.nan, math.inf
    unit = float(((v * d**2).sum() / v.sum()).sqrt())
    d = d / unit
    # The slope of the loss, which grows with the scale, tends to these sums: 0 at one end means that there is no minimum.
    against, along = float((v * d.abs() * torch.where(d > 0, 1 - p, p)).sum()), float((v * d.abs()).sum())
    if against == 0:
        return math.inf, math.inf
    if against == along:
        return -math.inf, math.inf
    scale = _root(d, p, v)
    if abs(scale) >= _STEEPEST:
        return math.copysign(math.inf, scale), math.inf
    chance = torch.sigmoid(scale * d)
    information = float((v * d**2 * chance * (1 - chance)).sum())
    return scale / unit, (information**-0.5 / unit) if information > 0 else math.inf


def _root(d: Tensor, p: Tensor, v: Tensor) -> float:
    """Where the slope of the loss vanishes: Newton's steps, kept inside a bracket that shrinks at every step."""

    def slope(scale: float) -> tuple[float, float]:
        chance = torch.sigmoid(scale * d)
        return float((v * d * (chance - p)).sum()), float((v * d**2 * chance * (1 - chance)).sum())

    low, high = -1.0, 1.0
    while low > -_STEEPEST and slope(low)[0] > 0:
        low *= 2
    while high < _STEEPEST and slope(high)[0] < 0:
        high *= 2
    if low <= -_STEEPEST or high >= _STEEPEST:
        return low if low <= -_STEEPEST else high
    scale = 0.0
    for _ in range(200):
        value, curvature = slope(scale)
        low, high = (scale, high) if value < 0 else (low, scale)
        step = scale - value / curvature if curvature > 0 else math.nan
        following = step if low < step < high else (low + high) / 2
        if abs(following - scale) <= 1e-13 * (1 + abs(scale)):
            return following
        scale = following
    return scale
