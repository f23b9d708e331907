"""Make a causal language model compute its output layer for completion tokens alone, whatever wraps the model."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moalign.training.forward.token_log_probs import token_log_probs


@dataclass(frozen=True)
class Wanted:
    """Which predictions a forward is asked for.

    Args:
        count (`int`): rows of the forward.
        rows (`Tensor`): `[N]`, the row of each predicted token, ascending.
        places (`Tensor`): `[N]`, the column of the token that predicts it.
        targets (`Tensor`): `[N]`, the predicted token ids.
    """

    count: int
    rows: Tensor
    places: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Scoring:
    """How to turn predictions into numbers; see [`token_log_probs`]."""

    temperature: float = 1.0
    entropies: bool = False


def fused_head(head: Any) -> bool:
    """Whether an output layer is a plain frozen linear one, whose log-probabilities `token_log_probs` computes."""
    return type(head) is nn.Linear and not any(p.requires_grad for p in head.parameters())


def predictions(
    call: Callable[[], Any], head: nn.Module | None, wanted: Wanted, scoring: Scoring, fused: bool
) -> tuple[Tensor, Tensor | None]:
    """Run a model and give `[N]` log-probabilities (with their graph) and perhaps `[N]` entropies.

    The output layer is asked inside the model's own forward, so that what wraps the model (gradients shared by processes, sharded weights, autocast) sees
    nothing unusual: where `fused`, it gives log-probabilities instead of logits; else it gives the logits of the positions that predict a completion's
    token, and what the model does to logits afterwards is kept.

    Args:
        call (`Callable`): runs the model and returns its output.
        head (`nn.Module`, *optional*): its output layer, as `get_output_embeddings()` has it.
        wanted (`Wanted`): the predictions.
        scoring (`Scoring`): how.
        fused (`bool`): the model's logits are those of `head` and nothing else.

    Raises:
        RuntimeError: `fused`, and the model did not call its output layer.
    """
    if fused and head is not None:
        return _fused(call, head, wanted, scoring)
    places, columns = _by_row(wanted)
    used: list[bool] = []

    def own(original: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
        used.append(True)
        # Row by row, for adapters on the output layer have weights of their own in each row.
        return original(hidden.take_along_dim(places.unsqueeze(-1), dim=1))

    with _instead(head, own):
        logits: Tensor = call().logits
    if not used:  # the model has no such layer, or does not call it
        logits = logits.take_along_dim(places.unsqueeze(-1), dim=1)
    picked = logits[wanted.rows, columns]
    log_probs = (picked.to(torch.promote_types(picked.dtype, torch.float32)) / scoring.temperature).log_softmax(-1)
    entropies = -(log_probs.exp() * log_probs).sum(-1).detach() if scoring.entropies else None
    return log_probs.gather(-1, wanted.targets.unsqueeze(-1)).squeeze(-1), entropies


def _fused(call: Callable[[], Any], head: nn.Module, wanted: Wanted, scoring: Scoring) -> tuple[Tensor, Tensor | None]:
    entropies: list[Tensor | None] = []

    def scored(original: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
        layer: Any = head
        values, found = token_log_probs(
            hidden[wanted.rows, wanted.places],
            layer.weight,
            wanted.targets,
            layer.bias,
            temperature=scoring.temperature,
            entropies=scoring.entropies,
        )
        entropies.append(found)
        return values

    with _instead(head, scored):
        values: Tensor = call().logits
    if len(entropies) != 1:
        raise RuntimeError(f"the model called its output layer {len(entropies)} times, not once")
    return values, entropies[0]


def _by_row(wanted: Wanted) -> tuple[Tensor, Tensor]:
    """The places row by row, `[R, L]`, and each prediction's column among them, `[N]`."""
    counts = torch.bincount(wanted.rows, minlength=wanted.count)
    starts = counts.cumsum(0) - counts
    columns = torch.arange(len(wanted.rows), device=wanted.rows.device) - starts[wanted.rows]
    places = wanted.places.new_zeros(wanted.count, max(1, int(counts.max())))
    places[wanted.rows, columns] = wanted.places
    return places, columns


@contextlib.contextmanager
def _instead(module: nn.Module | None, other: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> Iterator[None]:
    """Inside, a module runs `other(its own forward, input)`; hooks on it still run."""
    if module is None:
        yield
        return
    own = vars(module).get("forward")
    original = module.forward
    module.forward = lambda hidden: other(original, hidden)
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
