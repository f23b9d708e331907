"""Find out on a few tokens what a model allows: several completions behind one prompt, and log-probabilities straight from its hidden states."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from moalign.policy import SteerablePolicy
from moalign.training.forward.completion_head import Scoring, fused_head, predictions
from moalign.training.forward.prompt_rows import Layout, PromptRow, lay_out
from moalign.training.forward.shared_attention import attending, spans
from moalign.training.runs.sharded import is_sharded

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
        spans (`bool`): also with the attention of `shared_attention`, which is cheaper than a dense mask.
    """

    fused: bool
    shared: bool
    spans: bool


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
    found = (fused_head(head), policy.base.dtype, policy.base.config._attn_implementation)
    plans = _PLANS.setdefault(policy.model, {})
    # Processes that each hold a part of the weights run every forward together, though only some may have long texts.
    for tried in dict.fromkeys((None, window) if processes() > 1 else (beyond,)):
        if (*found, tried) not in plans:
            was_training = policy.model.training
            policy.model.eval()
            try:
                plans[(*found, tried)] = _tried(policy, found[0], tried)
            finally:
                policy.model.train(was_training)
    return plans[(*found, beyond)]


def processes() -> int:
    """How many train together."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


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


def run_rows(
    model: Any, policy: SteerablePolicy, rows: Sequence[PromptRow], layout: Layout, longest: int, by_spans: bool
) -> Callable[[], Any]:
    """A forward of the model over laid out rows, to be called.

    Args:
        model: what to call, perhaps the policy's model in a wrapper.
        policy (`SteerablePolicy`): whose model it is.
        rows (`Sequence[PromptRow]`): what was laid out.
        layout (`Layout`): the tensors.
        longest (`int`): tokens of the longest prompt with its completion of the whole batch.
        by_spans (`bool`): attend by spans where rows share prompts, instead of by a dense mask.
    """
    if all(
        len(row.completions) == 1 for row in rows
    ):  # padding stands behind what is causal: no mask and no positions but the model's own
        return lambda: model(input_ids=layout.ids, use_cache=False)
    found = spans(rows, layout.ids.shape[1], policy.device) if by_spans else None
    mask = attention_mask(policy, layout, longest) if found is None else None

    def call() -> Any:
        with attending(policy.base.config.get_text_config(), found):
            return model(input_ids=layout.ids, attention_mask=mask, position_ids=layout.positions, use_cache=False)

    return call


def may_span(policy: SteerablePolicy) -> bool:
    """Whether every forward of the model runs while it is called: what is recomputed in the backward pass would attend by its own attention."""
    return not (getattr(policy.base, "is_activation_checkpointing", False) or is_sharded(policy.mixture.parameters()))


@torch.no_grad()
def _tried(policy: SteerablePolicy, may_fuse: bool, window: int | None) -> ForwardPlan:
    vocabulary = int(policy.base.config.get_text_config().vocab_size)
    start = 3 if window is None else window + 3
    ids = [(7 * i + 3) % vocabulary for i in range(start + 5)]
    prompt, completions = ids[:start], (ids[start : start + 2], ids[start + 2 :])
    alone = [PromptRow(0, prompt, [c], i) for i, c in enumerate(completions)]
    together = PromptRow(0, prompt, completions, 0)
    own = [_own(policy, row) for row in alone]
    expected = torch.cat([values for values, _, _ in own])
    full = policy.device.type == "cpu" and all(whole for _, _, whole in own)
    close = (_CLOSE if full else _CLOSE_HALF) * max(1.0, float(expected.abs().max()))

    def agrees(
        rows: list[PromptRow], fused: bool, what: str, also: Callable[[Tensor], bool], by_spans: bool = False
    ) -> bool:
        try:
            found = _scored(policy, rows, fused, by_spans=by_spans)
            off, well = float((found - expected).abs().max()), also(found)
        except Exception as error:
            logger.info("the model does not take %s (%s: %s)", what, type(error).__name__, error)
            return False
        if not (off <= close and well):
            logger.info("the model's log-probabilities change by %.2g nats with %s", off, what)
            return False
        return True

    # Rounding hides much of what a model does in half precision, so that agreement is not enough there: what it would change is looked for as well.
    fused = may_fuse and agrees(
        alone, True, "an output layer computed in chunks", lambda _: all(same for _, same, _ in own)
    )
    shared = policy.base.config._attn_implementation in _MASKED and agrees(
        [together],
        fused,
        "completions that share a prompt",
        lambda found: (
            full or (_separate(policy, together, fused) and _placed(policy, together, fused, found, expected))
        ),
    )
    if not shared:
        logger.warning(
            "completions of a prompt are computed one by one: this model (or its attention) does not let them share it exactly"
        )
    spanned = (
        shared
        and window is None
        and policy.base.config._attn_implementation == "sdpa"
        and agrees(
            [together], fused, "attention by spans", lambda _: full or _separate(policy, together, fused, True), True
        )
    )
    return ForwardPlan(fused, shared, spanned)


def _own(policy: SteerablePolicy, row: PromptRow) -> tuple[Tensor, bool, bool]:
    """Of one text, through the model's own logits; whether these are the output layer's very numbers, and whether those are in full precision."""
    (completion,) = row.completions
    ids = torch.tensor([[*row.prompt, *completion]], device=policy.device)
    head: Any = policy.base.get_output_embeddings()
    said: list[Tensor] = []
    hook = None if head is None else head.register_forward_hook(lambda _, __, output: said.append(output))
    try:
        with policy.steer_rows(_weights(policy)):
            whole = policy.model(input_ids=ids, use_cache=False).logits
    finally:
        if hook is not None:
            hook.remove()
    some = slice(-len(completion) - 1, -1)
    logits = whole[0, some].float()
    same = len(said) == 1 and said[0].shape == whole.shape and torch.equal(said[0][0, some].float(), logits)
    values = logits.log_softmax(-1).gather(-1, ids[0, -len(completion) :, None])[:, 0]
    return values, same, all(t.dtype.itemsize >= 4 for t in (whole, *said)) and policy.base.dtype.itemsize >= 4


def _separate(policy: SteerablePolicy, row: PromptRow, fused: bool, by_spans: bool = False) -> bool:
    """Whether the second completion is as likely whatever the first one says, or hardly less so beside what it would be if it saw the first."""
    (first, second), vocabulary = row.completions, int(policy.base.config.get_text_config().vocab_size)
    other = [(token + 1) % vocabulary for token in first]

    def change(rows: tuple[PromptRow, PromptRow]) -> float:
        one, two = (_scored(policy, [each], fused, by_spans=by_spans)[-len(second) :] for each in rows)
        return float((one - two).abs().max())

    apart = change((row, PromptRow(0, row.prompt, (other, second), 0)))
    seen = change(
        (PromptRow(0, [*row.prompt, *first], (second,), 0), PromptRow(0, [*row.prompt, *other], (second,), 0))
    )
    return apart <= 0.1 * seen


def _placed(policy: SteerablePolicy, row: PromptRow, fused: bool, found: Tensor, expected: Tensor) -> bool:
    """Whether positions are those that the model is told, or make no difference."""
    if float((found - expected).abs().max()) <= _CLOSE:
        return True
    return not torch.equal(_scored(policy, [row], fused, counted=True), found)


def _scored(
    policy: SteerablePolicy, rows: list[PromptRow], fused: bool, counted: bool = False, by_spans: bool = False
) -> Tensor:
    """Through the forward that is tried; `counted`: with positions as if completions followed each other."""
    layout = lay_out(rows, policy.pad_token_id, policy.device)
    if counted:
        layout = replace(
            layout, positions=torch.arange(layout.ids.shape[1], device=policy.device).expand_as(layout.ids)
        )
    call = run_rows(policy.model, policy, rows, layout, max(row.longest for row in rows), by_spans)
    head: Any = policy.base.get_output_embeddings()
    with policy.steer_rows(_weights(policy)):
        return predictions(call, head, layout.wanted, Scoring(), fused)[0]


def _weights(policy: SteerablePolicy) -> Tensor:
    return torch.full((1, len(policy.objectives)), 1 / len(policy.objectives))
