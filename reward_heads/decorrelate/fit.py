"""Learn from texts how far each objective follows length (or another objective), and get the reward without it."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.decorrelate.curve import Curve, fit_curve
from reward_heads.decorrelate.decorrelation import Decorrelation
from reward_heads.decorrelate.length import Length
from reward_heads.decorrelate.penalty import smallest_penalty, smallest_strength
from reward_heads.decorrelate.rank_correlation import RankCorrelation, standard_error
from reward_heads.decorrelate.report import DecorrelationReport, measure
from reward_heads.decorrelate.texts import ComparedTexts, folds_of, read_texts, split_rows, usable_folds
from reward_heads.text import Text
from reward_heads.transforms import TransformedReward
from reward_heads.vector_reward import VectorReward, score_checked

LENGTH = "length"
_FOLDS = 5
_LARGEST_STRENGTH = 2.0


def fit_decorrelation(
    reward: VectorReward,
    rows: Iterable[Mapping[str, Any]],
    *,
    against: str | Length = LENGTH,
    threshold: float = 0.05,
    margin: float = 1.96,
    knots: int = 8,
    only: Sequence[str] | None = None,
    held_out: float | Iterable[Mapping[str, Any]] = 0.25,
    seed: int = 0,
) -> tuple[TransformedReward, DecorrelationReport]:
    r"""Decorrelate a reward; what it returns is an ordinary reward that scores, saves and loads with the correction.

    Args:
        reward (`VectorReward`): K objectives.
        rows (`Iterable[Mapping]`): pairs or ratings; labels are needed only to report what the correction costs.
        against (`str` or `Length`, *optional*, defaults to `"length"`): the length of the completion in words, `Length("characters")`, or an objective of the reward.
        threshold (`float`, *optional*, defaults to 0.05): for |Spearman| on texts that were not seen.
        margin (`float`, *optional*, defaults to 1.96): how many standard errors of chance, $1/\sqrt{n - 1}$, the fit aims below the threshold, so that it holds on
            other texts; never below 0. With 0, the smallest correction that meets the threshold on the fitted texts: about half of all others will miss it.
        knots (`int`, *optional*, defaults to 8): of the curves over length; 2 is a straight line in log(1 + length).
        only (`Sequence[str]`, *optional*): which objectives to correct, by default all but `against`.
        held_out (`float` or rows, *optional*, defaults to 0.25): the share of the prompts that is kept to judge, or the rows to judge on.
        seed (`int`, *optional*, defaults to 0): of the split.

    Returns:
        The corrected reward, and a [`DecorrelationReport`] with correlations and accuracy before and after on both parts.

    Raises:
        InputError: see [`decorrelation_of`]; or a row is broken.
    """
    target = _target(against, tuple(reward.objectives))
    parts = split_rows(rows, held_out, seed) if isinstance(held_out, int | float) else (list(rows), list(held_out))
    fitted, held = (read_texts(part, reward.objectives) for part in parts)
    scores = score_checked(reward, fitted.prompts, fitted.completions)
    found = decorrelation_of(
        scores,
        reward.objectives,
        fitted.completions,
        against=target,
        threshold=threshold,
        margin=margin,
        knots=knots,
        only=only,
        groups=fitted.groups,
        seed=seed,
    )
    transformed = TransformedReward(reward, [found])
    outside = score_checked(reward, held.prompts, held.completions)
    both = []
    for texts, before in ((fitted, scores), (held, outside)):
        after = found(before, texts.prompts, texts.completions)
        both.append(measure(texts, before, after, found.regressor(before, texts.completions)))
    strengths = tuple(_strength(term, fitted, target) for term in found.terms)
    corrected = tuple(_is_corrected(objective, target, only) for objective in found.objectives)
    name = LENGTH if isinstance(target, Length) else target
    aim = _aim(threshold, margin, len(scores))
    return transformed, DecorrelationReport(found.objectives, name, threshold, aim, strengths, corrected, *both)


def decorrelation_of(
    scores: Tensor,
    objectives: Sequence[str],
    completions: Sequence[Text],
    *,
    against: str | Length = LENGTH,
    threshold: float = 0.05,
    margin: float = 1.96,
    knots: int = 8,
    only: Sequence[str] | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Decorrelation:
    """The same from scores that are known already.

    Args:
        scores (`Tensor`): `[N, K]`; rows with NaN are left out of an objective's fit.
        objectives (`Sequence[str]`): K names.
        completions (`Sequence[Text]`): N.
        against (`str` or `Length`, *optional*, defaults to `"length"`): see [`fit_decorrelation`].
        threshold (`float`, *optional*, defaults to 0.05): for |Spearman|.
        margin (`float`, *optional*, defaults to 1.96): how many standard errors below it the fit aims.
        knots (`int`, *optional*, defaults to 8): of the curves over length.
        only (`Sequence[str]`, *optional*): which objectives to correct, by default all but `against`.
        groups (`Sequence[Hashable]`, *optional*): N, such as prompts: rows of one group share a fold where the strength of a curve is found by cross-fitting.
        seed (`int`, *optional*, defaults to 0): of the folds.

    Raises:
        InputError: an unknown objective, a threshold outside [0, 1), shapes that don't fit, no row with known scores, a constant length or objective, an infinite score,
            or an objective that is nothing but a copy of `against`.
    """
    names = tuple(objectives)
    target = _target(against, names)
    for name in only or ():
        if name not in names:
            raise unknown_name("objective", name, names)
    if not 0 <= threshold < 1 or not margin >= 0:
        raise InputError(f"threshold must be in [0, 1) and margin not negative, found {threshold} and {margin}")
    if scores.dim() != 2 or scores.shape != (len(completions), len(names)):
        raise InputError(f"scores must be [{len(completions)}, {len(names)}], found {list(scores.shape)}")
    if scores.isinf().any():
        raise InputError("scores must be finite, or NaN when they are not known; found an infinite one")
    values = scores.detach().to("cpu", torch.float64)
    z = Decorrelation(names, target, (0.0,) * len(names)).regressor(values, completions)
    folds = folds_of(list(groups) if groups is not None else list(range(len(z))), _FOLDS, seed)
    terms: list[Curve | float] = []
    for name, column in zip(names, values.T, strict=True):
        known = ~(column.isnan() | z.isnan())
        if not _is_corrected(name, target, only):
            terms.append(0.0)
            continue
        _refuse(name, column[known], z[known], target)
        aim = _aim(threshold, margin, int(known.sum()))
        if isinstance(target, Length):
            terms.append(_curve(column[known], z[known], folds[known], aim, knots))
        else:
            terms.append(smallest_penalty(column[known], z[known], aim))
    return Decorrelation(names, target, tuple(terms))


def _curve(scores: Tensor, z: Tensor, folds: Tensor, aim: float, knots: int) -> Curve | float:
    """The curve times the strength that is needed on rows which the curve has not seen."""
    folds = usable_folds(folds, _FOLDS)
    outside = torch.empty_like(scores)
    for fold in range(_FOLDS):
        inside = folds != fold
        if inside.all():
            continue
        spread = len(z[inside].unique()) > 1
        outside[~inside] = fit_curve(z[inside], scores[inside], knots)(z[~inside]) if spread else scores[inside].mean()
    correlation = RankCorrelation(z)
    strength = smallest_strength(lambda s: correlation(scores - s * outside), _LARGEST_STRENGTH, aim)
    if strength == 0:
        return 0.0
    curve = fit_curve(z, scores, knots)
    return curve.scaled(strength, shift=curve(z).mean().item())


def _is_corrected(name: str, target: str | Length, only: Sequence[str] | None) -> bool:
    return name != target and (only is None or name in only)


def _aim(threshold: float, margin: float, n: int) -> float:
    return max(0.0, threshold - margin * standard_error(n))


def _target(against: str | Length, objectives: tuple[str, ...]) -> str | Length:
    if isinstance(against, Length):
        return against
    if against == LENGTH:
        if LENGTH in objectives:
            raise InputError(
                "the reward has an objective 'length': write Length() for the length of the completion, or rename the objective"
            )
        return Length()
    if against not in objectives:
        raise unknown_name("objective to decorrelate from", str(against), (LENGTH, *objectives))
    return against


def _refuse(name: str, scores: Tensor, z: Tensor, target: str | Length) -> None:
    what = f"the length in {target.unit}" if isinstance(target, Length) else f"objective '{target}'"
    if len(scores) < 3:
        raise InputError(
            f"objective '{name}' has {len(scores)} texts with known scores: at least 3 are needed to decorrelate it"
        )
    if z.min() == z.max():
        raise InputError(f"{what} is the same in all {len(z)} texts: there is nothing to decorrelate '{name}' from")
    if scores.min() == scores.max():
        raise InputError(
            f"objective '{name}' is {scores[0].item():g} in all {len(scores)} texts: a constant follows nothing"
        )
    if not isinstance(target, Length):
        centred, other = scores - scores.mean(), z - z.mean()
        left = centred - (centred @ other) / (other @ other) * other
        if left.std() < 1e-5 * scores.std():
            raise InputError(
                f"objective '{name}' is nothing but a multiple of {what}: without it, only rounding noise would be left"
            )


def _strength(term: Curve | float, texts: ComparedTexts, target: str | Length) -> float:
    """The penalty; of a curve, how far it leads from the shortest tenth of the texts to the longest."""
    if isinstance(term, float) or not isinstance(target, Length):
        return float(term) if isinstance(term, float) else 0.0
    ends = torch.quantile(target.log(texts.completions), torch.tensor([0.1, 0.9], dtype=torch.float64))
    low, high = term(ends).tolist()
    return high - low
