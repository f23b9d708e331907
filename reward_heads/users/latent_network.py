r"""From one user's labelled pairs to a Gaussian over what the user wants: the set encoder of the variational latent, a product of experts.

A user is a vector $z \sim \mathcal N(m, S)$ of weights on D components of the reward; with $t_i \in \mathbb R^D$ the components of a minus those of b, pair i has
likelihood $\sigma(z^\top t_i)$. It says something about $z$ along $t_i$ alone, so its Gaussian stand-in (its *site*) has two numbers, a precision $c_i > 0$ and a pull $h_i$:

$$ q(z) = \mathcal N(\mu, \Sigma), \qquad \Sigma^{-1} = S^{-1} + \sum_i c_i\, t_i t_i^\top, \qquad \mu = \Sigma \Big( S^{-1} m + \sum_i h_i t_i \Big) $$

Without pairs q is the prior, exactly; every pair adds precision; the order of pairs can't matter. The pair encoder, a small network, reads only
$\sqrt{t_i^\top S t_i}$ and $(2p_i - 1)\, t_i^\top m$ and writes $c_i$ and $h_i / (2p_i - 1)$; so swapping a and b together with the label changes nothing at all, and flipping
every label maps $(m, \mu)$ to $(-m, -\mu)$ exactly. It starts from the bound of [Jaakkola & Jordan, 2000](https://doi.org/10.1023/A:1008932416310), at the prior.

What a pair says depends on what the others say; a network that reads pairs one by one can't know. `refine` therefore takes natural-gradient steps on the
evidence bound from there ([Khan & Lin, 2017](https://huggingface.co/papers/1703.04265)), whose fixed point is the best Gaussian there is:
$c_i = E_q[\sigma'(\eta_i)]$, $h_i = E_q[p_i - \sigma(\eta_i)] + c_i\, E_q[\eta_i]$ with $\eta_i = z^\top t_i$. The same steps run in training and in use.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reward_heads.users.latent_expectations import chance_and_slope, expected_log_likelihood

DAMPING = 0.75
"""How far one step of `refine` goes; nearer 1, a few very sure pairs swing to and fro."""


class Gaussians(NamedTuple):
    """U Gaussians in D dimensions.

    Args:
        mean (`Tensor`): `[U, D]`.
        precision (`Tensor`): `[U, D, D]`.
    """

    mean: Tensor
    precision: Tensor

    def covariance(self) -> Tensor:
        """`[U, D, D]`."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.precision))

    def margins(self, differences: Tensor, user_of: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance, `[N]` each, of zᵀt of N pairs `[N, D]` under their users' Gaussians."""
        mean = (self.mean[user_of] * differences).sum(dim=1)
        spread = torch.einsum("nd,nde,ne->n", differences, self.covariance()[user_of], differences)
        return mean, spread


class Prior(NamedTuple):
    """What is known of a user without pairs: independent components.

    Args:
        mean (`Tensor`): `[D]`, m.
        variance (`Tensor`): `[D]`, the diagonal of S.
    """

    mean: Tensor
    variance: Tensor


class PairEncoder(nn.Module):
    """The two numbers of each pair's site.

    Args:
        hidden (`int`): units of the one hidden layer.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(2, hidden, dtype=torch.float64)
        self.outer = nn.Linear(hidden, 2, dtype=torch.float64)
        nn.init.zeros_(self.outer.weight)  # the classical bound to begin with
        nn.init.zeros_(self.outer.bias)

    def forward(self, differences: Tensor, labels: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
        """`[N, D]` differences and `[N]` labels to precisions and pulls, `[N]` each."""
        sign = 2 * labels - 1
        expected = (differences * prior.mean).sum(dim=1)
        spread = (differences.square() * prior.variance).sum(dim=1)
        size = (expected.square() + spread + 1e-12).sqrt()
        # Both inputs stay the same when a and b change places, and when labels and prior mean change sign.
        seen = torch.stack([(spread + 1e-12).sqrt(), sign * expected], dim=1)
        change = self.outer(torch.tanh(self.inner(seen)))
        precision = torch.tanh(size / 2) / (2 * size) * change[:, 0].exp()
        return precision, sign / 2 * change[:, 1].exp()


def infer(
    encoder: PairEncoder, differences: Tensor, labels: Tensor, user_of: Tensor, users: int, prior: Prior, refine: int
) -> Gaussians:
    """The posteriors of U users from all pairs at once.

    Args:
        encoder (`PairEncoder`): makes the sites.
        differences (`Tensor`): `[N, D]`, components of a minus components of b.
        labels (`Tensor`): `[N]`, the probability that a is better.
        user_of (`Tensor`): `[N]`, 0 to U - 1.
        users (`int`): U; who has no pairs gets the prior.
        prior (`Prior`): before any pair.
        refine (`int`): natural-gradient steps after the encoder; 0 = the encoder's word is final.
    """
    precision, pull = encoder(differences, labels, prior)
    found = pool(differences, precision, pull, user_of, users, prior)
    for _ in range(refine):
        mean, spread = found.margins(differences, user_of)
        chance, slope = chance_and_slope(mean, spread)
        precision = (1 - DAMPING) * precision + DAMPING * slope
        pull = (1 - DAMPING) * pull + DAMPING * (labels - chance + slope * mean)
        found = pool(differences, precision, pull, user_of, users, prior)
    return found


def pool(differences: Tensor, precision: Tensor, pull: Tensor, user_of: Tensor, users: int, prior: Prior) -> Gaussians:
    """The product of prior and sites of each of U users; arguments as of [`infer`]."""
    outer = torch.einsum("n,nd,ne->nde", precision, differences, differences)
    base = torch.diag(1 / prior.variance)
    total = base.expand(users, -1, -1).index_add(0, user_of, outer)
    shift = (prior.mean / prior.variance).expand(users, -1).index_add(0, user_of, pull[:, None] * differences)
    mean = torch.cholesky_solve(shift[..., None], torch.linalg.cholesky(total)).squeeze(-1)
    # Who has no pairs has the prior to the last bit, not what solving for it gives back.
    empty = torch.bincount(user_of, minlength=users) == 0
    return Gaussians(torch.where(empty[:, None], prior.mean, mean), total)


def divergence(q: Gaussians, p: Gaussians) -> Tensor:
    r"""`[U]`: $KL(q \| p)$ in nats,
    $\tfrac12 [\mathrm{tr}(P_p \Sigma_q) + (\mu_p - \mu_q)^\top P_p (\mu_p - \mu_q) - D + \log |P_q| - \log |P_p|]$ with precisions P.
    """
    gap = q.mean - p.mean
    trace = (p.precision * q.covariance()).sum(dim=(1, 2))
    distance = torch.einsum("ud,ude,ue->u", gap, p.precision, gap)
    logs = torch.logdet(q.precision) - torch.logdet(p.precision)
    return 0.5 * (trace + distance - q.mean.shape[1] + logs)


def evidence_bound(
    encoder: PairEncoder,
    differences: Tensor,
    labels: Tensor,
    user_of: Tensor,
    context: Tensor,
    users: int,
    prior: Prior,
    refine: int,
) -> tuple[Tensor, Tensor]:
    r"""How well each user's pairs outside the context are explained, given those inside, in nats: a bound on $\log p(\text{query} \mid \text{context})$.

    $$ \sum_{i \in Q} E_{q(z \mid C \cup Q)} [\log \sigma_i] - \mathrm{KL}\big( q(z \mid C \cup Q) \,\|\, q(z \mid C) \big) $$

    With an empty context it is the evidence bound (ELBO) of all pairs, since $q(z \mid \emptyset)$ is the prior; otherwise the bound of neural processes
    ([Garnelo et al., 2018](https://huggingface.co/papers/1807.01622), eq. 8), which teaches the encoder to be as unsure as few pairs leave it.

    Args:
        encoder (`PairEncoder`): makes the sites.
        differences (`Tensor`): `[N, D]`.
        labels (`Tensor`): `[N]`.
        user_of (`Tensor`): `[N]`.
        context (`Tensor`): `[N]` bool, C.
        users (`int`): U.
        prior (`Prior`): before any pair.
        refine (`int`): see [`infer`].

    Returns:
        expected log-likelihood and divergence, `[U]` each.
    """
    known = context.nonzero().squeeze(1)
    before = infer(encoder, differences[known], labels[known], user_of[known], users, prior, refine)
    after = infer(encoder, differences, labels, user_of, users, prior, refine)
    each = expected_log_likelihood(*after.margins(differences, user_of), labels) * ~context
    fit = torch.zeros(users, dtype=each.dtype).index_add(0, user_of, each)
    return fit, divergence(after, before)
