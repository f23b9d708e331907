"""Merge without interference, by PEFT's rule: trim, elect signs on unweighted deltas, divide by how many were kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from frontier.realize.merging.methods.base import Parameters, setting
from frontier.realize.merging.methods.deltas import Rule
from frontier.realize.merging.methods.ties import Ties


@dataclass(frozen=True)
class TiesPeftParameters(Parameters):
    """Settings of `ties_peft`.

    Args:
        weight (`tuple[float, ...]`): `[N]`, w_i.
        density (`tuple[float, ...]`): `[N]`, the share of each delta's entries that is kept, 0 to 1.
        lambda_ (`float`, *optional*, defaults to 1): factor of the whole sum; `lambda` in a file.
    """

    weight: tuple[float, ...] = setting(per_model=True)
    density: tuple[float, ...] = setting(1.0, per_model=True, least=0, most=1)
    lambda_: float = setting(1.0)


class TiesPeft(Ties):
    r"""TIES ([Yadav et al., 2023](https://huggingface.co/papers/2306.01708)) as PEFT's `ties` computes it (`majority_sign_method: total`, its default), here on full deltas and not on LoRA factors.

    1. Trim as `ties` does: ⌊density · n⌋ entries of each delta stay (one at least), $d_i$.
    2. Elect: the sign of $\sum_i d_i$, **without** weights; a sum of exactly 0 elects plus.
    3. Merge, over the models whose $d_i$ has that sign, dividing by their **number**:

    $$ \theta = \theta_0 + \lambda \frac{\sum_i w_i d_i}{\#\{i\}} $$

    With all w_i = 1 this is the paper's TIES. PEFT applies it to A and B by themselves, which adds cross terms; this method never does.
    """

    name = "ties_peft"
    Parameters = TiesPeftParameters

    def _rule(self, parameters: Any, scales: Sequence[float]) -> Rule:
        ones = (1.0,) * len(parameters.weight)
        return Rule(gains=parameters.weight, votes=ones, shares=ones, lambda_=parameters.lambda_)
