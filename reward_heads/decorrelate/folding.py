"""Put a decorrelation from another objective into a model's last layer, so that any program that reads the folder gets the corrected numbers."""

import torch

from frontier.errors import InputError
from reward_heads.decorrelate.decorrelation import Decorrelation
from reward_heads.decorrelate.head import head_of, with_head
from reward_heads.model import TransformerReward
from reward_heads.transforms import TransformedReward

# Float32 sums in another order differ by this share; a layer after the head would change far more.
_TOLERANCE = 1e-3


def fold(reward: TransformedReward) -> TransformerReward:
    r"""A transformer whose outputs are decorrelated already; where it pools as its architecture does, its folder is an ordinary `AutoModelForSequenceClassification`.

    With scores $r = W h + b - o$ and the transform $r' = T^\top r$ of a [`Decorrelation`] from an objective, the new last layer is $T^\top W$, $T^\top b$ and the new offset
    $T^\top o$. A correction by length is a function of the text and can't be folded; [`erase_length`] takes length out of the head's weights instead.

    Args:
        reward (`TransformedReward`): a [`TransformerReward`] and decorrelations from objectives; left as it is.

    Raises:
        InputError: another reward or transform, a decorrelation from length, or a model whose outputs aren't those of its last linear layer.
    """
    inner = reward.reward
    if not isinstance(inner, TransformerReward):
        raise InputError(
            f"only a transformer has a last layer to fold a decorrelation into, found {type(inner).__name__}"
        )
    _, head = head_of(inner)
    device = head.weight.device
    weight, offset = head.weight.double(), inner.offset.double()
    bias = None if head.bias is None else head.bias.double()
    changed = [False] * len(inner.objectives)
    for transform in reward.transforms:
        if not isinstance(transform, Decorrelation):
            raise InputError(f"only a decorrelation can be folded into the last layer, found a {transform.kind}")
        turned = transform.matrix.T
        changed = [was or term != 0.0 for was, term in zip(changed, transform.terms, strict=True)]
        weight, offset = turned.to(device) @ weight, turned @ offset
        bias = None if bias is None else turned.to(device) @ bias
    found = with_head(inner, weight, bias, offset, changed)
    _check(reward, found)
    return found


def _check(reward: TransformedReward, folded: TransformerReward) -> None:
    """Refuse a model in which something comes after the last linear layer."""
    text = (["1 a"], ["b 2."])
    expected, found = reward.score(*text), folded.score(*text)
    coarse = 0.05 if folded.model.dtype in (torch.bfloat16, torch.float16) else _TOLERANCE
    if not torch.allclose(expected, found, rtol=coarse, atol=coarse * float(1 + expected.abs().max())):
        raise InputError(
            f"the outputs of {type(folded.model).__name__} are not those of its last linear layer: folded scores {found.tolist()}, expected {expected.tolist()}"
        )
