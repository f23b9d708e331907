"""Rewards without fine-tuning: one linear head per objective on the frozen embeddings of any encoder or decoder.

    from reward_heads.probes import Embedder, ProbeReward, fit_probe
    embedder = Embedder.from_pretrained("path/to/encoder", cache="embeddings")  # each text is computed once, ever
    reward = fit_probe(embedder, rows)  # pairs and ratings, any label missing
    scores, std = reward.score_with_uncertainty(prompts, completions)
    reward.save_pretrained("probe")
    reward = ProbeReward.from_pretrained("probe")

The same heads fit features of any kind:

    >>> import torch
    >>> from reward_heads.probes import fit_heads
    >>> a, b = torch.randn(2, 400, 5, generator=torch.Generator().manual_seed(0))
    >>> brief = torch.sigmoid(2 * (b - a)[:, :1])  # the probability that a is better, two nats per unit of the first feature
    >>> fitted = fit_heads(a, b, brief, ["brief"])
    >>> scores = fitted.heads(torch.eye(5))
    >>> print(round((scores[0] - scores[1]).item(), 1))
    -2.0
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.probes.config import ProbeConfig
    from reward_heads.probes.disk_cache import EmbeddingCache
    from reward_heads.probes.embedder import Embedder, TextEmbedder
    from reward_heads.probes.fit import FittedHeads, fit_heads, fit_probe
    from reward_heads.probes.heads import Head, LinearHeads
    from reward_heads.probes.probe import ProbeReward
    from reward_heads.probes.report import HeadFit

_HOME = {
    "Embedder": "embedder",
    "EmbeddingCache": "disk_cache",
    "FittedHeads": "fit",
    "Head": "heads",
    "HeadFit": "report",
    "LinearHeads": "heads",
    "ProbeConfig": "config",
    "ProbeReward": "probe",
    "TextEmbedder": "embedder",
    "fit_heads": "fit",
    "fit_probe": "fit",
}

__all__ = [
    "Embedder",
    "EmbeddingCache",
    "FittedHeads",
    "Head",
    "HeadFit",
    "LinearHeads",
    "ProbeConfig",
    "ProbeReward",
    "TextEmbedder",
    "fit_heads",
    "fit_probe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.probes' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.probes.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
