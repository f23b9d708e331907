"""Log-probabilities where TRL's own would be wrong: an adapter on the output layer, which its fused path passes over, and positions after padding."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frontier.realize.adapters import SteerableLinear, SteerableModule
from moalign.conditioning.adapter_mixture import quiet_about_tied_layers
from moalign.policy import SteerablePolicy


def has_adapter_on_output_layer(policy: SteerablePolicy) -> bool:
    """Whether the layer that makes the logits carries an adapter."""
    return isinstance(policy.base.get_output_embeddings(), (SteerableLinear, SteerableModule))


@contextlib.contextmanager
def hidden_adapter_on_output_layer(policy: SteerablePolicy) -> Iterator[None]:
    """Let TRL build a trainer for such a policy: it refuses, rightly, what its fused path cannot train, and is not asked to take that path."""
    base: Any = policy.base
    head = base.get_output_embeddings()
    if not has_adapter_on_output_layer(policy):
        yield
        return
    base.get_output_embeddings = lambda: head.original_module if isinstance(head, SteerableModule) else head.base_layer
    try:
        with quiet_about_tied_layers():
            yield
    finally:
        del base.get_output_embeddings


@contextlib.contextmanager
def adapters_saved_alone(policy: SteerablePolicy) -> Iterator[None]:
    """Let PEFT save nothing but adapters.

    Left to itself it adds the base's embeddings where the output layer carries an adapter, and asks the hub for the base's configuration otherwise.
    """
    model: Any = policy.model
    model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    try:
        yield
    finally:
        del model.save_pretrained


def token_positions(mask: Tensor) -> Tensor:
    """`[B, T]`: the place of each token in its own text, whatever padding stands before it; models that learn one vector for each place need it.

    Args:
        mask (`Tensor`): `[B, T]`, 0 at padding.
    """
    return (mask.cumsum(-1) - 1).clamp(min=0)


@contextlib.contextmanager
def positions_from_mask(policy: SteerablePolicy) -> Iterator[None]:
    """Inside, each forward of the policy that is given a mask and no positions is given the mask's: TRL leaves them out, and GPT-2 would count padding.

    Args:
        policy (`SteerablePolicy`): its model is left as it was.
    """

    def add(module: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if given.get("position_ids") is None and given.get("attention_mask") is not None:
            given["position_ids"] = token_positions(given["attention_mask"])
        return args, given

    hook = policy.model.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def full_log_probs(model: nn.Module, ids: Tensor, mask: Tensor, keep: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies of the last `keep` tokens, `[B, keep]` each, through the model's own logits.

    Args:
        model (`nn.Module`): a causal language model.
        ids (`Tensor`): `[B, T]`.
        mask (`Tensor`): `[B, T]`, 0 at padding.
        keep (`int`): how many tokens at the end.
        temperature (`float`): the logits are divided by it.
    """
    positions = token_positions(mask)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep + 1, use_cache=False
    ).logits[:, -keep - 1 : -1]
    log_probs = (logits.float() / temperature).log_softmax(-1)
    entropies = -(log_probs.exp() * log_probs).sum(-1)
    return torch.gather(log_probs, -1, ids[:, -keep:].unsqueeze(-1)).squeeze(-1), entropies.detach()
