"""The batch in progress: rows join and leave between steps, each with its own weights, sampler and length."""

import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.serving.cache import ChunkWindow, DecodeWindow, LayerShape, SlotCache, Window, check_cache, layer_shapes
from moalign.serving.compiled import LENGTH_STEP, CompiledModel, check_compile
from moalign.serving.logprobs import token_logprobs
from moalign.serving.prefill import choose_chunk
from moalign.serving.prefix import PrefixKeys, PrefixStore
from moalign.serving.request import TokenLogprobs
from moalign.serving.row import Row
from moalign.serving.sampling import choose_tokens

logger = logging.getLogger(__name__)
T = TypeVar("T")
FAILED = "the server failed while generating; its log has the reason"
NOT_NUMBERS = "the model computed values that are not numbers for this request"


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
        known = [self._known(row) for row in queue]
        self._turn = not self._turn
        missing = [row.missing - found for row, found in zip(queue, known, strict=True)]
        chunk = choose_chunk(missing, self.max_prefill_tokens, self._turn)
        rows, takes = [queue[i] for i, _ in chunk], [take for _, take in chunk]
        self._recall([queue[i] for i, _ in chunk if known[i]])
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
        row = self.rows[slot]
        if row.failed or not row.finished:
            # What it left may be NaN, which no mask hides from the next row of this slot. Of a row that was cancelled nobody has looked.
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
            if self.rows[source].cached:  # otherwise it has joined since the cache grew, and its slot may not exist
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

    def _known(self, row: Row) -> int:
        """Positions that are remembered of a prompt that has not begun. Looked up as late as possible, when those before it have left theirs."""
        return self.prefixes.known(self._keys(row)) if self.prefixes.tokens and not row.cached else 0

    def _keys(self, row: Row) -> PrefixKeys:
        if row.prefix_keys is None:
            row.prefix_keys = PrefixKeys.of(row.mixing, row.request.prompt_ids)
        return row.prefix_keys

    def _recall(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._reserve(len(row.request.prompt_ids))
            row.cached = self.prefixes.restore(self._keys(row), self.rows.index(row))

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
        broken = _broken(logits)
        for i, row in enumerate(rows):
            slot = self.rows.index(row)
            if self.prefixes.on and not broken[i]:  # what is not a number would spoil every prompt that begins alike
                self.prefixes.remember(self._keys(row), slot)
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
        """Give each row the token it chooses; rows whose logits are NaN fail alone, and so do those whose token can't be chosen or told."""
        broken = _broken(logits)
        for row, bad in zip(rows, broken, strict=True):
            if bad:  # also where nobody listens any more: it must be known that its slot holds no numbers
                row.fail(NOT_NUMBERS)
        going = [i for i, row in enumerate(rows) if not row.over]

        def of(some: Sequence[int]) -> Tensor:
            return logits if len(some) == len(rows) else logits[list(some)]

        tokens = _for_each(rows, going, lambda some: choose_tokens(of(some), [rows[i].sampler for i in some]))
        asked = [i for i in tokens if rows[i].request.logprobs is not None]

        def told(some: Sequence[int]) -> list[TokenLogprobs]:
            counts = [rows[i].request.logprobs or 0 for i in some]
            return token_logprobs(of(some), [tokens[i] for i in some], counts, self.policy.tokenizer)

        logprobs = _for_each(rows, asked, told)
        for i in [i for i in tokens if not rows[i].over]:
            try:
                rows[i].accept(tokens[i], logprobs.get(i))
            except Exception:
                _fail(rows[i])

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


def _broken(logits: Tensor) -> list[bool]:
    """For each row of `[B, V]`, whether a number is missing."""
    found: list[bool] = logits.amax(-1).isnan().tolist()
    return found


def _for_each(rows: Sequence[Row], which: Sequence[int], work: Callable[[Sequence[int]], Sequence[T]]) -> dict[int, T]:
    """What `work` finds for these rows, by their positions. If it raises it is asked for each alone, and only those for which it raises again fail."""
    if not which:
        return {}
    try:
        return dict(zip(which, work(which), strict=True))
    except Exception:
        logger.warning("%d rows could not be worked on together, each is tried alone", len(which), exc_info=True)
    found = {}
    for i in which:
        try:
            found[i] = work([i])[0]
        except Exception:
            _fail(rows[i])
    return found


def _fail(row: Row) -> None:
    logger.exception("one row failed")
    row.fail(FAILED)
