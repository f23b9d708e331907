"""Attention for rows in which completions share a prompt, without the products that a dense mask throws away."""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from moalign.training.forward.prompt_rows import PromptRow

NAME = "moalign_shared_prompts"


@dataclass(frozen=True)
class Spans:
    """Which tokens of R rows of T tokens attend to which, as two ordinary attentions.

    A prompt and its first completion stand one behind the other, so that they are causal by themselves. Each of the E other completions asks its prompt and itself.

    Args:
        first (`int`): tokens of the longest prompt with its first completion.
        asking (`Tensor`): `[E, L]`, places of the other completions' tokens in the flat `[R * T]`; padded with any place.
        asked (`Tensor`): `[E, S]`, places of each one's prompt and itself, padded likewise.
        seen (`Tensor`): `[E, 1, L, S]`, true where a token sees another.
        kept (`Tensor`): `[M]`, which of the flat `[E * L]` are tokens.
        places (`Tensor`): `[M]`, where in the flat `[R * T]` they stand.
    """

    first: int
    asking: Tensor
    asked: Tensor
    seen: Tensor
    kept: Tensor
    places: Tensor


def spans(rows: Sequence[PromptRow], length: int, device: torch.device) -> Spans | None:
    """Of rows that `lay_out` padded to `length` tokens; `None` where that saves nothing."""
    others = [
        (i * length, len(row.prompt), len(row.prompt) + sum(map(len, row.completions[:j])), len(row.completions[j]))
        for i, row in enumerate(rows)
        for j in range(1, len(row.completions))
        if len(row.completions[j])
    ]
    first = max(len(row.prompt) + len(row.completions[0]) for row in rows)
    if not others or not first:
        return None
    origin, prompt, start, count = torch.tensor(others).T.unsqueeze(-1)
    own = torch.arange(int(count.max()))
    all_of = torch.arange(int((prompt + count).max()))
    there = own < count
    asking = origin + torch.where(there, start + own, 0)
    asked = origin + torch.where(
        all_of < prompt, all_of, torch.where(all_of < prompt + count, start + all_of - prompt, 0)
    )
    seen = all_of[None, None, :] <= (prompt + own)[:, :, None]
    kept = there.flatten().nonzero()[:, 0]
    return Spans(
        first,
        asking.to(device),
        asked.to(device),
        seen.unsqueeze(1).to(device),
        kept.to(device),
        asking.flatten()[kept].to(device),
    )


_present: ContextVar[Spans | None] = ContextVar("shared_prompts", default=None)


@contextlib.contextmanager
def attending(config: Any, found: Spans | None) -> Iterator[None]:
    """Inside, a model with this (text) configuration attends by spans; with `None` by its own attention."""
    if found is None:
        yield
        return
    before, token = config._attn_implementation, _present.set(found)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _present.reset(token)


def shared_prompt_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention by `scaled_dot_product_attention`, twice: `[R, heads, T, d]` to `[R, T, heads, d]`.

    Raises:
        RuntimeError: outside [`attending`].
    """
    found = _present.get()
    if found is None:
        raise RuntimeError(f"the attention '{NAME}' is used by moalign's own forwards only")

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return sdpa_attention_forward(module, q, k, v, mask, dropout=dropout, scaling=scaling, is_causal=mask is None)[
            0
        ]

    rows, _, length, _ = query.shape
    first = slice(0, found.first)
    early = attend(query[:, :, first], key[:, :, first], value[:, :, first], None)
    late = attend(_picked(query, found.asking), _picked(key, found.asked), _picked(value, found.asked), found.seen)
    heads, width = late.shape[2:]
    whole = functional.pad(early, (0, 0, 0, 0, 0, length - found.first)).reshape(rows * length, heads * width)
    tokens = late.reshape(-1, heads * width).index_select(0, found.kept)
    return whole.index_copy(0, found.places, tokens).view(rows, length, heads, width), None


def _picked(each: Tensor, places: Tensor) -> Tensor:
    """`[E, heads, L, d]`: of `[R, heads, T, d]` the tokens at `[E, L]` places."""
    rows, heads, length, width = each.shape
    flat = each.transpose(1, 2).reshape(rows * length, heads * width)
    return flat.index_select(0, places.flatten()).view(*places.shape, heads, width).transpose(1, 2)


ALL_ATTENTION_FUNCTIONS.register(NAME, shared_prompt_attention)
