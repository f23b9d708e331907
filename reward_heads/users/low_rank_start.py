r"""A first guess of the bases that users mix: several starts, each fitted as one problem in bases and weights, the best kept.

Start 1 clusters rough tastes of single users; the others take the tastes of users drawn at random, made of what varies most. From each, V and all weights together minimise

$$ \sum_i \big[ \mathrm{softplus}(m_i) - p_i m_i \big] + \tfrac{dB}{2} \log \big( dB + \sum_b \|v_b - v_0\|^2 \big) + \tfrac18 \sum_h \|u_h\|^2, \qquad m_i = x_i^\top V w_{h(i)} $$

with $v_0$ the pooled taste: a pull of 1 where tastes differ by a nat, and weaker where they differ by more. Many pairs of V and weights give the same tastes: any simplex around them does. The pull to $v_0$ settles on the smallest one.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reward_heads.users.low_rank_em import minimise
from reward_heads.users.simplex import contrasts

ROUGH_STEPS, JOINT_STEPS = (
    30,
    150,
)  # quasi-Newton steps for single users' rough tastes, and for bases and weights together
SPREAD = 2.0  # of the users' coordinates: with less the simplex becomes large and users crowd in its middle, with more they sit in its corners
STRETCH = 1.5  # the corners of a simplex lie outside of the clusters in it


class Start(NamedTuple):
    """A first guess.

    Args:
        bases (`Tensor`): `[d, B]`, V.
        coordinates (`Tensor`): `[H, B - 1]`, of the users' weights.
        loss (`float`): what was minimised, nats.
    """

    bases: Tensor
    coordinates: Tensor
    loss: float


def first_guess(
    x: Tensor,
    labels: Tensor,
    owner: Tensor,
    users: int,
    rank: int,
    pooled: Tensor,
    restarts: int,
    seed: int,
) -> Start:
    """The best of several starts.

    Args:
        x (`Tensor`): `[N, d]` float64, differences of features, of a length of about 1.
        labels (`Tensor`): `[N]`.
        owner (`Tensor`): `[N]`, users from 0 to H - 1.
        users (`int`): H.
        rank (`int`): B, at least 2.
        pooled (`Tensor`): `[d]`, one taste for all.
        restarts (`int`): starts.
        seed (`int`): of all of them.
    """
    tastes = _rough_tastes(x, labels, owner, users, pooled)
    centre = tastes.mean(dim=0)
    _, _, directions = torch.linalg.svd(tastes - centre, full_matrices=False)
    # Noise of the other directions would make every user a corner of his own.
    flat = (tastes - centre) @ directions[: rank - 1].T
    generator = torch.Generator().manual_seed(seed)
    best: Start | None = None
    for number in range(restarts):
        drawn = torch.randperm(users, generator=generator)[:rank]
        corners = _cluster(flat, rank, seed) if number == 0 else flat[drawn]
        corners = F.pad(corners, (0, 0, 0, rank - len(corners)))  # fewer clusters than bases
        bases = centre[:, None] + STRETCH * directions[: rank - 1].T @ corners.T
        nudge = 0.01 * torch.randn(bases.shape, generator=generator, dtype=torch.float64)
        found = _joint(x, labels, owner, users, bases + nudge, pooled)
        if best is None or found.loss < best.loss:
            best = found
    assert best is not None
    return best


def _rough_tastes(x: Tensor, labels: Tensor, owner: Tensor, users: int, pooled: Tensor) -> Tensor:
    """`[H, d]`: every user's own linear taste, pulled to the pooled one."""

    def loss(tastes: Tensor) -> tuple[Tensor, Tensor]:
        margins = (x * tastes[owner]).sum(dim=1)
        away = tastes - pooled
        slope = away.clone()
        slope.index_add_(0, owner, (torch.sigmoid(margins) - labels)[:, None] * x)
        return (F.softplus(margins) - labels * margins).sum() + 0.5 * away.square().sum(), slope

    return minimise(loss, pooled.expand(users, -1), ROUGH_STEPS)


def _cluster(flat: Tensor, rank: int, seed: int) -> Tensor:
    from sklearn.cluster import KMeans

    points = flat.numpy()
    clusters = min(rank, len(np.unique(points, axis=0)))
    return torch.from_numpy(np.asarray(KMeans(clusters, n_init=10, random_state=seed).fit(points).cluster_centers_))


def _joint(x: Tensor, labels: Tensor, owner: Tensor, users: int, bases: Tensor, pooled: Tensor) -> Start:
    (d, rank), basis = bases.shape, contrasts(bases.shape[1])

    def split(flat: Tensor) -> tuple[Tensor, Tensor]:
        return flat[: d * rank].reshape(d, rank), flat[d * rank :].reshape(users, rank - 1)

    def loss(flat: Tensor) -> tuple[Tensor, Tensor]:
        """Penalised negative log-likelihood of all pairs, and its gradient."""
        v, u = split(flat)
        weights = torch.softmax(u @ basis.T, dim=1)
        scores = x @ v
        margins = (scores * weights[owner]).sum(dim=1)
        away = v - pooled[:, None]
        spread = bases.numel() + away.square().sum()
        value = (F.softplus(margins) - labels * margins).sum() + 0.5 * bases.numel() * spread.log()
        pull = torch.sigmoid(margins) - labels
        slope_v = x.T @ (pull[:, None] * weights[owner]) + bases.numel() / spread * away
        slope_w = torch.zeros_like(weights).index_add_(0, owner, pull[:, None] * scores)
        slope_u = (weights * (slope_w - (weights * slope_w).sum(dim=1, keepdim=True))) @ basis + u / SPREAD**2
        return value + 0.5 * u.square().sum() / SPREAD**2, torch.cat([slope_v.flatten(), slope_u.flatten()])

    start = torch.cat([bases.flatten(), torch.zeros(users * (rank - 1), dtype=torch.float64)])
    found = minimise(loss, start, JOINT_STEPS)
    return Start(*split(found), float(loss(found)[0]))
