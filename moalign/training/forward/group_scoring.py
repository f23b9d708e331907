"""Log-probabilities of a rollout batch in TRL's layout, computed group by group with each prompt once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from moalign.policy import SteerablePolicy
from moalign.training.forward.shared_prompts import shared_log_probs


def group_log_probs(
    model: nn.Module,
    policy: SteerablePolicy,
    ids: Tensor,
    mask: Tensor,
    keep: int,
    weights: Tensor,
    *,
    temperature: float,
    entropies: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`[B, keep]` log-probabilities of the completions, and with `entropies` theirs; 0 where the mask is 0.

    Rows with the same prompt and the same weights are a group, wherever they stand.

    Args:
        model (`nn.Module`): what to call: the policy's model, perhaps wrapped for several processes.
        policy (`SteerablePolicy`): steers it.
        ids (`Tensor`): `[B, T]`, prompts padded on the left, then completions padded on the right.
        mask (`Tensor`): `[B, T]`, 0 at padding.
        keep (`int`): columns of the completions.
        weights (`Tensor`): `[B, K]`, or `[1, K]` for all.
        temperature (`float`): the logits are divided by it.
        entropies (`bool`, *optional*, defaults to `False`): also entropies.
    """
    tokens, present = ids.tolist(), mask.bool().tolist()
    rows = [[t for t, there in zip(*row, strict=True) if there] for row in zip(tokens, present, strict=True)]
    lengths = mask[:, -keep:].sum(1).tolist()
    asked = weights.expand(len(rows), -1).tolist()
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, (row, length, own) in enumerate(zip(rows, lengths, asked, strict=True)):
        groups.setdefault((tuple(row[: len(row) - length]), tuple(own)), []).append(i)
    found = shared_log_probs(
        model,
        policy,
        [prompt for prompt, _ in groups],
        [[rows[i][len(prompt) :] for i in members] for (prompt, _), members in groups.items()],
        weights[[members[0] for members in groups.values()]] if len(weights) > 1 else weights,
        temperature=temperature,
        entropies=entropies,
    )
    order = [i for members in groups.values() for i in members]
    back = torch.argsort(torch.tensor(order, device=ids.device))
    log_probs = found.padded(keep)[0][back]
    return log_probs, found.padded(keep, found.entropies)[0][back] if found.entropies is not None else None


@contextmanager
def without_adapters(policy: SteerablePolicy) -> Iterator[None]:
    """Inside, the policy's model is the reference whatever the weights, for the price of the base model alone.

    PEFT's own `disable_adapter` would also change which parameters train.
    """
    layers = list(policy.mixture.layers.values())
    before = [layer._disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = True
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer._disable_adapters = was
