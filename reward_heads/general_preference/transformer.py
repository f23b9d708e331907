"""Fine-tune a transformer to embed preferences: an ordinary sequence-classification model with 2k outputs per objective."""

import os
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from frontier.errors import InputError
from reward_heads.general_preference.config import GeneralPreferenceConfig
from reward_heads.general_preference.fit import pair_rows, preference_loss
from reward_heads.general_preference.model import GeneralPreferenceModel
from reward_heads.general_preference.network import OutputEmbedding
from reward_heads.model import TransformerReward
from reward_heads.text import Text

_WARMUP, _LARGEST_GRADIENT = 0.05, 1.0


class TransformerOutputs:
    """The outputs of a transformer as features.

    Args:
        reward (`TransformerReward`): a model whose K·2k labels are the coordinates of embeddings; not a reward in itself.
    """

    def __init__(self, reward: TransformerReward) -> None:
        self.reward = reward
        self.width = len(reward.objectives)

    def embed(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[N, width]` float32."""
        return self.reward.score(prompts, completions)

    def embed_prompts(self, prompts: Sequence[Text]) -> Tensor:
        """Not used: see [`OutputEmbedding`]."""
        return self.reward.score(prompts, ["" if isinstance(prompt, str) else [] for prompt in prompts])


def finetune_preference_model(
    base: str | os.PathLike[str] | PreTrainedModel,
    rows: Iterable[Mapping[str, Any]],
    config: GeneralPreferenceConfig | None = None,
    *,
    objectives: Sequence[str] | None = None,
    tokenizer: Any = None,
    epochs: float = 3.0,
    learning_rate: float = 1e-4,
    batch_size: int = 16,
    **settings: Any,
) -> GeneralPreferenceModel:
    """Learn a general preference model with all weights of a transformer, as [Zhang et al., 2025](https://huggingface.co/papers/2410.02197) do.

    The model is an ordinary sequence classifier with the labels `OBJECTIVE.1` ... `OBJECTIVE.2k`. AdamW without weight decay, linear decay after a short warm-up; dropout is off, since two
    different masks would add noise to every comparison.

    Args:
        base (`str`, path or `PreTrainedModel`): see `TransformerReward.from_base`.
        rows (`Iterable[Mapping]`): pairs; any label may be missing.
        config (`GeneralPreferenceConfig`, *optional*): `blocks`, `unit_norm`, `temperature` and `seed` count; by default the paper's unit length and temperature 0.1, with 4 blocks.
        objectives (`Sequence[str]`, *optional*): by default all that are labelled.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): by default the one saved with `base`.
        epochs (`float`, *optional*, defaults to 3): passes over the pairs.
        learning_rate (`float`, *optional*, defaults to 1e-4): at its highest.
        batch_size (`int`, *optional*, defaults to 16): pairs per update.
        **settings: of `TransformerReward` (`max_length`, ...).

    Raises:
        InputError: a row is broken or a rating, an objective has no label, or the base can't be used.
    """
    config = config or GeneralPreferenceConfig(unit_norm=True, temperature=0.1)
    if not (epochs > 0 and learning_rate > 0 and batch_size >= 1):
        raise InputError(
            f"epochs, learning_rate and batch_size must be positive, found {epochs}, {learning_rate} and {batch_size}"
        )
    examples, labels, names = pair_rows(rows, objectives)
    embedding = OutputEmbedding(names, config)
    coordinates = [f"{name}.{j + 1}" for name in names for j in range(2 * config.blocks)]
    reward = TransformerReward.from_base(base, coordinates, tokenizer=tokenizer, seed=config.seed, **settings)
    prompts = [example.prompt for example in examples]
    texts = [
        reward.encode(prompts, [e.completion for e in examples]),
        reward.encode(prompts, [_other(e) for e in examples]),
    ]
    parameters = list(reward.model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(config.seed)
    steps = max(1, round(epochs * len(examples) / batch_size))
    order = torch.randperm(len(examples), generator=generator)
    reward.model.eval()
    for step in range(steps):
        if not len(order):
            order = torch.randperm(len(examples), generator=generator)
        batch, order = order[:batch_size], order[batch_size:]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min((step + 1) / max(1.0, _WARMUP * steps), 1 - step / steps)
        loss = preference_loss(embedding, _batch(reward, texts, labels, batch))  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, _LARGEST_GRADIENT)
        optimizer.step()
    return GeneralPreferenceModel(TransformerOutputs(reward), embedding)


def _batch(reward: TransformerReward, texts: list[list[list[int]]], labels: Tensor, batch: Tensor) -> SimpleNamespace:
    """Outputs of both texts of each pair, in one forward pass."""
    rows = [texts[side][index] for side in (0, 1) for index in batch.tolist()]
    ids, mask = (tensor.to(reward.model.device) for tensor in reward.pad(rows))
    outputs = reward.model(input_ids=ids, attention_mask=mask).logits.float().cpu()
    return SimpleNamespace(a=outputs[: len(batch)], b=outputs[len(batch) :], labels=labels[batch], prompts=None)


def _other(example: Any) -> Text:
    assert example.other is not None
    return example.other
