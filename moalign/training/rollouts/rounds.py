"""The rows of a rejection-sampling round: draw completions, keep the best of each group, batch them for supervised training."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import GenerationConfig

from frontier.errors import InputError
from moalign.conditioning.base import Text
from moalign.evaluation import check_asked, complete, generation_options
from moalign.policy import SteerablePolicy
from moalign.training.rollouts.engine import check_rollout_model, generate_rollout
from moalign.training.rollouts.sampling import RolloutSampling
from moalign.training.runs.folder import finite
from moalign.training.runs.sharded import is_sharded
from reward_heads.text import as_messages, is_conversational

logger = logging.getLogger(__name__)


def draw_completions(
    policy: SteerablePolicy,
    prompts: Sequence[Text],
    weights: Tensor,
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
) -> tuple[list[str], list[list[int]]]:
    """What `moalign.evaluation.complete` gives, drawn by the batching engine: a group's prompt is computed once and ended rows cost nothing more.

    Models that it cannot batch exactly, and sharded ones, are left to `complete`, with a warning. The random numbers are others than there.

    Args:
        policy (`SteerablePolicy`): the policy.
        prompts (`Sequence`): B prompts as the user asked them, a group's next to each other.
        weights (`Tensor`): `[B, K]`.
        max_new_tokens (`int`, *optional*, defaults to 64): at most.
        temperature (`float`, *optional*, defaults to 1): 0 is greedy.
        seed (`int`, *optional*, defaults to 0): makes it repeatable without touching the global random state.
        batch_size (`int`, *optional*, defaults to 128): completions at once.

    Raises:
        InputError: no prompts, or as many rows of weights as are not one per prompt.
    """
    check_asked(prompts, weights)
    try:
        check_rollout_model(policy)
        if is_sharded(policy.model.parameters()):
            raise InputError("its weights are sharded")
    except InputError as error:
        logger.warning("completions are drawn by transformers, for the batching engine can't: %s", error)
        asked: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
        return complete(policy, prompts, weights, batch_size=batch_size, **asked)
    given = GenerationConfig(
        **generation_options(max_new_tokens, temperature), eos_token_id=policy.eos_token_ids or None
    )
    sampling = RolloutSampling.of(given, GenerationConfig())
    prompt_ids = policy.encode(prompts, weights)
    found: list[list[int]] = []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        with torch.random.fork_rng(devices=[]):
            # Of the CPU alone, which is what the draws come from: `torch.manual_seed` would leave the generators of GPUs behind changed.
            torch.default_generator.manual_seed(seed + start)
            found += generate_rollout(policy, prompt_ids[part], weights[part], sampling)
    return policy.tokenizer.batch_decode(found, skip_special_tokens=True), found


@dataclass(frozen=True)
class Draws:
    """G groups of n completions, a group's next to each other.

    Args:
        prompts (`list`): G prompts as the user asked them.
        weights (`Tensor`): `[G, K]`, the preference of each group.
        texts (`list[str]`), ids (`list[list[int]]`): G · n completions.
        rewards (`Tensor`): `[G · n, K]` in the reward's own units, NaN = not known.
    """

    prompts: list[Text]
    weights: Tensor
    texts: list[str]
    ids: list[list[int]]
    rewards: Tensor


@dataclass(frozen=True)
class KeptRow:
    """One completion to learn from.

    Args:
        prompt (`str` or conversation): as the user asked it.
        weights (`tuple[float, ...]`): the preference that it was drawn and chosen under.
        completion (`str`), ids (`list[int]`): the kept completion.
        rewards (`tuple[float, ...]`): in the reward's own units, NaN = not known.
        value (`float`): what it was chosen by.
        worst (`str`, *optional*), worst_ids (`list[int]`, *optional*): the worst completion of the group, for DPO.
        reference (`tuple[float, float]`, *optional*): log π_ref of the two, in nats.
    """

    prompt: Text
    weights: tuple[float, ...]
    completion: str
    ids: list[int]
    rewards: tuple[float, ...]
    value: float
    worst: str | None = None
    worst_ids: list[int] | None = None
    reference: tuple[float, float] | None = None

    def to_json(self, objectives: Sequence[str], kind: str) -> dict[str, Any]:
        """As JSON values, in TRL's columns with ours beside them; `kind` is that of the preference, weights or direction."""

        def answer(text: str | None) -> Any:
            return text if text is None or not is_conversational(self.prompt) else as_messages(text, "assistant")

        row = {
            "prompt": self.prompt,
            "completion": answer(self.completion),
            "preference": {kind: dict(zip(objectives, self.weights, strict=True))},
            "rewards": finite(dict(zip(objectives, self.rewards, strict=True))),
            "value": self.value,
            "completion_ids": self.ids,
        }
        if self.worst_ids is None:
            return row
        return row | {
            "rejected": answer(self.worst),
            "rejected_ids": self.worst_ids,
            "reference_log_probs": list(self.reference or ()),
        }

    @classmethod
    def from_json(cls, row: dict[str, Any], objectives: Sequence[str]) -> "KeptRow":
        """What `to_json` wrote."""

        def text(answer: Any) -> Any:
            return answer[0]["content"] if isinstance(answer, list) else answer

        (values,) = row["preference"].values()
        rewards = (row["rewards"][name] for name in objectives)
        return cls(
            row["prompt"],
            tuple(values[name] for name in objectives),
            text(row["completion"]),
            row["completion_ids"],
            tuple(float("nan") if value is None else value for value in rewards),
            row["value"],
            text(row.get("rejected")),
            row.get("rejected_ids"),
            tuple(row["reference_log_probs"]) if row.get("reference_log_probs") else None,
        )


def keep_best(draws: Draws, values: Tensor, keep: int = 1, with_worst: bool = False) -> list[KeptRow]:
    """The rows of the greatest values of each group, the best first; of equals the one drawn first.

    Args:
        draws (`Draws`): G groups of n completions.
        values (`Tensor`): `[G · n]`; NaN = not known, never kept.
        keep (`int`, *optional*, defaults to 1): rows per group, fewer where fewer are known.
        with_worst (`bool`, *optional*, defaults to `False`): remember the group's worst completion too, where its value is lower.
    """
    n = len(draws.texts) // len(draws.prompts)
    grouped = values.view(-1, n).numpy()
    rows = []
    for group, (prompt, weights) in enumerate(zip(draws.prompts, draws.weights.tolist(), strict=True)):
        order = np.argsort(-grouped[group], kind="stable")[: int((~np.isnan(grouped[group])).sum())]  # NaN comes last
        for place in order[:keep]:
            own, last = group * n + int(place), group * n + int(order[-1])
            worst = with_worst and bool(values[last] < values[own])
            rows.append(
                KeptRow(
                    prompt,
                    tuple(weights),
                    draws.texts[own],
                    draws.ids[own],
                    tuple(draws.rewards[own].tolist()),
                    float(values[own]),
                    draws.texts[last] if worst else None,
                    draws.ids[last] if worst else None,
                )
            )
    return rows


def shuffled_passes(n: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` of `n` positions in random order; none comes again before all of them came."""
    passes = -(-count // n)
    return torch.cat([torch.randperm(n, generator=generator) for _ in range(passes)])[:count].tolist()


class RoundData(Dataset[dict[str, Any]]):
    """The training rows of the present round, behind one data set whose length never changes.

    Where fewer rows than `length` were kept, the first ones come again.

    Args:
        length (`int`): rows per epoch.
        policy (`SteerablePolicy`): reads the prompts.
    """

    def __init__(self, length: int, policy: SteerablePolicy) -> None:
        self.length = length
        self.policy = policy
        self.items: list[dict[str, Any]] = []

    def fill(self, rows: Sequence[KeptRow]) -> None:
        """Replace the round's rows."""
        weights = torch.tensor([row.weights for row in rows])
        prompts = self.policy.encode([row.prompt for row in rows], weights)
        self.items = [
            {"prompt_ids": ids, "row": row, "weights": own}
            for ids, row, own in zip(prompts, rows, weights, strict=True)
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not self.items:
            raise InputError("no round was drawn yet: `train` draws the first one")
        return self.items[index % len(self.items)]


@dataclass(frozen=True)
class RoundCollator:
    """Items of a `RoundData` as one batch: B kept completions, then the M worst ones that some of them have.

    The batch holds `input_ids`, `attention_mask` `[B + M, S]` (padded on the left), `completion_mask` `[B + M, T]` of the last T tokens, `labels` `[B + M, S]`
    that count the kept completions' tokens, `steering_weights` `[B + M, K]`, and with M > 0 `better` `[M]`, the rows that the worst ones belong to, and `reference` `[M, 2]`.

    Args:
        pad_token_id (`int`): any id; padding is masked.
    """

    pad_token_id: int

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Make the batch."""
        better = [i for i, item in enumerate(items) if item["row"].worst_ids is not None]
        pairs = [(item["prompt_ids"], item["row"].ids) for item in items]
        pairs += [(items[i]["prompt_ids"], items[i]["row"].worst_ids) for i in better]
        longest = max(len(prompt) + len(completion) for prompt, completion in pairs)
        keep = max(len(completion) for _, completion in pairs)
        ids = torch.full((len(pairs), longest), self.pad_token_id)
        attention, completions = torch.zeros_like(ids), torch.zeros(len(pairs), keep)
        labels = torch.full_like(ids, -100)
        for row, (prompt, completion) in enumerate(pairs):
            both = torch.tensor([*prompt, *completion])
            ids[row, longest - len(both) :] = both
            attention[row, longest - len(both) :] = 1
            completions[row, keep - len(completion) :] = 1
            if row < len(items):
                labels[row, longest - len(completion) :] = torch.tensor(completion)
        weights = torch.stack([item["weights"] for item in items])
        batch = {
            "input_ids": ids,
            "attention_mask": attention,
            "completion_mask": completions,
            "labels": labels,
            "steering_weights": torch.cat([weights, weights[better]]),
        }
        if better:
            batch["better"] = torch.tensor(better)
            batch["reference"] = torch.tensor([items[i]["row"].reference for i in better])
        return batch


def completion_log_probs(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """`[B + M, T]` float32, log π of each completion token of a batch of `RoundCollator`; 0 where there is none."""
    keep = batch["completion_mask"].shape[1]
    mask = batch["attention_mask"]
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        logits_to_keep=keep + 1,
        use_cache=False,
    ).logits[:, -keep - 1 : -1]
    targets = batch["input_ids"][:, -keep:].unsqueeze(-1)
    log_probs: Tensor = logits.float().log_softmax(-1).gather(-1, targets).squeeze(-1)
    return log_probs.masked_fill(batch["completion_mask"] == 0, 0.0)
