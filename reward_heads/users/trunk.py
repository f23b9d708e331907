"""What the search needs of a transformer: features of its trunk, fewer heads in another order, and which weights are trained."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frontier.errors import InputError
from reward_heads.adapters import head_of, merge_lora, set_trainable
from reward_heads.head import Head
from reward_heads.model import TransformerReward

__all__ = [
    "MOST_FEATURES",
    "head_of",
    "merge_lora",
    "new_reward",
    "pooled_features",
    "reduced",
    "set_trainable",
    "take_heads",
]

# More features than this are reduced to as many principal components: Newton's method solves systems of this size.
MOST_FEATURES = 256


def pooled_features(reward: TransformerReward, rows: Sequence[list[int]]) -> Tensor:
    """`[N, 2H]` float32: the last hidden state of the last token, and the mean over all tokens, of N texts as token ids.

    Raises:
        InputError: the model's trunk has no `last_hidden_state`.
    """
    model = reward.model
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    parts: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(order), reward.batch_size):
            ids, mask = (
                t.to(model.device)
                for t in reward.pad([rows[index] for index in order[start : start + reward.batch_size]])
            )
            output = model.base_model(input_ids=ids, attention_mask=mask)
            hidden = getattr(output, "last_hidden_state", None)
            if hidden is None:
                raise InputError(f"{type(model).__name__} has no last_hidden_state to take features from")
            hidden, counts = hidden.float(), mask.sum(dim=1)
            last = hidden[torch.arange(len(hidden), device=hidden.device), counts - 1]
            mean = (hidden * mask[..., None]).sum(dim=1) / counts[:, None]
            parts.append(torch.cat([last, mean], dim=1).cpu())
    found = torch.cat(parts)
    return torch.empty_like(found).index_copy_(0, torch.tensor(order), found)


def reduced(differences: Tensor, seed: int) -> Tensor:
    """`[N, d]` features with d at most 256: principal components (about 0, since only differences count) where there are more."""
    most = min(MOST_FEATURES, len(differences))
    if differences.shape[1] <= most:
        return differences
    size = differences.square().mean(dim=0).sqrt()
    scaled = differences / size.where(size > 0, torch.ones_like(size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, _, directions = torch.svd_lowrank(scaled, q=most, niter=4)
    return scaled @ directions


def take_heads(reward: TransformerReward, order: Sequence[int], names: Sequence[str]) -> TransformerReward:
    """The same model with only these of its heads, in this order, under these names; the given one is used up.

    Raises:
        InputError: the model has no linear output layer to take them from.
    """
    model = reward.model
    _, head = head_of(model)
    with torch.no_grad():
        head.weight = nn.Parameter(head.weight[list(order)].clone())
        if head.bias is not None:
            head.bias = nn.Parameter(head.bias[list(order)].clone())
    head.out_features = len(order)
    model.config.id2label = dict(enumerate(names))  # num_labels follows
    model.config.label2id = {name: index for index, name in enumerate(names)}
    model.num_labels = len(names)  # type: ignore[assignment]
    return TransformerReward(
        model,
        reward.tokenizer,
        batch_size=reward.batch_size,
        max_length=reward.max_length,
        truncation_side=reward.tokenizer.truncation_side,
        joining=reward.joining,
        offset=reward.offset[list(order)].tolist(),
        training="pairs",
        pooling=reward.pooling,
        heads=[Head(pairs="bradley_terry")] * len(order),
    )


def new_reward(
    model: str | os.PathLike[str] | PreTrainedModel | TransformerReward,
    names: Sequence[str],
    *,
    tokenizer: Any = None,
    seed: int = 0,
    max_length: int | None = None,
    device: str = "cpu",
) -> TransformerReward:
    """New heads with these names on a base: a folder or hub id, a loaded model, or a reward, whose own heads are left behind."""
    if isinstance(model, TransformerReward):
        reward = TransformerReward.from_base(
            model.model,
            names,
            tokenizer=model.tokenizer,
            seed=seed,
            batch_size=model.batch_size,
            max_length=max_length or model.max_length,
            truncation_side=model.tokenizer.truncation_side,
            joining=model.joining,
        )
    else:
        reward = TransformerReward.from_base(model, names, tokenizer=tokenizer, seed=seed, max_length=max_length)
    reward.model.to(device)  # type: ignore[arg-type]
    return reward
