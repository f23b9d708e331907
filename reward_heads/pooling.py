r"""Read the mean of a text's tokens instead of one token, in any architecture, without touching its code.

A sequence classifier of `transformers` reads one token: a decoder's last, an encoder's first. With mean pooling, the trunk's last hidden states are replaced by their mean over the
tokens that aren't padding, at *every* position, $h_i \leftarrow \sum_j m_j h_j / \sum_j m_j$: whichever token the head reads, it reads the mean. An encoder's pooler (BERT) is given the mean too.
Only inside the classifier's own forward pass: its trunk alone (`model.base_model`) gives the hidden states that it always gave.

Saved, such a model can't be read by `AutoModelForSequenceClassification` as if nothing were different: it would pool another token and give other numbers without a word. So the weights
outside the trunk get another name in the file (`mean_pooled_head.*`), transformers reports them as unexpected and the head as newly initialised, and
[`TransformerReward.from_pretrained`] gives them their names back.
"""

import threading
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frontier.errors import InputError, unknown_name

POOLINGS = ("model", "mean")
SAVED_PREFIX = "mean_pooled_head."
KEY_MAPPING = {rf"^{SAVED_PREFIX}": ""}
"""For `from_pretrained(..., key_mapping=KEY_MAPPING)`."""


class _Inside(threading.local):
    """The trunk whose mean-pooling classifier is in its forward pass, in this thread: a server may score in several at once."""

    trunk: Any = None


_inside = _Inside()


def pooling_of(model: PreTrainedModel) -> str:
    """`"mean"` or `"model"` (what the architecture does)."""
    return vars(model).get("_reward_pooling", "model")


def set_pooling(model: PreTrainedModel, pooling: str) -> None:
    """Choose what the heads read; the model is changed in place.

    Args:
        model (`PreTrainedModel`): a sequence classifier.
        pooling (`str`): `"model"` or `"mean"`.

    Raises:
        InputError: there is no such pooling.
    """
    if pooling not in POOLINGS:
        raise unknown_name("pooling", str(pooling), POOLINGS)
    if pooling == pooling_of(model):
        return
    hooked = "_reward_pooling" in vars(model)
    # A plain attribute, and hooks that look at it: a copy of the model pools as the model does.
    model._reward_pooling = pooling  # type: ignore[assignment]
    if hooked:
        return
    model.register_forward_pre_hook(_enter, with_kwargs=True)
    model.register_forward_hook(_leave, always_call=True)
    model.base_model.register_forward_hook(_average, with_kwargs=True)
    model.register_state_dict_post_hook(_rename)
    model.register_load_state_dict_pre_hook(_rename_back)


def masked_mean(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """`[B, L, H]` hidden states and `[B, L]` mask (1 = a token, `None` = all are) to `[B, H]`, in float32 sums whatever the dtype."""
    if mask is None:
        return hidden.float().mean(dim=1).to(hidden.dtype)
    weights = mask.to(torch.float32)
    total = (hidden.float() * weights[..., None]).sum(dim=1)
    return (total / weights.sum(dim=1, keepdim=True).clamp(min=1)).to(hidden.dtype)


def _enter(model: Any, args: Any, kwargs: Any) -> None:
    _inside.trunk = model.base_model if pooling_of(model) == "mean" else None


def _leave(model: Any, args: Any, output: Any) -> None:
    _inside.trunk = None


def _average(trunk: Any, args: Any, kwargs: Any, output: Any) -> Any:
    if _inside.trunk is not trunk:
        return None
    mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    hidden = getattr(output, "last_hidden_state", None)
    if hidden is None or hidden.dim() != 3:
        raise InputError(f"{type(trunk).__name__} has no last_hidden_state [batch, tokens, width] to average")
    mean = masked_mean(hidden, mask)
    output["last_hidden_state"] = mean[:, None].expand_as(hidden)
    if output.get("pooler_output") is not None:
        # ALBERT's pooler is a bare layer, which its trunk applies to the first token; all others choose that token themselves.
        bare = isinstance(trunk.pooler, nn.Linear)
        output["pooler_output"] = torch.tanh(trunk.pooler(mean)) if bare else trunk.pooler(mean[:, None])
    return output


def _rename(model: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    if pooling_of(model) != "mean":
        return
    trunk = f"{prefix}{model.base_model_prefix}."
    for name in [name for name in state if name.startswith(prefix) and not name.startswith(trunk)]:
        state[f"{prefix}{SAVED_PREFIX}{name.removeprefix(prefix)}"] = state.pop(name)


def _rename_back(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [name for name in state if name.startswith(prefix + SAVED_PREFIX)]:
        state[prefix + name.removeprefix(prefix + SAVED_PREFIX)] = state.pop(name)
