"""Max-min over user groups: raise the group that is worst off, whatever the majority wants."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from moalign.scalarize.base import StatefulScalarizer, check_width
from moalign.scalarize.linear import Linear

MODES = ("exponentiated", "argmin", "softmin")
Mode = Literal["exponentiated", "argmin", "softmin"]


class MaxMin(StatefulScalarizer):
    r"""Max-min over groups ([Chakraborty et al., 2024](https://arxiv.org/abs/2402.08925)): $\max_\pi \min_u F_u(\pi) - \beta\,KL$.

    $F_u$ is group u's mean reward, *anchored*: $F_u = (E[r_u] - \mathrm{anchor}_u) / \mathrm{scale}_u$. Bradley-Terry rewards have a free offset and scale per group, so
    that without an anchor (the reference policy's mean and spread) "the worst group" has no meaning.

    The signal of a row is $\sum_u \omega_u (r_u - \mathrm{anchor}_u) / \mathrm{scale}_u$; $\omega$ moves by `update`, after each batch:

    - `exponentiated`: $\omega_u \propto \omega_u \exp(-\eta F_u)$. By duality the max-min optimum is linear training at the worst-case weights, which $\omega$ approaches; it is an
      interpretable output. Its limit $\eta \to \infty$ is the argmin. A policy follows its weights with a delay, so that these alone swing around their goal; in use are
      $\omega_u \exp(-k_P F_u)$, normalised, which damps that.
    - `argmin`: all weight on the group with the smallest $F_u$, as in the paper (of several equal ones, the first). It chatters between groups that are level.
    - `softmin`: $\omega = \mathrm{softmax}(-F/\tau)$, the gradient of $-\tau \log \frac1U \sum_u \exp(-F_u/\tau)$; no memory.

    Deviations from the paper: the exponentiated form with its damping, the smooth form, and the anchor. State is held in Python floats, so it is the same on every device and survives JSON bit by bit.

    Args:
        groups (`Sequence[str]`): U names, in the order of the rewards' last dimension.
        mode (`str`, *optional*, defaults to `"exponentiated"`): see above.
        rate (`float`, *optional*, defaults to 0.1): $\eta > 0$, of `exponentiated`.
        temperature (`float`, *optional*, defaults to 0.1): $\tau > 0$, of `softmin` and of [`soft_min`].
        anchor, scale (`Sequence[float]`, *optional*): U numbers each, in reward units, `scale` positive. Default: 0 and 1, for rewards that a normaliser has anchored already.
        proportional (`float`, *optional*, defaults to 0.0): $k_P$, of `exponentiated`, per reward unit.
        floor (`float`, *optional*, defaults to 1e-4): the least weight of a group under `exponentiated`. Without it a group that was well off for long can no longer recover in time.

    Raises:
        InputError: fewer than two groups, equal names, an unknown mode, a number out of range.
    """

    def __init__(
        self,
        groups: Sequence[str],
        mode: Mode = "exponentiated",
        rate: float = 0.1,
        temperature: float = 0.1,
        anchor: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        floor: float = 1e-4,
        proportional: float = 0.0,
    ) -> None:
        self.groups = tuple(groups)
        n = len(self.groups)
        if n < 2 or len(set(self.groups)) < n:
            raise InputError(f"max-min needs at least two groups of different names, found {list(self.groups)}")
        if mode not in MODES:
            raise unknown_name("max-min mode", str(mode), MODES)
        for what, value in (("rate", rate), ("temperature", temperature)):
            if not 0 < value < math.inf:
                raise InputError(f"{what} must be positive, found {value}")
        if not 0 <= proportional < math.inf:
            raise InputError(f"proportional must be at least 0, found {proportional}")
        if not 0 <= floor < 1 / n:
            raise InputError(f"floor must be at least 0 and less than 1 / {n} groups, found {floor}")
        self.mode, self.rate, self.temperature, self.floor = mode, rate, temperature, floor
        self.proportional = proportional
        self.anchor = self._vector("anchor", anchor, 0.0)
        self.scale = self._vector("scale", scale, 1.0)
        if min(self.scale) <= 0:
            raise InputError(f"scale must be positive, found {list(self.scale)}")
        self.weights: tuple[float, ...] = (1 / n,) * n
        self._undamped = self.weights
        self.updates = 0
        self._sums = [0.0] * n

    def __call__(self, rewards: Tensor, weights: Tensor | None = None) -> Tensor:
        """`[..., U]` rewards of the groups, not anchored, to `[...]` scalars; NaN where every group's reward is missing.

        `weights` are those of a preference and are not used: here the groups' weights decide.
        """
        check_width(f"max-min over {', '.join(self.groups)}", len(self.groups), rewards)
        anchored = (rewards - rewards.new_tensor(self.anchor)) / rewards.new_tensor(self.scale)
        return Linear()(anchored, rewards.new_tensor(self.weights).expand_as(rewards))

    def anchored(self, group_means: Mapping[str, float] | Sequence[float] | Tensor) -> tuple[float, ...]:
        """$F_u$ of every group from its mean reward (NaN = no row of that group in the batch).

        Raises:
            InputError: a wrong number of groups, an unknown one, or an infinite mean.
        """
        if isinstance(group_means, Mapping):
            for name in group_means:
                if name not in self.groups:
                    raise unknown_name("group", name, self.groups)
            means = [float(group_means.get(name, math.nan)) for name in self.groups]
        else:
            means = [float(value) for value in group_means]
        if len(means) != len(self.groups):
            raise InputError(f"update needs one mean per group ({', '.join(self.groups)}), found {len(means)}: {means}")
        for name, value in zip(self.groups, means, strict=True):
            if math.isinf(value):
                raise InputError(f"the mean reward of group '{name}' is infinite")
        return tuple((m - a) / s for m, a, s in zip(means, self.anchor, self.scale, strict=True))

    def update(self, group_means: Mapping[str, float] | Sequence[float] | Tensor) -> tuple[float, ...]:
        """Move the groups' weights after a batch.

        A group without a value (NaN, or not in the mapping) keeps its weight under `exponentiated` and has none under the modes without memory. With no value at all
        nothing changes.

        Args:
            group_means (`Mapping[str, float]`, `Sequence[float]` or `Tensor` `[U]`): mean reward of each group, not anchored.

        Returns:
            `tuple[float, ...]`: the new weights, which sum to 1.

        Raises:
            InputError: as `anchored`.
        """
        values = self.anchored(group_means)
        if not all(math.isnan(value) for value in values):
            if self.mode == "exponentiated":
                self._undamped = self._exponentiated(values, self._undamped, self.rate)
                # The damping starts from the same weights every time, so that it leaves no trace in them.
                self.weights = self._exponentiated(values, self._undamped, self.proportional)
            else:
                self.weights = self._undamped = self._forgetful(values)
        self.updates += 1
        self._sums = [total + weight for total, weight in zip(self._sums, self.weights, strict=True)]
        return self.weights

    def observe(self, rewards: Tensor) -> None:
        """`update` by a batch of `[..., U]` rewards: each group's mean over the rows where it is known."""
        check_width(f"max-min over {', '.join(self.groups)}", len(self.groups), rewards)
        self.update(rewards.detach().reshape(-1, len(self.groups)).double().nanmean(0).cpu())

    def metrics(self) -> dict[str, float]:
        """For the log: every group's weight."""
        return {f"group_weight/{name}": weight for name, weight in zip(self.groups, self.weights, strict=True)}

    @property
    def average_weights(self) -> tuple[float, ...]:
        """Mean of the weights over all updates: the estimate of the worst-case weights that converges also where the last ones still circle."""
        return tuple(total / self.updates for total in self._sums) if self.updates else self.weights

    def worst(self, group_means: Mapping[str, float] | Sequence[float] | Tensor) -> tuple[str, float]:
        """Name and anchored value of the group that is worst off.

        Raises:
            InputError: as `anchored`, or no group has a value.
        """
        known = [(value, u) for u, value in enumerate(self.anchored(group_means)) if not math.isnan(value)]
        if not known:
            raise InputError("no group has a value")
        value, u = min(known)
        return self.groups[u], value

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs, as JSON; `restore` gives the same weights bit by bit."""
        return {
            "groups": list(self.groups),
            "weights": list(self.weights),
            "undamped": list(self._undamped),
            "sums": list(self._sums),
            "updates": self.updates,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`.

        Raises:
            InputError: it belongs to other groups.
        """
        if tuple(state["groups"]) != self.groups:
            raise InputError(
                f"the checkpoint is for the groups {', '.join(state['groups'])}, this run has {', '.join(self.groups)}"
            )
        self.weights = tuple(float(weight) for weight in state["weights"])
        self._undamped = tuple(float(weight) for weight in state["undamped"])
        self._sums = [float(total) for total in state["sums"]]
        self.updates = int(state["updates"])

    def _exponentiated(self, values: Sequence[float], weights: Sequence[float], rate: float) -> tuple[float, ...]:
        """The weights of groups with known values, times exp(-rate · value); together they keep what they had."""
        known = [u for u, value in enumerate(values) if not math.isnan(value)]
        if not known or rate == 0:
            return tuple(weights)
        lowest = min(values[u] for u in known)
        # Relative to the lowest value, so that no exponent is positive. A weight of exactly 0 stays 0, as the formula says.
        moved = [weights[u] * math.exp(rate * (lowest - values[u])) for u in known]
        if math.fsum(moved) == 0:
            # All of the weight sat on groups that were just scaled to nothing (a huge rate): the worst group takes it.
            moved = [float(values[u] == lowest) for u in known]
        mass = math.fsum(weights[u] for u in known)
        result = list(weights)
        for u, weight in zip(known, _normalised(moved), strict=True):
            result[u] = mass * weight
        return tuple(_at_least(result, self.floor))

    def _forgetful(self, values: Sequence[float]) -> tuple[float, ...]:
        """The weights of the modes without memory; a group without a value has none."""
        lowest = min(value for value in values if not math.isnan(value))
        if self.mode == "argmin":
            first = values.index(lowest)
            return tuple(float(u == first) for u in range(len(values)))
        return tuple(_normalised([0.0 if math.isnan(v) else math.exp((lowest - v) / self.temperature) for v in values]))

    def _vector(self, what: str, values: Sequence[float] | None, default: float) -> tuple[float, ...]:
        if values is None:
            return (default,) * len(self.groups)
        vector = tuple(float(value) for value in values)
        if len(vector) != len(self.groups) or not all(math.isfinite(value) for value in vector):
            raise InputError(f"{what} must be {len(self.groups)} finite numbers, one per group, found {list(vector)}")
        return vector


def soft_min(values: Tensor, temperature: float) -> Tensor:
    r"""$-\tau \log \frac1n \sum \exp(-x/\tau)$ over the last dimension, without NaN entries: between the minimum and the mean.

    Args:
        values (`Tensor`): `[..., U]`, NaN = not known.
        temperature (`float`): $\tau > 0$; 0 in the limit is the minimum, infinity the mean.

    Returns:
        `Tensor` `[...]`: NaN where nothing is known.

    Raises:
        InputError: the temperature is not positive.
    """
    if not 0 < temperature < math.inf:
        raise InputError(f"temperature must be positive, found {temperature}")
    known = ~values.isnan()
    exponents = (-values.nan_to_num() / temperature).masked_fill(~known, -torch.inf)
    count = known.sum(-1)
    value = -temperature * (torch.logsumexp(exponents, -1) - count.clamp(min=1).to(values).log())
    return value.masked_fill(count == 0, torch.nan)


def _normalised(values: list[float]) -> list[float]:
    total = math.fsum(values)
    return [value / total for value in values]


def _at_least(weights: list[float], floor: float) -> list[float]:
    """The weights with every one at `floor` or more; what that takes comes from those above, in proportion to their excess."""
    weights = _normalised(weights)
    lifted = [max(weight, floor) for weight in weights]
    lack = math.fsum(lifted) - 1
    if lack <= 0 or lifted == weights:
        return weights
    excess = math.fsum(weight - floor for weight in lifted)
    return [weight - lack * (weight - floor) / excess for weight in lifted]
