"""How far the logits of an approximated mixture are from those of the exact one, on prompts that someone cares about."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft.tuners.lora import Embedding as LoraEmbedding
from torch import Tensor, nn
from torch.nn import functional

from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture


@dataclass(frozen=True)
class LogitError:
    r"""Distances over all positions of all prompts.

    Args:
        kl_mean (`float`): mean of KL(exact ‖ approximate) of the next token, in nats.
        kl_max (`float`): its maximum over positions.
        relative_error (`float`): $\lVert z - z' \rVert / \lVert z \rVert$ over all logits z.
        share_of_change (`float`): $\lVert z - z' \rVert / \lVert z - z_0 \rVert$, z_0 being the base's logits: 1 is as wrong as no adapter at all; 0 where
            the exact mixture changes nothing.
        prompts (`int`): how many.
        positions (`int`): how many tokens they have together.
    """

    kl_mean: float
    kl_max: float
    relative_error: float
    share_of_change: float
    prompts: int
    positions: int


@torch.no_grad()
def measure_logit_error(
    mixture: AdapterMixture,
    weights: Sequence[float],
    factors: Mapping[str, tuple[Tensor, Tensor]],
    prompts: Sequence[Sequence[int]],
    whole: Collection[str] = (),
) -> LogitError:
    """Compare the exact mixture at these weights with the base plus other factors.

    Each prompt is run alone, three times (base, exact, approximate), so that no padding takes part.

    Args:
        mixture (`AdapterMixture`): the exact one; its model is used as it is and left as it was.
        weights (`Sequence[float]`): K weights.
        factors (`Mapping[str, tuple[Tensor, Tensor]]`): by layer path: B `[d_out, r]`, holding all scalings, and A `[r, d_in]`.
        prompts (`Sequence[Sequence[int]]`): token ids, as `tokenizer(texts)["input_ids"]` gives them.
        whole (`Collection[str]`, *optional*): tensors that the mixture replaces as a whole, which cannot be compared this way.

    Raises:
        InputError: there are no prompts or one is empty, or the mixture replaces tensors.
    """
    for name in whole:
        raise InputError(
            f"logits cannot be compared: '{name}' is replaced as a whole (modules_to_save), not by factors"
        )
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise InputError("logits are compared on at least one prompt, and none of them may be empty")
    device = next(mixture.model.parameters()).device
    nothing = torch.zeros(len(mixture.names), device=device)
    exact_weights = torch.tensor(list(weights), dtype=torch.float32, device=device)
    kls: list[Tensor] = []
    squares = torch.zeros(3, dtype=torch.float64)
    with _in_evaluation(mixture.model):
        for prompt in prompts:
            ids = torch.tensor([list(prompt)], device=device)
            with mixture.steer(nothing):
                base = mixture.model(ids).logits[0].float()
                with _added(mixture, factors):
                    approximate = mixture.model(ids).logits[0].float()
            with mixture.steer(exact_weights):
                exact = mixture.model(ids).logits[0].float()
            log_p, log_q = functional.log_softmax(exact, -1), functional.log_softmax(approximate, -1)
            # Rounding can push the sum of near-zero terms below zero; a KL cannot be.
            kls.append((log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0).double().cpu())
            parts = (exact - approximate, exact, exact - base)
            squares += torch.stack([part.double().square().sum() for part in parts]).cpu()
    kl = torch.cat(kls)
    off, whole, change = squares.sqrt().tolist()
    return LogitError(
        kl_mean=float(kl.mean()),
        kl_max=float(kl.max()),
        relative_error=off / whole if whole else 0.0,
        share_of_change=off / change if change else 0.0,
        prompts=len(prompts),
        positions=len(kl),
    )


@contextmanager
def _added(mixture: AdapterMixture, factors: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Hooks and not another adapter: adding one to the model would change what its layers believe to hold.

    Some models (Gemma) multiply what an embedding gives; as in PEFT the change is multiplied as well.
    """

    def hook(up: Tensor, down: Tensor) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        def add(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            a, b = down.to(output.device), up.to(output.device)
            looks_up = not args[0].is_floating_point()
            thin = functional.embedding(args[0], a.T) if looks_up else functional.linear(args[0].to(a.dtype), a)
            change = functional.linear(thin, b)
            scale = module._get_embed_scale() if isinstance(module, LoraEmbedding) else None
            return (output + (change if scale is None else change * scale.to(change.dtype))).to(output.dtype)

        return add

    model = cast("nn.Module", mixture.model.base_model.model)
    handles = [model.get_submodule(path).register_forward_hook(hook(*pair)) for path, pair in factors.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    """No dropout inside; every module's own mode comes back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
