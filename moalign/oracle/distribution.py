"""The exact distribution of a model over every completion of an oracle world, by reading its next-token probabilities everywhere they matter."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frontier.errors import InputError

Logits = Callable[[Tensor], Tensor]
"""`[B, T]` token ids to `[B, T, V]` logits or log-probabilities of each next token."""


def completion_log_probs(
    logits: Logits,
    prompt_ids: Sequence[Sequence[int]],
    steps: Tensor,
    *,
    end: int | None = None,
    batch_size: int = 2048,
    device: torch.device | str = "cpu",
) -> Tensor:
    r"""Log-probability of every completion of every prompt, `[P, V^L]` float64: $\log \pi(y|x) = \sum_t \log \pi(y_t | x, y_{<t})$.

    Completions that share a beginning share its probabilities, so only the V^(L-1) beginnings are run through the model, not the V^L completions. Nothing
    is renormalised: what the model gives to other tokens is missing from the sum. Gradients flow unless the caller turns them off.

    Args:
        logits (`Logits`): the model.
        prompt_ids (`Sequence[Sequence[int]]`): P prompts.
        steps (`Tensor`): `[L, V]`, the token ids of the choices at each step.
        end (`int`, *optional*): also multiply by the probability that this token follows the last choice (V times as slow).
        batch_size (`int`, *optional*, defaults to 2048): sequences at once.
        device (*optional*, defaults to the CPU): where the model is.
    """
    length, vocabulary = steps.shape
    depth = length if end is not None else length - 1
    beginnings = torch.cartesian_prod(*steps[:depth]).reshape(-1, depth) if depth else torch.zeros(1, 0).long()
    rows = []
    for ids in prompt_ids:
        prompt = torch.as_tensor(list(ids), dtype=torch.long)
        parts = []
        for chunk in beginnings.split(batch_size):
            batch = torch.cat([prompt.expand(len(chunk), -1), chunk], 1).to(device)
            answer = logits(batch)[:, len(prompt) - 1 :].double().log_softmax(-1).cpu()
            # At step t the V choices that may come next, whatever the beginning.
            next_choices = [answer[:, t, steps[t]] for t in range(min(depth + 1, length))]
            if end is not None:
                next_choices.append(answer[:, length, end].unsqueeze(1).expand(-1, vocabulary))
            parts.append(torch.stack(next_choices, 1))
        conditional = torch.cat(parts)  # [beginnings, depth + 1, V]
        total = torch.zeros(1, dtype=torch.float64)
        for t in range(length):
            # All beginnings that agree in their first t choices agree here: take the first of each block.
            total = (total.unsqueeze(1) + conditional[:: vocabulary ** (depth - t), t]).reshape(-1)
        rows.append(total if end is None else total + conditional[:, length, 0])
    return torch.stack(rows)


@contextlib.contextmanager
def reading(policy: Any, preference: Any) -> Iterator[tuple[Logits, torch.device]]:
    """The logits of any policy: a `SteerablePolicy` under a preference, a model, or a function of token ids.

    Raises:
        InputError: the policy is none of these, or a preference is given for one that takes none.
    """
    if hasattr(policy, "steer") and hasattr(policy, "mixture"):

        def steered(ids: Tensor) -> Tensor:
            with policy.steer(preference, rows=len(ids)) as model:
                return model(input_ids=ids, use_cache=False).logits

        with _evaluating(policy.model):
            yield steered, policy.device
        return
    if preference is not None:
        raise InputError(f"a preference needs a SteerablePolicy, found {type(policy).__name__}")
    if isinstance(policy, nn.Module):
        with _evaluating(policy):
            yield (
                lambda ids: policy(input_ids=ids, use_cache=False).logits,
                next(policy.parameters()).device,
            )
    elif callable(policy):
        yield policy, torch.device("cpu")
    else:
        raise InputError(
            f"cannot read a distribution off {type(policy).__name__}: give a SteerablePolicy, a model, or a function from token ids to logits"
        )


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off inside, as it was before afterwards: the trainer that is being watched goes on undisturbed."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
