"""Generate a rollout by the server's batching code: a group's prompt is computed once, and rows that have ended cost nothing more."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.serving.batch import RunningBatch, check_model
from moalign.serving.request import GenerationRequest, Ticket, TokenLogprobs
from moalign.serving.row import Row
from moalign.training.rollouts.sampling import RolloutSampling

# Prompt tokens that are computed at once, padding included.
PREFILL_TOKENS = 8192
# Ended rows are taken out together, once they are this share of the batch: each time what depends on the rows is built anew.
ENDED_SHARE = 1 / 8
# Called with a row's position and its tokens.
Ended = Callable[[int, list[int]], None]


def check_rollout_model(policy: SteerablePolicy) -> None:
    """Refuse models that cannot be batched exactly, and devices that have no float64 to draw with.

    Raises:
        InputError: with the reason; see `RunningBatch`.
    """
    if policy.device.type == "mps":
        raise InputError("it draws tokens in float64, which device 'mps' does not have")
    check_model(policy)


@torch.no_grad()
def generate_rollout(
    policy: SteerablePolicy,
    prompt_ids: Sequence[Sequence[int]],
    weights: Tensor,
    sampling: RolloutSampling,
    ended: Ended | None = None,
) -> list[list[int]]:
    """Completions as token ids, the ending token included, one for each prompt; equal prompts with equal weights are computed once.

    The policy is in evaluation mode meanwhile, without dropout, and as it was afterwards. Sampling draws from torch's global generator.

    Args:
        policy (`SteerablePolicy`): steered row by row.
        prompt_ids (`Sequence[Sequence[int]]`): B prompts of at least one token.
        weights (`Tensor`): `[B, K]`.
        sampling (`RolloutSampling`): how.
        ended (`Callable`, *optional*): told the position and the tokens of each completion as soon as it is over; what it raises ends the rollout.

    Raises:
        InputError: a model that cannot be batched exactly; see `RunningBatch`.
        RuntimeError: the policy computes NaN.
    """
    groups: dict[tuple[Any, ...], GenerationRequest] = {}
    rows = []
    for place, (ids, own) in enumerate(zip(prompt_ids, weights.cpu(), strict=True)):
        key = (tuple(ids), tuple(own.tolist()))
        if key not in groups:
            groups[key] = GenerationRequest(key[0], own, sampling.max_tokens, seed=0)
        rows.append(RolloutRow(groups[key], policy, place))
    was_training = policy.model.training
    try:
        # The experts are stacked once for all steps, whichever rows are left.
        with policy.mixture.frozen():
            _RolloutBatch(policy, rows, sampling, ended).run()
    finally:
        policy.model.train(was_training)
    return [row.tokens for row in rows]


class RolloutRow(Row):
    """One completion in the making, without the text that a client would be shown; `place` is its prompt's."""

    def __init__(self, request: GenerationRequest, policy: SteerablePolicy, place: int) -> None:
        super().__init__(request, _NOBODY, policy.tokenizer, ())
        self.place = place
        self.tokens: list[int] = []

    def accept(self, token: int, logprobs: TokenLogprobs | None = None) -> None:
        """Take the next token."""
        self.last_token = token
        self.generated += 1
        self.tokens.append(token)


class _RolloutBatch(RunningBatch):
    """All rows of a rollout at once: their prompts first, then a token each until the last one has ended."""

    def __init__(
        self, policy: SteerablePolicy, rows: Sequence[RolloutRow], sampling: RolloutSampling, ended: Ended | None
    ) -> None:
        longest = max(row.request.max_length for row in rows)
        super().__init__(policy, max_rows=len(rows), max_cells=len(rows) * longest, max_prefill_tokens=PREFILL_TOKENS)
        self.sampling = sampling
        self.ended = ended
        self.join(rows)

    def run(self) -> None:
        """To the end."""
        try:
            while self.prefilling:
                # Never cut a prompt to let others in between, as the server does at every second chunk: nobody waits for a first token here.
                self._turn = True
                self.prefill()
            while self.rows:
                self.decode()
        finally:
            self.clear()

    def leave(self) -> None:
        """Let go of rows that have ended, many at a time."""
        ended = sum(row.over for row in self.rows)
        if ended == len(self.rows) or ended >= ENDED_SHARE * self._decoding:
            super().leave()

    def _advance(self, rows: Sequence[Row], logits: Tensor) -> None:
        for row, token in zip(rows, self.sampling.draw(logits), strict=True):
            assert isinstance(row, RolloutRow)  # nothing else has joined
            if row.over:  # it stays where it is, and what it draws is nobody's
                row.cached -= 1
                continue
            row.accept(token)
            row.finished = self.sampling.ended(row.tokens)
            if row.finished and self.ended is not None:
                self.ended(row.place, row.tokens)


_NOBODY = Ticket(lambda event: None, 1)
