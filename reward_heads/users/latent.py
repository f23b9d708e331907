"""What each user wants as a Gaussian over a few tastes, from any number of labelled pairs: variational preference learning.

>>> import torch
>>> from reward_heads.users.latent import LatentConfig, fit_latent_users
>>> draw = torch.Generator().manual_seed(0)
>>> a, b = torch.randn(2, 1200, 3, generator=draw)  # three known scores of each completion
>>> users = [f"user{i % 40}" for i in range(1200)]
>>> tastes = torch.tensor([2.0, 0.0, 0.0]) + torch.randn(40, 3, generator=draw) * torch.tensor([0.0, 2.0, 0.0])
>>> wants = (tastes[torch.arange(1200) % 40] * (a - b)).sum(1)  # all want the first score, of the second some want more, some less
>>> model = fit_latent_users(a, b, (wants > 0).float(), users, LatentConfig(dims=2, steps=100))
>>> model.names, model.active_units()
(('shared', 'taste1', 'taste2'), 1)
>>> model.population().mean.tolist()  # a new user
[1.0, 0.0, 0.0]
>>> pair = model.components(a[:1] - b[:1])  # after one answer
>>> model.posterior_of(pair, torch.tensor([1.0])).interval(0.9).shape
torch.Size([3, 2])
"""

from reward_heads.users.latent_config import LatentConfig
from reward_heads.users.latent_fit import fit_latent_texts, fit_latent_users
from reward_heads.users.latent_model import LatentFit, LatentUsers, SwapTest
from reward_heads.users.latent_network import PairEncoder, evidence_bound, infer

__all__ = [
    "LatentConfig",
    "LatentFit",
    "LatentUsers",
    "PairEncoder",
    "SwapTest",
    "evidence_bound",
    "fit_latent_texts",
    "fit_latent_users",
    "infer",
]
