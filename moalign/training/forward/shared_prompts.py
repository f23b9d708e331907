"""Log-probabilities of several completions of a prompt in one pass: the prompt is computed once, padding hardly ever, the output layer for completions alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.training.forward.completion_head import Scoring, predictions
from moalign.training.forward.forward_plan import forward_plan, may_span, processes, run_rows
from moalign.training.forward.length_groups import length_groups
from moalign.training.forward.prompt_rows import Ids, PromptRow, lay_out

# What one more forward costs beside its tokens, as a number of tokens: a GPU waits for Python, and is idle in small batches.
_OVERHEAD = {"cpu": 96, "cuda": 4096}
# More completions than this behind one prompt would make their attention to each other, which is masked, dearer than the prompt.
_MOST_TOGETHER = 16


@dataclass(frozen=True)
class TokenLogProbs:
    """Log-probabilities of all tokens of C completions.

    Args:
        values (`Tensor`): `[N]` float32 with graph, in nats, in the order record, completion, token. 0 for the first token of a text without prompt.
        lengths (`Tensor`): `[C]`, tokens of each completion.
        entropies (`Tensor`, *optional*): `[N]`, of the distributions the tokens were drawn from, without graph; `None` where they were not asked for.
        computed (`int`): tokens that went through the model.
        padding (`int`): how many of those were padding.
    """

    values: Tensor
    lengths: Tensor
    entropies: Tensor | None = None
    computed: int = 0
    padding: int = 0

    def sums(self) -> Tensor:
        """`[C]`: log-probabilities of whole completions."""
        owner = torch.repeat_interleave(
            torch.arange(len(self.lengths), device=self.values.device), self.lengths, output_size=len(self.values)
        )
        return self.values.new_zeros(len(self.lengths)).index_add(0, owner, self.values)

    def padded(self, length: int | None = None, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`[C, length]` log-probabilities, 0 behind the end of a completion, and the mask `[C, length]` of what is a token.

        Args:
            length (`int`, *optional*): of the longest completion by default.
            values (`Tensor`, *optional*): `[N]` to be laid out instead, such as the entropies.

        Raises:
            InputError: a completion is longer than `length`.
        """
        given = self.values if values is None else values
        longest = int(self.lengths.max()) if len(self.lengths) else 0
        length = longest if length is None else length
        if longest > length:
            raise InputError(f"length must be at least {longest}, the tokens of the longest completion; found {length}")
        mask = torch.arange(length, device=given.device) < self.lengths[:, None]
        return given.new_zeros(mask.shape).masked_scatter(mask, given), mask


def shared_log_probs(
    model: nn.Module,
    policy: SteerablePolicy,
    prompts: Sequence[Ids],
    completions: Sequence[Sequence[Ids]],
    weights: Tensor,
    *,
    temperature: float = 1.0,
    entropies: bool = False,
    share: bool = True,
    split: bool = True,
) -> TokenLogProbs:
    """Log π_w of every token of every completion: R records of one prompt, n_r completions and one preference each.

    A record is one row: its prompt, then its completions, whose positions count on from the prompt and which do not see each other. Rows of similar length
    share a forward. Where the model does not allow this exactly (it is tried on a few tokens, once), each completion is a row with a prompt of its own. The
    values are those of completion after completion, one by one, up to rounding.

    Args:
        model (`nn.Module`): what to call: the policy's model, perhaps wrapped for several processes.
        policy (`SteerablePolicy`): steers it.
        prompts (`Sequence`): R sequences of token ids, possibly empty.
        completions (`Sequence`): of each record its n_r >= 1 completions as token ids.
        weights (`Tensor`): `[R, K]`, or `[1, K]` for all.
        temperature (`float`, *optional*, defaults to 1): logits are divided by it.
        entropies (`bool`, *optional*, defaults to `False`): also entropies.
        share (`bool`, *optional*, defaults to `True`): compute each prompt once.
        split (`bool`, *optional*, defaults to `True`): into several forwards where that saves more padding than they cost.

    Raises:
        InputError: as many prompts as neither lists of completions nor weights, or a prompt without completions.
    """
    _check(prompts, completions, weights)
    numbers = [0]
    for some in completions:
        numbers.append(numbers[-1] + len(some))
    records = [PromptRow(i, prompts[i], completions[i], numbers[i]) for i in range(len(prompts))]
    lengths = [len(completion) for some in completions for completion in some]
    longest = max((row.longest for row in records), default=0)
    plan = forward_plan(policy, longest)
    by_spans = plan.spans and may_span(policy)
    rows = _rows(records, _width(policy), share and plan.shared, not by_spans)
    head: Any = policy.base.get_output_embeddings()
    groups = _groups(rows, policy, split, not by_spans)
    values: list[Tensor] = []
    spread: list[Tensor] = []
    order: list[int] = []
    computed = 0
    for group in groups:
        together = [rows[i] for i in group]
        layout = lay_out(together, policy.pad_token_id, policy.device)
        call = run_rows(model, policy, together, layout, longest, by_spans)
        with policy.steer_rows(weights if len(weights) == 1 else weights[[row.record for row in together]]):
            found, entropy = predictions(call, head, layout.wanted, Scoring(temperature, entropies), plan.fused)
        values.append(found if layout.known is None else found * layout.known)
        spread += [] if entropy is None else [entropy]
        order += [row.number + i for row in together for i in range(len(row.completions))]
        computed += layout.ids.numel()
    place = _in_order(order, lengths, policy.device)
    return TokenLogProbs(
        _joined(values, place, policy.device),
        torch.tensor(lengths, dtype=torch.long, device=policy.device),
        _joined(spread, place, policy.device) if entropies else None,
        computed,
        computed - sum(map(len, rows)),
    )


def _check(prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], weights: Tensor) -> None:
    if len(prompts) != len(completions):
        raise InputError(f"{len(prompts)} prompts for {len(completions)} lists of completions")
    if weights.dim() != 2 or len(weights) not in (1, len(prompts)):
        raise InputError(f"weights must be [{len(prompts)}, K] or [1, K], found {list(weights.shape)}")
    for i, some in enumerate(completions):
        if not len(some):
            raise InputError(f"prompt {i} has no completions")


def _width(policy: SteerablePolicy) -> int:
    return int(getattr(policy.base.config.get_text_config(), "hidden_size", 1024))


def _cost(length: int, looks: float, width: int) -> float:
    """Of one row, in tokens: attention costs as much as a token does when 6 x width tokens are looked at."""
    return length + looks / 6 / width


def _looks(row: PromptRow, dense: bool) -> float:
    """How often a token of a row is looked at: by all under a dense mask, by half of all where they are causal."""
    if dense and len(row.completions) > 1:
        return float(len(row) ** 2)
    first, *others = (len(row.prompt) + len(completion) for completion in row.completions)
    return first * first / 2 + sum((each - len(row.prompt)) * each for each in others)


def _rows(records: list[PromptRow], width: int, share: bool, dense: bool) -> list[PromptRow]:
    """The rows to compute: each record as one where that is cheaper, else one row per completion."""

    def cost(some: list[PromptRow]) -> float:
        return sum(_cost(len(row), _looks(row, dense), width) for row in some)

    rows: list[PromptRow] = []
    for record in records:
        alone = [
            PromptRow(record.record, record.prompt, [completion], record.number + i)
            for i, completion in enumerate(record.completions)
        ]
        together = [
            PromptRow(record.record, record.prompt, record.completions[i : i + _MOST_TOGETHER], record.number + i)
            for i in range(0, len(record.completions), _MOST_TOGETHER)
        ]
        rows += together if share and cost(together) < cost(alone) else alone
    return rows


def _groups(rows: list[PromptRow], policy: SteerablePolicy, split: bool, dense: bool) -> list[list[int]]:
    """Which rows share a forward."""
    if not rows:
        return []
    lengths, width = [len(row) for row in rows], _width(policy)
    share_of_square = 1.0 if dense and any(len(row.completions) > 1 for row in rows) else 0.5

    def cost(length: int) -> float:
        return _cost(length, share_of_square * length * length, width)

    overhead = _OVERHEAD.get(policy.device.type, _OVERHEAD["cuda"])
    if processes() == 1:
        return length_groups(lengths, cost, overhead) if split else [list(range(len(rows)))]
    if not split or not torch.is_grad_enabled():
        return [list(range(len(rows)))]
    # Every forward of wrapped models waits for the other processes, so that all need the same number of them.
    wish = len(length_groups(lengths, cost, overhead))
    agreed = torch.tensor([wish, -len(rows)], device=policy.device)
    torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
    most, fewest = agreed.tolist()
    return length_groups(lengths, cost, overhead, exactly=min(most, -fewest))


def _in_order(order: list[int], lengths: list[int], device: torch.device) -> Tensor | None:
    """Where the tokens of completion 0, 1, ... stand after completions were computed in another order; `None` where they stand so already."""
    if order == sorted(order):
        return None
    starts, at = {}, 0
    for number in order:
        starts[number] = at
        at += lengths[number]
    return torch.cat([torch.arange(starts[i], starts[i] + n) for i, n in enumerate(lengths)]).to(device)


def _joined(parts: list[Tensor], place: Tensor | None, device: torch.device) -> Tensor:
    if not parts:
        return torch.zeros(0, device=device)
    whole = torch.cat(parts) if len(parts) > 1 else parts[0]
    return whole if place is None else whole[place]
