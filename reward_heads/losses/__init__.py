r"""What a wrong reward costs: one file per loss, for pairs, ratings and flags, nothing where a label is missing.

Pairs, by the difference $\Delta = s_a - s_b$ and the label p = probability that a is better:

| `pair_loss` | ties are | paper |
|---|---|---|
| `bradley_terry` | half a win for each side | Bradley & Terry, 1952 |
| `rao_kupper` | differences below a threshold θ | Rao & Kupper, 1967 |
| `davidson` | an outcome of their own, with propensity ν | Davidson, 1970 |

A margin per row asks the winner for a lead ([Llama 2](https://huggingface.co/papers/2307.09288)), and `label_noise` makes any of them robust to labels that are flipped at
a known rate. Ratings: `squared`, `huber`, `ordinal` (ordered levels), `binary` (flags; the boundary is at 0, see `reward_heads.cost`).

    >>> import torch
    >>> from reward_heads.losses import element_losses, label_counts, mean_loss
    >>> targets = torch.tensor([[1.0, float("nan")]])
    >>> losses = element_losses(torch.tensor([[0.0, 3.0]]), targets, torch.tensor([True]))
    >>> mean_loss(losses, label_counts(targets), torch.ones(2))
    tensor(0.6931)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.losses.elements import element_losses
    from reward_heads.losses.head_losses import HeadLosses
    from reward_heads.losses.label_noise import robust
    from reward_heads.losses.means import label_counts, mean_loss
    from reward_heads.losses.ordinal import level_probabilities
    from reward_heads.losses.outcomes import Outcomes, expected_cost

_HOME = {
    "HeadLosses": "head_losses",
    "Outcomes": "outcomes",
    "element_losses": "elements",
    "expected_cost": "outcomes",
    "label_counts": "means",
    "level_probabilities": "ordinal",
    "mean_loss": "means",
    "robust": "label_noise",
}

__all__ = [
    "HeadLosses",
    "Outcomes",
    "element_losses",
    "expected_cost",
    "label_counts",
    "level_probabilities",
    "mean_loss",
    "robust",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.losses' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.losses.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
