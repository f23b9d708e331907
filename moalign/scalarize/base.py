"""What every scalarizer does: a reward vector and a preference become one training signal."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from frontier.errors import InputError


class Scalarizer(Protocol):
    """Anything that turns rewards and weights into one number per row, to be maximised."""

    def __call__(self, rewards: Tensor, weights: Tensor) -> Tensor:
        """`[..., K]` rewards (NaN = not known) and `[..., K]` weights to `[...]` scalars; NaN where every reward of a row is missing."""
        ...


@runtime_checkable
class StatefulScalarizer(Scalarizer, Protocol):
    """A scalarizer that learns from what training sees: a learner calls it, then `observe`s the same batch, and keeps its `state` in every checkpoint."""

    def observe(self, rewards: Tensor) -> None:
        """Move the state after a batch of `[..., K]` rewards (NaN = not known)."""
        ...

    def metrics(self) -> dict[str, float]:
        """What to log after `observe`."""
        ...

    def state(self) -> dict[str, Any]:
        """The state as JSON."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`, bit by bit the same."""
        ...


def present_weights(rewards: Tensor, weights: Tensor) -> Tensor:
    """Share the weights of missing objectives out among those that are present, for scalarizers that need weights on the simplex.

    Args:
        rewards (`Tensor`): `[..., K]`, NaN = not known.
        weights (`Tensor`): `[..., K]`, not negative.

    Returns:
        `Tensor` `[..., K]`: 0 for a missing objective, the others scaled up so that a row keeps its sum. Where no present objective has a weight the row
        is NaN: nothing is known of what was asked for.

    Raises:
        InputError: a weight is negative or not finite.
    """
    if not ((weights >= 0) & weights.isfinite()).all():
        found = weights[~((weights >= 0) & weights.isfinite())][0].item()
        raise InputError(f"weights must be finite and not negative here, found {found:.4g}: a direction needs Linear")
    present = weights * ~rewards.isnan()
    known = present.sum(-1, keepdim=True)
    # 0 / 0 is the NaN that is promised.
    return present * (weights.sum(-1, keepdim=True) / known)


def check_vector(what: str, value: Tensor) -> None:
    """Refuse a vector that is not `[K]` and finite.

    Raises:
        InputError: says which one and what was found.
    """
    if value.ndim != 1 or not value.isfinite().all():
        raise InputError(f"{what} must be a finite vector with one number per objective, found {value.tolist()}")


def check_width(what: str, expected: int, rewards: Tensor) -> None:
    """Refuse rewards whose last dimension is not `expected`, naming what fixed that number.

    Raises:
        InputError: the sizes differ.
    """
    if rewards.ndim == 0 or rewards.shape[-1] != expected:
        raise InputError(f"{what} is for {expected} rewards, found rewards of shape {list(rewards.shape)}")
