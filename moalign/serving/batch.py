"""The batch in progress: rows join and leave between steps, each with its own weights, sampler and length."""

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.serving.cache import check_cache, joined, kept
from moalign.serving.row import Row
from moalign.serving.sampling import choose_tokens


class RunningBatch:
    """Rows that are decoded together, one token each per step.

    Every row is steered by its own weights, sees only its own tokens (padding is masked, positions count from the row's first token) and draws
    from its own random numbers, so its answer is the one that it would get alone.

    Args:
        policy (`SteerablePolicy`): put in evaluation mode.

    Raises:
        InputError: the model cannot be batched exactly: its cache is not plain full attention, or it takes no positions.
    """

    def __init__(self, policy: SteerablePolicy) -> None:
        base: Any = policy.model.get_base_model()
        check_cache(base.config)
        if "position_ids" not in inspect.signature(base.forward).parameters:
            raise InputError(
                f"a model of type '{base.config.model_type}' takes no position_ids, which batching by padding needs"
            )
        self.policy = policy
        self._config = base.config
        policy.model.eval()
        self.rows: list[Row] = []
        self._lengths: list[int] = []  # tokens of each row in the cache
        self._cache: DynamicCache | None = None
        self._steering = ExitStack()
        self._steered = False

    @property
    def cells(self) -> int:
        """Positions that the cache holds, padding included: rows x longest row."""
        return len(self.rows) * max(self._lengths, default=0)

    @torch.no_grad()
    def join(self, rows: Sequence[Row]) -> None:
        """Process the prompts of new rows, choose their first tokens, and put those that go on beside the running ones."""
        lengths = [len(row.request.prompt_ids) for row in rows]
        ids = torch.full((len(rows), max(lengths)), self.policy.pad_token_id)
        for i, row in enumerate(rows):
            ids[i, -lengths[i] :] = torch.as_tensor(row.request.prompt_ids)
        cache = DynamicCache(config=self._config)
        with self.policy.steer_rows(_weights(rows)):
            logits = self._forward(ids, lengths, cache)
        _advance(rows, logits)
        going = [i for i, row in enumerate(rows) if not row.over]
        if not going:
            return
        lengths = [lengths[i] for i in going]
        cache = kept(cache, going, max(lengths))
        self._cache = cache if self._cache is None else joined(self._cache, cache)
        self.rows += [rows[i] for i in going]
        self._lengths += lengths
        self._stop_steering()

    @torch.no_grad()
    def step(self) -> None:
        """Give every row its next token; rows that are over leave."""
        self.leave()
        if self._cache is None:
            return
        if not self._steered:
            # Open as long as the rows stay the same, so that the stacked adapters are built once and not in every step.
            self._steering.enter_context(self.policy.steer_rows(_weights(self.rows)))
            self._steered = True
        self._lengths = [length + 1 for length in self._lengths]
        logits = self._forward(torch.tensor([[row.last_token] for row in self.rows]), self._lengths, self._cache)
        _advance(self.rows, logits)
        self.leave()

    def leave(self) -> None:
        """Let go of rows that finished, failed or were cancelled, and of the padding that only they needed."""
        stay = [i for i, row in enumerate(self.rows) if not row.over]
        if len(stay) == len(self.rows):
            return
        if not stay:
            self.clear()
            return
        self._stop_steering()
        self.rows = [self.rows[i] for i in stay]
        self._lengths = [self._lengths[i] for i in stay]
        assert self._cache is not None  # there are rows
        self._cache = kept(self._cache, stay, max(self._lengths))

    def clear(self) -> None:
        """Forget all rows."""
        self._stop_steering()
        self.rows, self._lengths, self._cache = [], [], None

    def _stop_steering(self) -> None:
        self._steering.close()
        self._steered = False

    def _forward(self, ids: Tensor, lengths: Sequence[int], cache: DynamicCache) -> Tensor:
        """`[B, V]` float32 logits after the last token.

        Args:
            ids (`Tensor`): `[B, T]` new tokens, padded on the left.
            lengths (`Sequence[int]`): tokens of each row, the new ones included.
            cache (`DynamicCache`): of the tokens before; grows by T.
        """
        device = self.policy.device
        total = cache.get_seq_length() + ids.shape[1]
        first = total - torch.tensor(lengths, device=device).unsqueeze(1)
        positions = torch.arange(total, device=device) - first
        output = self.policy.model(
            input_ids=ids.to(device),
            attention_mask=(positions >= 0).long(),
            position_ids=positions[:, -ids.shape[1] :].clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()


def _weights(rows: Sequence[Row]) -> Tensor:
    return torch.stack([row.request.weights for row in rows])


def _advance(rows: Sequence[Row], logits: Tensor) -> None:
    """Give each row the token it chooses; rows whose logits are NaN fail alone."""
    broken = logits.isnan().any(-1).tolist()
    tokens = choose_tokens(logits.nan_to_num(nan=0.0) if any(broken) else logits, [row.sampler for row in rows])
    for row, token, bad in zip(rows, tokens, broken, strict=True):
        if row.over:
            continue
        if bad:
            row.fail("the model computed values that are not numbers for this request")
        else:
            row.accept(token)
