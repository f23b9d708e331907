r"""Linear heads on frozen features: a reward $r_u(y) = \beta_u \cdot f(y)$ per group, found exactly and in seconds.

Head $u$ minimises $\sum_i \gamma_{h(i) u} \big[ \mathrm{softplus}(\beta_u \cdot x_i) - p_i\, \beta_u \cdot x_i \big] + \tfrac{\lambda}{2} \|\beta_u\|^2$ with
$x_i = f(a_i) - f(b_i)$, by Newton's method. Features are scaled so that $E\|x\|^2 = 1$ with every feature's part the same: at $\lambda = 1$ the prior
expects score differences of about one nat, whatever the number and the units of the features.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frontier.errors import InputError
from reward_heads.users.em import Mixture, run_em
from reward_heads.users.observations import UserPairs


class LinearScorer:
    """U linear heads over N pairs with frozen features; a [`PairScorer`].

    Args:
        differences (`Tensor`): `[N, d]`, features of a minus features of b.
        labels (`Tensor`): `[N]`.
        groups (`int`): U.
        ridge (`float`, *optional*, defaults to 1): λ.

    Raises:
        InputError: a feature is not finite, or shapes differ.
    """

    def __init__(self, differences: Tensor, labels: Tensor, groups: int, ridge: float = 1.0) -> None:
        x = differences.detach().to("cpu", torch.float64)
        if x.dim() != 2 or len(x) != len(labels):
            raise InputError(f"features must be [{len(labels)}, d] for as many labels, found {list(x.shape)}")
        if not x.isfinite().all():
            raise InputError("a feature is not finite")
        size = x.square().mean(dim=0).sqrt() * x.shape[1] ** 0.5
        self.unit = size.where(size > 0, torch.ones_like(size))  # a feature that never differs stays 0
        self.x = x / self.unit
        self.labels = labels.double()
        self.ridge = ridge
        self.beta = torch.zeros(groups, x.shape[1], dtype=torch.float64)

    @property
    def weights(self) -> Tensor:
        """`[U, d]`: the heads in the units of the features that were given."""
        return self.beta / self.unit

    def differences(self, rows: Tensor) -> Tensor:
        """See [`PairScorer.differences`]."""
        return self.x[rows] @ self.beta.T

    def fit(self, rows: Tensor, weights: Tensor) -> None:
        """See [`PairScorer.fit`]; converges."""
        x, labels = self.x[rows], self.labels[rows]
        self.beta = torch.stack([self._newton(x, labels, w, b) for w, b in zip(weights.T, self.beta, strict=True)])

    def penalty(self) -> float:
        """See [`PairScorer.penalty`]."""
        return 0.5 * self.ridge * float(self.beta.square().sum())

    def _loss(self, x: Tensor, labels: Tensor, weights: Tensor, beta: Tensor) -> Tensor:
        d = x @ beta
        return (weights * (F.softplus(d) - labels * d)).sum() + 0.5 * self.ridge * beta.square().sum()

    def _newton(self, x: Tensor, labels: Tensor, weights: Tensor, beta: Tensor) -> Tensor:
        loss = self._loss(x, labels, weights, beta)
        for _ in range(50):
            chance = torch.sigmoid(x @ beta)
            slope = x.T @ (weights * (chance - labels)) + self.ridge * beta
            curvature = (x * (weights * chance * (1 - chance))[:, None]).T @ x
            curvature.diagonal().add_(self.ridge)
            step = torch.linalg.solve(curvature, slope)
            promised = float(slope @ step)  # twice what a quadratic loss would fall by
            if promised < 1e-10 * len(labels):
                break
            size = 1.0
            while self._loss(x, labels, weights, beta - size * step) > loss and size > 1e-6:
                size /= 2  # Newton may leap too far where labels are certain
            beta = beta - size * step
            loss = self._loss(x, labels, weights, beta)
        return beta


def fit_linear(
    differences: Tensor,
    pairs: UserPairs,
    rows: Tensor,
    groups: int,
    *,
    assignment: str = "soft",
    restarts: int = 5,
    ridge: float = 1.0,
    seed: int = 0,
) -> tuple[LinearScorer, Mixture]:
    """The best of several EM runs with linear heads, by the penalised objective on `rows`.

    The first run starts from users clustered by what a single head gets wrong about them, the others from random responsibilities.

    Args:
        differences (`Tensor`): `[N, d]`, features of a minus features of b.
        pairs (`UserPairs`): N pairs.
        rows (`Tensor`): positions of those to learn from.
        groups (`int`): U.
        assignment (`str`, *optional*, defaults to `"soft"`): `"soft"` or `"hard"`.
        restarts (`int`, *optional*, defaults to 5): runs; with one group there is nothing to restart.
        ridge (`float`, *optional*, defaults to 1): λ.
        seed (`int`, *optional*, defaults to 0): of the starts.

    Raises:
        InputError: there are more groups than users with pairs to learn from; or a feature is not finite.
    """
    with_pairs = len(pairs.user_of[rows].unique())
    if groups > with_pairs:
        raise InputError(
            f"{groups} groups of {with_pairs} users with labelled pairs: there can't be more groups than users"
        )
    starts = [_residual_start(differences, pairs, rows, groups, ridge, seed)]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(restarts - 1 if groups > 1 else 0):
        drawn = torch.rand(len(pairs.users), groups, generator=generator, dtype=torch.float64).square()
        starts.append(drawn / drawn.sum(dim=1, keepdim=True))
    best: tuple[LinearScorer, Mixture] | None = None
    for start in starts:
        scorer = LinearScorer(differences, pairs.labels, groups, ridge)
        mixture = run_em(scorer, pairs, rows, start, assignment=assignment)
        if best is None or mixture.trace[-1] > best[1].trace[-1]:
            best = scorer, mixture
    assert best is not None
    return best


def _residual_start(
    differences: Tensor, pairs: UserPairs, rows: Tensor, groups: int, ridge: float, seed: int
) -> Tensor:
    """Users clustered by the direction in which their pairs would move a single head: the mean of (p − σ(Δ)) x over a user's pairs."""
    users = len(pairs.users)
    if groups == 1:
        return torch.ones(users, 1, dtype=torch.float64)
    from sklearn.cluster import KMeans

    single = LinearScorer(differences, pairs.labels, 1, ridge)
    single.fit(rows, torch.ones(len(rows), 1, dtype=torch.float64))
    residual = pairs.labels[rows] - torch.sigmoid(single.differences(rows).squeeze(1))
    pulls = torch.zeros(users, single.x.shape[1], dtype=torch.float64)
    pulls.index_add_(0, pairs.user_of[rows], residual[:, None] * single.x[rows])
    counts = torch.bincount(pairs.user_of[rows], minlength=users)
    seen = counts > 0
    labels = KMeans(groups, n_init=10, random_state=seed).fit_predict((pulls[seen] / counts[seen, None]).numpy())
    start = torch.full((users, groups), 1 / groups, dtype=torch.float64)
    # Not quite certain of any cluster, so that a user on the wrong side is free to leave.
    certain = F.one_hot(torch.from_numpy(np.asarray(labels, dtype=np.int64)), groups).double()
    start[seen] = 0.9 * certain + 0.1 / groups
    return start
