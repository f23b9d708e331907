r"""The arithmetic of MODPO: which objective a pair trains, and what the other rewards are worth to it.

With weights $w$ and reward differences $\Delta r_j = r_j(a) - r_j(b)$ in nats, the score difference for the label of objective k is

$$ d_k = \frac{\beta}{w_k} (h_a - h_b) - m_k, \qquad m_k = \frac{1}{w_k} \sum_{j \neq k} w_j \Delta r_j $$

so that Bradley-Terry labels of reward $r_k$ have their best fit at $\beta (h_a - h_b) = \sum_j w_j \Delta r_j$, the same for every k.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.bradley_terry import scale_of_differences

logger = logging.getLogger(__name__)
MEASURED, NATS = "bradley_terry", "none"


def margins(weights: Tensor, differences: Tensor) -> Tensor:
    """$m_k$ of every objective, `[B, K]`: NaN where a reward that counts is not known, or $w_k$ is not positive.

    Args:
        weights (`Tensor`): `[B, K]`.
        differences (`Tensor`): `[B, K]`, rewards of a minus those of b, in nats; NaN = not known, which is harmless where the weight is 0.

    Example:
        >>> margins(torch.tensor([[0.25, 0.75]]), torch.tensor([[2.0, 1.0]]))  # 0.75 * 1 / 0.25 and 0.25 * 2 / 0.75
        tensor([[3.0000, 0.6667]])
    """
    counts = weights != 0
    worth = torch.where(counts, weights * differences, 0.0)
    others = 1 - torch.eye(weights.shape[1], dtype=worth.dtype, device=worth.device)
    unknown = (worth.isnan().to(worth.dtype) @ others) > 0
    found = (worth.nan_to_num(nan=0.0) @ others) / weights
    return found.masked_fill(unknown | (weights <= 0), torch.nan)


def shares(weights: Tensor, labels: Tensor, margin: Tensor, min_weight: float) -> Tensor:
    """How much each objective's loss counts in each row, `[B, K]`: $w_k$ over the sum of those that can be used; rows of 0 where none can.

    Args:
        weights (`Tensor`): `[B, K]`.
        labels (`Tensor`): `[B, K]`; NaN = missing.
        margin (`Tensor`): `[B, K]` of [`margins`]; NaN = not known.
        min_weight (`float`): objectives below it are not trained on their labels, for 1 / w explodes; they still count in the margins.
    """
    usable = ~labels.isnan() & ~margin.isnan() & (weights >= min_weight)
    used = torch.where(usable, weights, 0.0)
    return torch.where(usable, used / used.sum(1, keepdim=True), 0.0)


def drawn(share: Tensor, uniform: Tensor) -> Tensor:
    """One objective per row instead of all: `[B, K]` of 0 and 1, drawn with the shares as probabilities.

    Args:
        share (`Tensor`): `[B, K]` of [`shares`].
        uniform (`Tensor`): `[B]` in [0, 1), the randomness.
    """
    reached = share.cumsum(1) > uniform.unsqueeze(1) * share.sum(1, keepdim=True)
    first = reached & (reached.cumsum(1) == 1)
    return first.to(share.dtype)


@dataclass(frozen=True)
class MarginScale:
    """Nats per unit of each reward.

    Args:
        objectives (`tuple[str, ...]`): K names.
        value (`tuple[float, ...]`): K scales.
        standard_error (`tuple[float, ...]`): K of them; NaN where the scale was not measured.
    """

    objectives: tuple[str, ...]
    value: tuple[float, ...]
    standard_error: tuple[float, ...]

    def tensor(self) -> Tensor:
        """`[K]` float32."""
        return torch.tensor(self.value, dtype=torch.float32)

    def to_json(self) -> dict[str, Any]:
        """As JSON values: scale by name, and the standard errors of those that were measured."""
        errors = zip(self.objectives, self.standard_error, strict=True)
        return {
            "value": dict(zip(self.objectives, self.value, strict=True)),
            "standard_error": {name: error for name, error in errors if math.isfinite(error)},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MarginScale":
        """Read what `to_json` wrote."""
        names = tuple(values["value"])
        errors = tuple(float(values["standard_error"].get(name, math.nan)) for name in names)
        return cls(names, tuple(float(values["value"][name]) for name in names), errors)

    def metrics(self) -> dict[str, float]:
        """For the log."""
        found = {f"margin_scale/{name}": value for name, value in zip(self.objectives, self.value, strict=True)}
        return found | {
            f"margin_scale_se/{name}": error
            for name, error in zip(self.objectives, self.standard_error, strict=True)
            if math.isfinite(error)
        }


def parse_margin_scale(setting: str) -> dict[str, float] | None:
    """The numbers of a setting such as `helpful=1,brief=0.2`; `None` where it is one of the two words.

    Raises:
        InputError: neither a word nor such numbers.
    """
    if setting in (MEASURED, NATS):
        return None
    if "=" not in setting:
        raise unknown_name("margin_scale", setting, (MEASURED, NATS, "OBJECTIVE=NUMBER,..."))
    given: dict[str, float] = {}
    for part in setting.split(","):
        name, _, number = part.partition("=")
        try:
            given[name.strip()] = float(number)
        except ValueError as error:
            raise InputError(f"margin_scale: '{part.strip()}' is not OBJECTIVE=NUMBER") from error
        if not 0 < given[name.strip()] < math.inf:
            raise InputError(f"margin_scale of '{name.strip()}' must be positive and finite, found {number}")
    return given


def measure_margin_scale(setting: str, differences: Tensor, labels: Tensor, objectives: Sequence[str]) -> MarginScale:
    """How many nats one unit of each reward is worth.

    Args:
        setting (`str`): `bradley_terry`: the most likely scale of each reward on the labels of its own objective; `none`: the rewards are in nats; or numbers by
            objective, the others being measured.
        differences (`Tensor`): `[N, K]`, reward of a minus reward of b; NaN = not known.
        labels (`Tensor`): `[N, K]`, probability that a is better; NaN = missing.
        objectives (`Sequence[str]`): K names.

    Raises:
        InputError: an unknown objective, labels that follow a reward without exception (no finite scale is the most likely one), or labels that oppose it.
    """
    names = tuple(objectives)
    given = parse_margin_scale(setting)
    if given is None:
        given = dict.fromkeys(names, 1.0) if setting == NATS else {}
    for name in given:
        if name not in names:
            raise unknown_name("objective of margin_scale", name, names)
    fitted = scale_of_differences(differences, labels, names, strict=False)
    found = zip(names, fitted.scale.tolist(), fitted.standard_error.tolist(), fitted.n.tolist(), strict=True)
    values, errors = [], []
    for name, scale, error, n in found:
        if name in given:
            values.append(given[name])
            errors.append(math.nan)
            continue
        _check(name, scale, error, n)
        values.append(1.0 if math.isnan(scale) else scale)
        errors.append(error if math.isfinite(error) else math.nan)
    return MarginScale(names, tuple(values), tuple(errors))


def _check(name: str, scale: float, error: float, n: int) -> None:
    mend = f"give the scale yourself, as in margin_scale {name}=1 (nats per unit of the reward)"
    if math.isnan(scale):
        logger.warning(
            "objective '%s': the scale of its reward cannot be measured (%d pairs have its label and two different scores); it is taken to be in nats",
            name,
            n,
        )
    elif math.isinf(scale) and scale > 0:
        raise InputError(
            f"objective '{name}': all {n} labels follow the order of its reward with certainty, so no finite margin scale fits best; {mend}, "
            "or label with probabilities"
        )
    elif scale < 0 and (math.isinf(scale) or scale + 2 * error < 0):
        raise InputError(
            f"objective '{name}': its labels oppose its reward (scale {scale:.3g}, standard error {error:.2g}, {n} pairs): everything is maximised, "
            f"so a cost enters as its negative; or {mend}"
        )
    else:
        logger.info(
            "objective '%s': %.4g nats per unit of its reward (standard error %.2g, %d pairs)", name, scale, error, n
        )
        if abs(scale) < 2 * error:
            logger.warning(
                "objective '%s': its labels hardly follow its reward (scale %.3g, standard error %.2g)",
                name,
                scale,
                error,
            )
