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
from moalign.serving.cache import ChunkWindow, DecodeWindow, LayerShape, SlotCache, Window, check_cache, layer_shapes
from moalign.serving.compiled import LENGTH_STEP, CompiledModel, check_compile
from moalign.serving.logprobs import token_logprobs
from moalign.serving.prefill import choose_chunk
from moalign.serving.prefix import PrefixStore
from moalign.serving.request import TokenLogprobs
from moalign.serving.row import Row
from moalign.serving.sampling import choose_tokens


class RunningBatch:
    """Rows whose prompts are processed in chunks, and which are then decoded together, one token each per step.

    Every row is steered by its own weights, sees only its own tokens (positions count from its first token, what lies beyond is masked) and draws
    from its own random numbers, so its answer is the one that it would get alone.

    Rows live in slots of one cache: first those that are decoded, then those whose prompt is not finished. A row that leaves is replaced by the
    last one, so that a step works on neighbouring slots without holes and at most two rows are copied for each that leaves.

    Args:
        policy (`SteerablePolicy`): put in evaluation mode.
        max_rows (`int`, *optional*, defaults to 64): slots.
        max_cells (`int`, *optional*, defaults to 65536): positions of the cache, padding included.
        max_prefill_tokens (`int`, *optional*, defaults to 1024): prompt tokens, padding included, that `prefill` processes at once.
        prefix_tokens (`int`, *optional*, defaults to 0): positions of earlier prompts that are remembered for others that begin alike.
        compile_decode (`bool`, *optional*, defaults to `False`): run decode steps as compiled code; see `CompiledModel`.

    Raises:
        InputError: the model cannot be batched exactly: its cache is not plain full attention, it takes no positions, or its attention no masks.
    """

    def __init__(
        self,
        policy: SteerablePolicy,
        *,
        max_rows: int = 64,
        max_cells: int = 65_536,
        max_prefill_tokens: int = 1024,
        prefix_tokens: int = 0,
        compile_decode: bool = False,
    ) -> None:
        self.policy = policy
        self.model: Any = policy.base
        policy.model.eval()
        self.max_prefill_tokens = max_prefill_tokens
        self.shapes = probe(policy)
        self.cache = SlotCache(self.shapes, policy.device, max_rows, max_cells, compile_decode)
        self.prefixes = PrefixStore(self.cache, prefix_tokens)
        if compile_decode:
            check_compile(policy.device)
        self._compiled = CompiledModel(self.model) if compile_decode else None
        self.rows: list[Row] = []  # by slot
        self._decoding = 0  # the first so many rows have their prompt
        self._joined = 0
        self._turn = False
        self._steering = ExitStack()
        self._steered = False

    @property
    def cells(self) -> int:
        """Positions that the rows take up, padding included: rows x longest row."""
        return len(self.rows) * max((row.cached for row in self.rows), default=0)

    @property
    def decoding(self) -> list[Row]:
        """Rows that get a token in every step."""
        return self.rows[: self._decoding]

    @property
    def prefilling(self) -> list[Row]:
        """Rows whose prompt is not finished, in order of arrival."""
        return sorted(self.rows[self._decoding :], key=lambda row: row.arrival)

    def join(self, rows: Sequence[Row]) -> None:
        """Give new rows a slot; their prompts are worked on from the next `prefill` on."""
        for row in rows:
            self._joined += 1
            row.arrival = self._joined
            row.cached = 0
            row.mixing = self.policy.conditioning.mixing(row.request.weights.unsqueeze(0))[0]
            self.rows.append(row)

    def step(self) -> None:
        """One chunk of prompts, then one token for every row whose prompt is finished; rows that are over leave."""
        self.prefill()
        self.decode()

    @torch.no_grad()
    def prefill(self) -> None:
        """Process the next chunk of the waiting prompts; rows whose prompt is finished by it get their first token."""
        self.leave()
        leaders: dict[int, Row] = {}
        for row in self.prefilling:  # answers of one request share its prompt, which is computed once
            leaders.setdefault(id(row.request), row)
        if not leaders:
            return
        queue = list(leaders.values())
        self._recall(queue)
        self._turn = not self._turn
        chunk = choose_chunk([row.missing for row in queue], self.max_prefill_tokens, self._turn)
        rows, takes = [queue[i] for i, _ in chunk], [take for _, take in chunk]
        order = sorted(range(len(rows)), key=lambda i: self.rows.index(rows[i]))
        rows, takes = [rows[i] for i in order], [takes[i] for i in order]
        logits = self._process(rows, takes)
        for row, take in zip(rows, takes, strict=True):
            row.cached += take
        done = [i for i, row in enumerate(rows) if not row.missing]
        if done:
            self._start([rows[i] for i in done], logits[done])
        self.leave()

    @torch.no_grad()
    def decode(self) -> None:
        """Give every row with a finished prompt its next token."""
        self.leave()
        rows = self.decoding
        if not rows:
            return
        if not self._steered:
            # Open as long as the rows stay the same, so that what depends on the weights is built once and not in every step.
            self._steering.enter_context(self.policy.steer_rows(_weights(rows)))
            self._steered = True
        length = max(row.cached for row in rows) + 1
        self._reserve(length)
        if self._compiled is not None:
            length = min(-(-length // LENGTH_STEP) * LENGTH_STEP, self.cache.capacity)
        state = torch.tensor([[row.last_token for row in rows], [row.cached for row in rows]]).to(self.policy.device)
        window = DecodeWindow(torch.arange(len(rows), device=state.device), state[1], length)
        logits = self._forward(state[0].unsqueeze(1), state[1].unsqueeze(1), window)
        for row in rows:
            row.cached += 1
        self._advance(rows, logits)
        self.leave()

    def leave(self) -> None:
        """Let go of rows that finished, failed or were cancelled."""
        for slot in range(len(self.rows) - 1, -1, -1):
            if self.rows[slot].over:
                self._vacate(slot)

    def clear(self) -> None:
        """Forget all rows."""
        self._stop_steering()
        self.rows, self._decoding = [], 0

    # ---- slots

    def _vacate(self, slot: int) -> None:
        if self.rows[slot].failed:
            # What it left may be NaN, which no mask hides from the next row of this slot.
            self.cache.wipe(slot)
        if slot < self._decoding:
            self._stop_steering()
            self._decoding -= 1
            self._move(self._decoding, slot)
            slot = self._decoding
        self._move(len(self.rows) - 1, slot)
        self.rows.pop()

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self.cache.copy(source, target, self.rows[source].cached)
            self.rows[target] = self.rows[source]

    def _promote(self, row: Row) -> None:
        """Put a row whose prompt is finished behind the decoded ones."""
        slot, first = self.rows.index(row), self._decoding
        self._stop_steering()
        if slot != first:
            other = self.rows[first]
            self.cache.swap(first, slot, max(row.cached, other.cached))
            self.rows[first], self.rows[slot] = row, other
        self._decoding += 1

    def _reserve(self, length: int) -> None:
        used = [row.cached for row in self.rows][: self.cache.slots]
        self.cache.reserve(len(self.rows), max(length, *used) if used else length, used)

    # ---- prompts

    def _recall(self, rows: Sequence[Row]) -> None:
        """What is known of prompts that have not begun. Looked up as late as possible, when those before them have left theirs."""
        for row in rows:
            if not row.cached and self.prefixes.tokens:
                self._reserve(len(row.request.prompt_ids))
                row.cached = self.prefixes.restore(row.mixing, row.request.prompt_ids, self.rows.index(row))

    def _process(self, rows: Sequence[Row], takes: Sequence[int]) -> Tensor:
        """`[B, V]` logits after the next tokens of these prompts."""
        starts = [row.cached for row in rows]
        window = ChunkWindow([self.rows.index(row) for row in rows], starts, takes)
        self._reserve(window.length)
        ids = torch.full((len(rows), window.new), self.policy.pad_token_id)
        for i, (row, start, take) in enumerate(zip(rows, starts, takes, strict=True)):
            ids[i, -take:] = torch.as_tensor(row.request.prompt_ids[start : start + take])
        ends = torch.tensor([start + take for start, take in zip(starts, takes, strict=True)]).unsqueeze(1)
        # Padding stands on the left, at position 0: it sees something, so that it is no NaN, and nobody sees it.
        positions = (torch.arange(window.new) - window.new + ends).clamp(min=0)
        with self.policy.steer_rows(_weights(rows)):
            return self._forward(ids.to(self.policy.device), positions.to(self.policy.device), window)

    def _start(self, rows: Sequence[Row], logits: Tensor) -> None:
        """Rows with finished prompts, and the other answers to the same requests, get their first token and are decoded from now on."""
        going, sources = [], []
        for i, row in enumerate(rows):
            slot = self.rows.index(row)
            self.prefixes.remember(row.mixing, row.request.prompt_ids, slot)
            same = [other for other in self.rows[self._decoding :] if other.request is row.request]
            for other in same:
                if other is not row:
                    self.cache.copy(slot, self.rows.index(other), row.cached)
                    other.cached = row.cached
            going += same
            sources += [i] * len(same)
        for row in going:
            self._promote(row)
        self._advance(going, logits[sources])

    # ---- the model

    def _forward(self, ids: Tensor, positions: Tensor, window: Window) -> Tensor:
        """`[B, V]` float32 logits after the last token.

        Args:
            ids (`Tensor`): `[B, T]` new tokens.
            positions (`Tensor`): `[B, T]`, of each within its row.
            window (`Window`): where they go and what they may attend to.
        """
        dtype = self.shapes[0].dtype
        hidden = torch.arange(window.length, device=ids.device) > positions.unsqueeze(-1)
        mask = torch.zeros(hidden.shape, dtype=dtype, device=ids.device)
        mask.masked_fill_(hidden, torch.finfo(dtype).min)
        self.cache.window = window
        model = self._compiled if self._compiled is not None and isinstance(window, DecodeWindow) else self.model
        try:
            output = model(
                input_ids=ids,
                attention_mask=mask.unsqueeze(1),
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        finally:
            self.cache.window = None
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _advance(self, rows: Sequence[Row], logits: Tensor) -> None:
        """Give each row the token it chooses; rows whose logits are NaN fail alone."""
        broken = logits.amax(-1).isnan().tolist()
        if any(broken):
            logits = logits.nan_to_num(nan=0.0)
        tokens = choose_tokens(logits, [row.sampler for row in rows])
        told = self._logprobs(rows, logits, tokens)
        for i, (row, token, bad) in enumerate(zip(rows, tokens, broken, strict=True)):
            if row.over:
                continue
            if bad:
                row.fail("the model computed values that are not numbers for this request")
            else:
                row.accept(token, told.get(i))

    def _logprobs(self, rows: Sequence[Row], logits: Tensor, tokens: Sequence[int]) -> dict[int, TokenLogprobs]:
        asked = {i: row.request.logprobs for i, row in enumerate(rows) if row.request.logprobs is not None}
        if not asked:
            return {}
        chosen = [tokens[i] for i in asked]
        told = token_logprobs(logits[list(asked)], chosen, list(asked.values()), self.policy.tokenizer)
        return dict(zip(asked, told, strict=True))

    def _stop_steering(self) -> None:
        self._steering.close()
        self._steered = False


def check_model(policy: SteerablePolicy) -> None:
    """Refuse models that cannot be batched exactly; see `RunningBatch`."""
    config = policy.base.config
    check_cache(config)
    if "position_ids" not in inspect.signature(policy.base.forward).parameters:
        raise InputError(f"a model of type '{config.model_type}' takes no position_ids, which batching needs")
    attention = getattr(config, "_attn_implementation", None)
    if attention not in ("sdpa", "eager"):
        raise InputError(
            f"the model was loaded with attn_implementation='{attention}', which takes no mask per row: load it with 'sdpa' or 'eager'"
        )


@torch.no_grad()
def probe(policy: SteerablePolicy) -> list[LayerShape]:
    """What each layer of the model keeps of a token, found by computing one. Refuses models that cannot be batched; see `RunningBatch`."""
    check_model(policy)
    cache = DynamicCache(config=policy.base.config)
    ids = torch.zeros(1, 1, dtype=torch.long, device=policy.device)
    with policy.steer_rows(torch.zeros(1, len(policy.objectives))):
        policy.base(input_ids=ids, past_key_values=cache, use_cache=True)
    return layer_shapes(cache)


def _weights(rows: Sequence[Row]) -> Tensor:
    return torch.stack([row.request.weights for row in rows])
