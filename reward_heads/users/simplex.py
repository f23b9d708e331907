r"""The population of users' weights: a logistic normal on the simplex, with a temperature for each user or one for all.

A user's weights are $w = \mathrm{softmax}(H u)$ with $u \in \mathbb{R}^{B-1}$, where H is an orthonormal basis of the vectors of sum 0 (isometric log-ratio coordinates,
[Egozcue et al., 2003](https://doi.org/10.1023/A:1023818214614)), so that no base is special. His taste is $t = \beta w$: he prefers a over b with probability
$\sigma(\beta\, w \cdot \Delta)$. The population is $\theta \sim \mathcal{N}(m, S)$ with $\theta = u$ (one $\beta$ for all) or $\theta = (u, \log \beta)$.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives


@dataclass(frozen=True)
class Population:
    r"""What users of a population want, before any is known.

    Args:
        names (`tuple[str, ...]`): B bases.
        mean (`Tensor`): `[P]` float64, m.
        covariance (`Tensor`): `[P, P]` float64, S.
        log_temperature (`float`, *optional*): $\log \beta$ that all share, then P = B − 1; `None` = each user has his own, the last coordinate, then P = B.
        users (`int`, *optional*): how many users it was learned from. The mean is only known to $S / \text{users}$, which a new user's prior adds to S; `None` adds nothing.

    Raises:
        InputError: shapes don't fit, a number is not finite, or the covariance is none.
    """

    names: tuple[str, ...]
    mean: Tensor
    covariance: Tensor
    log_temperature: float | None = 0.0
    users: int | None = None

    def __post_init__(self) -> None:
        check_objectives(self.names)
        size = self.size
        if self.mean.shape != (size,) or self.covariance.shape != (size, size):
            raise InputError(
                f"a population over {', '.join(self.names)} needs a mean [{size}] and a covariance [{size}, {size}], "
                f"found {list(self.mean.shape)} and {list(self.covariance.shape)}"
            )
        if not (self.mean.isfinite().all() and self.covariance.isfinite().all()):
            raise InputError("the population's mean and covariance must be finite")
        if self.log_temperature is not None and not math.isfinite(self.log_temperature):
            raise InputError(f"log_temperature must be finite, found {self.log_temperature}")
        if self.users is not None and self.users < 1:
            raise InputError(f"a population is learned from at least one user, found {self.users}")
        if size and torch.linalg.cholesky_ex(self.covariance).info.item():
            raise InputError("the population's covariance must be symmetric and positive definite")

    @property
    def size(self) -> int:
        """P."""
        return len(self.names) - (self.log_temperature is not None)

    @property
    def spread(self) -> Tensor:
        """`[P, P]`: the covariance of a new user's coordinates, that of the mean's own error included."""
        return self.covariance if self.users is None else self.covariance * (1 + 1 / self.users)

    def weights(self, theta: Tensor) -> Tensor:
        """`[..., P]` coordinates to `[..., B]` weights on the simplex."""
        basis = contrasts(len(self.names))
        return torch.softmax(theta[..., : basis.shape[1]] @ basis.T, dim=-1)

    def temperature(self, theta: Tensor) -> Tensor:
        """`[..., P]` coordinates to `[..., 1]`: β."""
        if self.log_temperature is None:
            return theta[..., -1:].exp()
        return torch.full_like(theta[..., :1].sum(-1, keepdim=True), math.exp(self.log_temperature))

    def tastes(self, theta: Tensor) -> Tensor:
        """`[..., P]` coordinates to `[..., B]` tastes β w, nats per unit of each base."""
        return self.temperature(theta) * self.weights(theta)

    def jacobian(self, theta: Tensor) -> Tensor:
        """`[..., B, P]`: how tastes change with the coordinates."""
        basis, weights = contrasts(len(self.names)), self.weights(theta)
        slopes = weights[..., None] * (basis - (weights @ basis)[..., None, :])
        found = self.temperature(theta)[..., None] * slopes
        if self.log_temperature is None:
            found = torch.cat([found, self.tastes(theta)[..., None]], dim=-1)
        return found


@functools.lru_cache
def contrasts(count: int) -> Tensor:
    r"""`[B, B - 1]` float64: orthonormal columns of sum 0 (Helmert's): column k is $(1, \ldots, 1, -k, 0, \ldots) / \sqrt{k (k + 1)}$ with k ones."""
    found = torch.zeros(count, count - 1, dtype=torch.float64)
    for k in range(1, count):
        found[:k, k - 1] = 1 / math.sqrt(k * (k + 1))
        found[k, k - 1] = -k / math.sqrt(k * (k + 1))
    return found


def coordinates(weights: Tensor) -> Tensor:
    """`[..., B]` weights, all positive, to `[..., B - 1]`: the u whose softmax(H u) they are."""
    return weights.double().log() @ contrasts(weights.shape[-1])
