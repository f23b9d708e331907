"""The last linear layer of a K-output transformer: find it, read what goes into it, replace its weights."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from reward_heads import adapters
from reward_heads.model import TransformerReward
from reward_heads.text import Text


def head_of(reward: TransformerReward) -> tuple[str, nn.Linear]:
    """Name and module of the linear layer that gives the K outputs.

    Raises:
        InputError: the model has none outside its backbone.
    """
    return adapters.head_of(reward.model)


def head_inputs(reward: TransformerReward, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
    """`[N, d]` float32: the features that the last layer reads, pooled over tokens by the model itself."""
    rows = reward.encode(prompts, completions)
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    found: list[Tensor] = []
    with _without_head(reward), torch.no_grad():
        for start in range(0, len(order), reward.batch_size):
            batch = [rows[index] for index in order[start : start + reward.batch_size]]
            ids, mask = (tensor.to(reward.model.device) for tensor in reward.pad(batch))
            found.append(reward.model(input_ids=ids, attention_mask=mask).logits.float().cpu())
    features = torch.cat(found)
    return features[torch.tensor(order).argsort()]


def with_head(
    reward: TransformerReward, weight: Tensor, bias: Tensor | None, offset: Tensor, changed: Sequence[bool]
) -> TransformerReward:
    """A copy of the reward with another last layer.

    Args:
        reward (`TransformerReward`): left as it is.
        weight (`Tensor`): `[K, d]`.
        bias (`Tensor`, *optional*): `[K]`, only where the layer has one.
        offset (`Tensor`): `[K]`, what is subtracted from the outputs.
        changed (`Sequence[bool]`): K, which objectives mean something else now: a threshold that an ordinal or sign-aware head learned is no boundary any more.
    """
    found = copy.copy(reward)
    found.model = copy.deepcopy(reward.model)
    found.heads = tuple(
        replace(head, ratings=None, levels=(), thresholds=())
        if other and head.ratings in ("ordinal", "binary")
        else head
        for head, other in zip(reward.heads, changed, strict=True)
    )
    _, head = head_of(found)
    with torch.no_grad():
        head.weight.copy_(weight)
        if bias is not None:
            head.bias.copy_(bias)
    found.offset = offset.to(torch.float32)
    return found


@contextmanager
def _without_head(reward: TransformerReward) -> Iterator[None]:
    """Let the model's logits be what its last layer would read."""
    name, head = head_of(reward)
    parent_name, _, leaf = name.rpartition(".")
    parent = reward.model.get_submodule(parent_name)
    was_training = reward.model.training
    reward.model.eval()
    setattr(parent, leaf, nn.Identity())
    try:
        yield
    finally:
        setattr(parent, leaf, head)
        reward.model.train(was_training)
