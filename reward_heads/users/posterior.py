r"""What is known of one user's taste, and how well: draws from a posterior, whatever model they come from.

A user model gives every completion D components (the bases of a low-rank reward, the rewards of known objectives or of groups, latent dimensions), and a user prefers a over b
with probability $\sigma(t \cdot \Delta)$, where $\Delta = c(a) - c(b)$ are the components' differences and $t \in \mathbb{R}^D$ is the user's taste, in nats per unit of each.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives


@dataclass(frozen=True)
class UserPosterior:
    """What a user model believes of one user after n labelled pairs, as equally likely draws.

    Args:
        names (`tuple[str, ...]`): D components.
        samples (`Tensor`): `[S, D]` float64 on the CPU, draws of what is reported: weights on the simplex, group probabilities, a latent vector.
        n (`int`): labelled pairs that were learned from; 0 is the population.
        tastes (`Tensor`, *optional*): `[S, D]`, draws of the user's nats per unit of each component, one for each of `samples`; by default the samples themselves.
            They differ where a temperature or a hidden group membership lies in between.
        exact_mean (`Tensor`, *optional*): `[D]`, where the mean is known without sampling error.
        effective (`float`, *optional*): how many independent draws the samples are worth (importance sampling, Markov chains); by default S.

    Raises:
        InputError: shapes don't fit, there is no draw, or a number is not finite.
    """

    names: tuple[str, ...]
    samples: Tensor
    n: int
    tastes: Tensor | None = None
    exact_mean: Tensor | None = None
    effective: float | None = None

    def __post_init__(self) -> None:
        check_objectives(self.names)
        width = len(self.names)
        if self.samples.dim() != 2 or self.samples.shape[1] != width or not len(self.samples):
            raise InputError(f"samples must be [S, {width}] with S at least 1, found {list(self.samples.shape)}")
        if self.tastes is not None and self.tastes.shape != self.samples.shape:
            raise InputError(f"tastes must be {list(self.samples.shape)} as samples, found {list(self.tastes.shape)}")
        if self.exact_mean is not None and self.exact_mean.shape != (width,):
            raise InputError(f"exact_mean must be [{width}], found {list(self.exact_mean.shape)}")
        if self.n < 0:
            raise InputError(f"n counts pairs and can't be negative, found {self.n}")
        for what in ("samples", "tastes", "exact_mean"):
            values = getattr(self, what)
            if values is not None and not values.isfinite().all():
                raise InputError(f"{what} must be finite")

    @property
    def mean(self) -> Tensor:
        """`[D]` float64: the posterior mean of what is reported."""
        return self.samples.mean(dim=0) if self.exact_mean is None else self.exact_mean

    @property
    def std(self) -> Tensor:
        """`[D]` float64: the posterior standard deviation of what is reported."""
        return self.samples.std(dim=0, correction=0)

    @property
    def weights(self) -> dict[str, float]:
        """Component to posterior mean: where the components are objectives, what a request's preference takes."""
        return dict(zip(self.names, self.mean.tolist(), strict=True))

    def interval(self, level: float = 0.9) -> Tensor:
        """`[D, 2]`: lower and upper end of the central interval of each component, that holds it with probability `level`.

        Raises:
            InputError: `level` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise InputError(f"level must be between 0 and 1, found {level}")
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=self.samples.dtype)
        return torch.quantile(self.samples, ends, dim=0).T

    def chances(self, differences: Tensor) -> Tensor:
        """`[S, M]`: by each draw, the probability that the user prefers a over b, for M pairs.

        Args:
            differences (`Tensor`): `[M, D]`, the components of a minus those of b.

        Raises:
            InputError: the shape is wrong, or a number is not finite.
        """
        return torch.sigmoid(self.margins(differences))

    def margins(self, differences: Tensor) -> Tensor:
        """`[S, M]`: by each draw, the log-odds that the user prefers a over b; arguments and errors as of [`UserPosterior.chances`]."""
        delta = check_differences(differences, self.names)
        tastes = self.samples if self.tastes is None else self.tastes
        return tastes @ delta.T

    def prefers(self, differences: Tensor) -> Tensor:
        """`[M]`: the probability that the user prefers a over b, averaged over what the user may be like; arguments and errors as of [`UserPosterior.chances`]."""
        return self.chances(differences).mean(dim=0)

    def table(self, level: float = 0.9) -> str:
        """Mean and interval of each component, for people."""
        width = max(map(len, self.names))
        lines = [f"after {self.n} pairs (mean, {100 * level:g} % interval)"]
        for name, mean, (low, high) in zip(self.names, self.mean.tolist(), self.interval(level).tolist(), strict=True):
            lines.append(f"{name:<{width}}  {mean:7.3f}  [{low:.3f}, {high:.3f}]")
        return "\n".join(lines)


@runtime_checkable
class UserModel(Protocol):
    """What can be known of users: of the population, and of one of them from any number of labelled pairs."""

    @property
    def names(self) -> tuple[str, ...]:
        """The D components."""

    def population(self) -> UserPosterior:
        """What is known of a user before any pair, n = 0."""

    def posterior(self, pairs: Iterable[Mapping[str, Any]]) -> UserPosterior:
        """What is known of a user after rows of this one user's labelled pairs; unlabelled rows say nothing, no row gives the population.

        Raises:
            InputError: a row is broken or a rating.
        """

    def posterior_of(self, differences: Tensor, labels: Tensor) -> UserPosterior:
        """The same from numbers: `[n, D]` components of a minus those of b, and `[n]` probabilities that a is better.

        Raises:
            InputError: shapes don't fit, a label is outside [0, 1], or a number is not finite.
        """

    def differences(self, pairs: Iterable[Mapping[str, Any]]) -> Tensor:
        """`[n, D]` float64: the components of a minus those of b for rows of pairs, labelled or not; also what [`UserPosterior.prefers`] takes.

        Raises:
            InputError: a row is broken or a rating.
        """


def check_differences(differences: Tensor, names: tuple[str, ...]) -> Tensor:
    """`[M, D]` differences as float64 on the CPU.

    Raises:
        InputError: the shape is wrong, or a number is not finite.
    """
    found = differences.detach().to("cpu", torch.float64)
    if found.dim() != 2 or found.shape[1] != len(names):
        raise InputError(
            f"differences must be [M, {len(names)}], a column for each of {', '.join(names)}, found {list(found.shape)}"
        )
    if not found.isfinite().all():
        row, column = (~found.isfinite()).nonzero()[0].tolist()
        raise InputError(f"difference {row} of component '{names[column]}' is {found[row, column].item()}")
    return found


def check_answers(differences: Tensor, labels: Tensor, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """One user's `[n, D]` differences and `[n]` labels as float64 on the CPU, without the pairs whose label is NaN (missing).

    Raises:
        InputError: shapes don't fit, a label is outside [0, 1], or a number is not finite.
    """
    values = labels.detach().to("cpu", torch.float64)
    if values.shape != differences.shape[:1]:
        raise InputError(f"labels must be {list(differences.shape[:1])}, one for each pair, found {list(values.shape)}")
    known = ~values.isnan()
    if differences.dim() == 2:  # what is not labelled need not be known
        differences = differences.masked_fill(~known.to(differences.device)[:, None], 0.0)
    delta = check_differences(differences, names)
    if not ((values[known] >= 0) & (values[known] <= 1)).all():
        wrong = next(value for value in values[known].tolist() if not (math.isfinite(value) and 0 <= value <= 1))
        raise InputError(f"labels must be the probability in [0, 1] that a is better, found {wrong}")
    return delta[known], values[known]
