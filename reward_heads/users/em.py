r"""Sort users into groups by what they prefer while learning what each group prefers: expectation-maximisation over users.

User $h$ belongs to group $u$ with prior probability $\pi_u$; then each of his pairs has label $p_i$ with the Bradley-Terry likelihood of the group's reward,
with $\Delta_{iu} = r_u(a_i) - r_u(b_i)$:

$$ L_{hu} = \sum_{i \in h} \big[ p_i \log \sigma(\Delta_{iu}) + (1 - p_i) \log \sigma(-\Delta_{iu}) \big] $$

**E step.** Soft: responsibilities $\gamma_{hu} \propto \pi_u e^{L_{hu}}$. Hard, as in [MaxMin-RLHF](https://huggingface.co/papers/2402.08925):
$\gamma_{hu} = 1$ for $u = \arg\max_u L_{hu}$, without a prior.
**M step.** $\pi_u$ is the mean of $\gamma_{hu}$ over users, and reward $u$ minimises the Bradley-Terry loss with each pair weighted by its user's
$\gamma_{hu}$. Exact M steps never lower $\sum_h \log \sum_u \pi_u e^{L_{hu}} -$ penalty (hard: $\sum_h \max_u L_{hu} -$ penalty), `Mixture.trace`.
"""

import logging
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from reward_heads.users.observations import UserPairs

logger = logging.getLogger(__name__)


class PairScorer(Protocol):
    """U rewards that can be fitted to weighted pairs: linear heads on features, a transformer, anything."""

    def differences(self, rows: Tensor) -> Tensor:
        """`[n, U]` float64, score of a minus score of b, of the pairs at these positions."""

    def fit(self, rows: Tensor, weights: Tensor) -> None:
        """Better fit head u to the pairs at `rows`, weighted by `weights` `[n, U]`; goes on from where it stands, and need not converge."""

    def penalty(self) -> float:
        """What fitting holds against the present heads besides the pairs, in nats; 0 if nothing."""


@dataclass(frozen=True)
class Mixture:
    """What EM has found.

    Args:
        shares (`Tensor`): `[U]` float64, π; exactly 0 for a group that was dropped.
        responsibilities (`Tensor`): `[users, U]` float64, γ; rows sum to 1. Of a user without pairs they are the shares.
        trace (`tuple[float, ...]`): the objective after each round, in nats.
    """

    shares: Tensor
    responsibilities: Tensor
    trace: tuple[float, ...]


def pair_log_likelihood(differences: Tensor, labels: Tensor) -> Tensor:
    """`[n, U]` differences and `[n]` labels to `[n, U]` log-likelihoods in nats: p log σ(Δ) + (1 − p) log σ(−Δ) = pΔ − softplus(Δ)."""
    return labels[:, None] * differences - F.softplus(differences)


def user_log_likelihood(differences: Tensor, pairs: UserPairs, rows: Tensor) -> Tensor:
    """`[users, U]`: L, summed over each user's pairs among `rows`; 0 for users without any."""
    each = pair_log_likelihood(differences, pairs.labels[rows])
    total = torch.zeros(len(pairs.users), each.shape[1], dtype=each.dtype)
    return total.index_add_(0, pairs.user_of[rows], each)


def posterior(log_likelihood: Tensor, shares: Tensor, seen: Tensor, assignment: str) -> Tensor:
    """The E step.

    Args:
        log_likelihood (`Tensor`): `[users, U]`, L.
        shares (`Tensor`): `[U]`, π; a group of share 0 gets nobody.
        seen (`Tensor`): `[users]` bool, who has any pair; the others get the shares.
        assignment (`str`): `"soft"` or `"hard"`.

    Returns:
        `Tensor`: `[users, U]`, γ.
    """
    if assignment == "soft":
        found = (log_likelihood + shares.log()).softmax(dim=1)
    else:
        likeliest = log_likelihood.masked_fill(shares == 0, -torch.inf).argmax(dim=1)
        found = F.one_hot(likeliest, len(shares)).to(log_likelihood.dtype)
    return torch.where(seen[:, None], found, shares)


def run_em(
    scorer: PairScorer,
    pairs: UserPairs,
    rows: Tensor,
    responsibilities: Tensor,
    *,
    assignment: str = "soft",
    rounds: int = 100,
    tolerance: float | None = 1e-5,
) -> Mixture:
    """Alternate M and E steps, beginning with an M step on given responsibilities.

    A group that less than half a user is left for (in sum of responsibilities) is dropped: its share becomes 0, its users go to the others, and the
    log says so. It could only ever fit single pairs.

    Args:
        scorer (`PairScorer`): the U rewards; fitted in place.
        pairs (`UserPairs`): the data.
        rows (`Tensor`): positions of the pairs to learn from.
        responsibilities (`Tensor`): `[users, U]`, where to begin.
        assignment (`str`, *optional*, defaults to `"soft"`): `"soft"` or `"hard"`.
        rounds (`int`, *optional*, defaults to 100): at most so many.
        tolerance (`float`, *optional*, defaults to 1e-5): stop when a round gains less than this many nats per pair; `None` = never.
    """
    seen = torch.zeros(len(pairs.users), dtype=torch.bool).index_fill_(0, pairs.user_of[rows], True)
    gamma, alive = responsibilities.double(), torch.ones(responsibilities.shape[1], dtype=torch.bool)
    trace: list[float] = []
    gamma, alive = _drop(gamma, seen, alive)
    dropped = False
    for _ in range(rounds):
        shares = gamma[seen].mean(dim=0)
        scorer.fit(rows, gamma[pairs.user_of[rows]])
        total = user_log_likelihood(scorer.differences(rows), pairs, rows)
        before, had_dropped = int(alive.sum()), dropped
        gamma, alive = _drop(posterior(total, shares, seen, assignment), seen, alive)
        dropped = int(alive.sum()) < before
        if assignment == "soft":
            fitted = (total + shares.log()).logsumexp(dim=1)[seen].sum()
        else:
            fitted = total.masked_fill(shares == 0, -torch.inf).amax(dim=1)[seen].sum()
        trace.append(float(fitted) - scorer.penalty())
        # Losing a group may cost likelihood, after which the others have to settle anew.
        settled = tolerance is not None and len(trace) > 1 and trace[-1] - trace[-2] < tolerance * len(rows)
        if settled and not dropped and not had_dropped:
            break
    shares = gamma[seen].mean(dim=0)
    return Mixture(shares, torch.where(seen[:, None], gamma, shares), tuple(trace))


def _drop(gamma: Tensor, seen: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Take the users of groups that have become empty, least first, and give them to the others."""
    while True:
        mass = gamma[seen].sum(dim=0).masked_fill(~alive, torch.inf)
        emptiest = int(mass.argmin())
        if mass[emptiest] >= 0.5 or int(alive.sum()) == 1:
            return gamma, alive
        logger.info("a group has no users left and is dropped: %d remain", int(alive.sum()) - 1)
        alive = alive.clone()
        alive[emptiest] = False
        gamma = gamma * alive
        lost = gamma.sum(dim=1, keepdim=True)
        gamma = torch.where(lost > 0, gamma / lost, alive.double() / alive.sum())


def predictive_log_likelihood(differences: Tensor, labels: Tensor, responsibilities: Tensor) -> Tensor:
    r"""How well pairs are predicted by someone who knows each user only by his responsibilities: with $P_i = \sum_u \gamma_{hu}\, \sigma(\Delta_{iu})$,
    $p_i \log P_i + (1 - p_i) \log(1 - P_i)$.

    Args:
        differences (`Tensor`): `[n, U]`.
        labels (`Tensor`): `[n]`.
        responsibilities (`Tensor`): `[n, U]`, of each pair's user.

    Returns:
        `Tensor`: `[n]`, nats.
    """
    known = responsibilities.log()
    better = (known + F.logsigmoid(differences)).logsumexp(dim=1)
    worse = (known + F.logsigmoid(-differences)).logsumexp(dim=1)
    return labels * better + (1 - labels) * worse
