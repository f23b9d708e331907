"""Find out on a few tokens what a model allows: several completions behind one prompt, and log-probabilities straight from its hidden states."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from moalign.policy import SteerablePolicy
from moalign.training.completion_head import Scoring, fused_head, predictions
from moalign.training.prompt_rows import Layout, PromptRow, lay_out

logger = logging.getLogger(__name__)
# Those that take any mask as a tensor.
_MASKED = ("sdpa", "eager")
_CLOSE, _CLOSE_HALF = 1e-4, 0.05


@dataclass(frozen=True)
class ForwardPlan:
    """What was found of a model.

    Args:
        fused (`bool`): its logits are those of a frozen linear layer and nothing else.
        shared (`bool`): completions behind one prompt get the log-probabilities that they have alone.
    """

    fused: bool
    shared: bool


_PLANS: WeakKeyDictionary[nn.Module, dict[Any, ForwardPlan]] = WeakKeyDictionary()


def forward_plan(policy: SteerablePolicy, longest: int) -> ForwardPlan:
    """What the policy's model allows for texts of at most `longest` tokens, found by comparison with its own logits and remembered.

    Args:
        policy (`SteerablePolicy`): its model is called without gradients and left as it was.
        longest (`int`): tokens of a prompt and its completion. Beyond the model's sliding window the masks are others, so they are tried as well.
    """
    window = attention_window(policy)
    beyond = window if window is not None and longest > window else None
    head: Any = policy.base.get_output_embeddings()
    key = (fused_head(head), beyond, policy.base.dtype, policy.base.config._attn_implementation)
    plans = _PLANS.setdefault(policy.model, {})
    if key not in plans:
        was_training = policy.model.training
        policy.model.eval()
        try:
            plans[key] = _tried(policy, key[0], beyond)
        finally:
            policy.model.train(was_training)
    return plans[key]


def attention_window(policy: SteerablePolicy) -> int | None:
    """How many tokens some layer of the model sees at most, by its configuration; `None` where all see everything before them."""
    config: Any = policy.base.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds == {"full_attention"}:
        return None
    sizes = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((size for size in sizes if isinstance(size, int) and size > 0), default=None)


def attention_mask(policy: SteerablePolicy, layout: Layout, longest: int) -> Any:
    """The mask of rows that share prompts, in the form that the model's attention takes: one for all layers, or one for each kind of layer."""
    config: Any = policy.base.config.get_text_config()

    def formed(seen: Tensor) -> Tensor:
        if config._attn_implementation == "sdpa":  # takes bools, whatever type autocast makes of the rest
            return seen
        dtype = policy.base.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)

    window = attention_window(policy)
    if window is None or longest <= window:
        return formed(layout.mask())
    kinds = set(getattr(config, "layer_types", None) or ())
    if len(kinds) > 1:
        return {kind: formed(layout.mask(window if kind == "sliding_attention" else None)) for kind in kinds}
    return formed(layout.mask(window))


def run_rows(model: Any, policy: SteerablePolicy, layout: Layout, longest: int, shares: bool) -> Callable[[], Any]:
    """A forward of the model over rows, to be called."""
    if not shares:  # padding stands behind what is causal: no mask and no positions but the model's own
        return lambda: model(input_ids=layout.ids, use_cache=False)
    mask = attention_mask(policy, layout, longest)
    return lambda: model(input_ids=layout.ids, attention_mask=mask, position_ids=layout.positions, use_cache=False)


@torch.no_grad()
def _tried(policy: SteerablePolicy, may_fuse: bool, window: int | None) -> ForwardPlan:
    vocabulary = int(policy.base.config.get_text_config().vocab_size)
    start = 3 if window is None else window + 3
    ids = [(7 * i + 3) % vocabulary for i in range(start + 5)]
    prompt, completions = ids[:start], (ids[start : start + 2], ids[start + 2 :])
    alone = [PromptRow(0, prompt, [c], i) for i, c in enumerate(completions)]
    together = [PromptRow(0, prompt, completions, 0)]
    expected = torch.cat([_own(policy, row) for row in alone])
    close = _CLOSE if policy.base.dtype == torch.float32 else _CLOSE_HALF

    def agrees(rows: list[PromptRow], fused: bool, what: str) -> bool:
        try:
            found = _scored(policy, rows, fused)
        except Exception as error:
            logger.info("the model does not take %s (%s: %s)", what, type(error).__name__, error)
            return False
        off = float((found - expected).abs().max())
        if not off <= close * max(1.0, float(expected.abs().max())):
            logger.info("the model's log-probabilities change by %.2g nats with %s", off, what)
            return False
        return True

    fused = may_fuse and agrees(alone, True, "an output layer computed in chunks")
    shared = policy.base.config._attn_implementation in _MASKED and agrees(
        together, fused, "completions that share a prompt"
    )
    if not shared:
        logger.warning(
            "completions of a prompt are computed one by one: this model (or its attention) does not let them share it exactly"
        )
    return ForwardPlan(fused, shared)


def _own(policy: SteerablePolicy, row: PromptRow) -> Tensor:
    """Of one text, through the model's own logits."""
    (completion,) = row.completions
    ids = torch.tensor([[*row.prompt, *completion]], device=policy.device)
    with policy.steer_rows(_weights(policy)):
        logits = policy.model(input_ids=ids, use_cache=False).logits[0, -len(completion) - 1 : -1]
    return logits.float().log_softmax(-1).gather(-1, ids[0, -len(completion) :, None])[:, 0]


def _scored(policy: SteerablePolicy, rows: list[PromptRow], fused: bool) -> Tensor:
    layout = lay_out(rows, policy.pad_token_id, policy.device)
    shares, longest = len(rows[0].completions) > 1, max(row.longest for row in rows)
    call = run_rows(policy.model, policy, layout, longest, shares)
    head: Any = policy.base.get_output_embeddings()
    with policy.steer_rows(_weights(policy)):
        return predictions(call, head, layout.wanted, Scoring(), fused)[0]


def _weights(policy: SteerablePolicy) -> Tensor:
    return torch.full((1, len(policy.objectives)), 1 / len(policy.objectives))
