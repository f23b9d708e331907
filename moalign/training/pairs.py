"""Make preference pairs ready for training, once: token ids, labels, the reference's log-probs and what each reward says of both completions."""

import itertools
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from frontier.errors import InputError
from moalign.conditioning.base import Text
from moalign.policy import SteerablePolicy
from moalign.training.forward.shared_prompts import shared_log_probs
from moalign.training.pair_cache import PairCache, reference_key, rewards_key
from reward_heads import VectorReward
from reward_heads.text import as_messages, is_conversational

logger = logging.getLogger(__name__)
T = TypeVar("T")
Ids = tuple[int, ...]
COLUMNS = ("prompt", "completion_a", "completion_b", "labels")


@dataclass(frozen=True)
class PairIds:
    """One pair as token ids.

    Args:
        prompt (`list[int]`): what both sequences begin with.
        a, b (`list[int]`): the completions, their end included.
        cut (`int`): tokens at the end of the tokenized prompt that melt into the completions and are left out of `prompt`; 0 as a rule.
    """

    prompt: list[int]
    a: list[int]
    b: list[int]
    cut: int = 0


class PairTable(torch.utils.data.Dataset[dict[str, Any]]):
    """N pairs with everything that training asks of them more than once.

    Attributes:
        objectives (`tuple[str, ...]`): the K names.
        prompts (`list`): as the user asked.
        ids (`list[PairIds]`): N tokenized pairs.
        completions (`list`): N texts or conversations of a and b.
        labels (`Tensor`): `[N, K]`, probability that a is better; NaN = missing.
        reference (`Tensor`): `[N, 2]`, log-probs of a and b under the reference policy, in nats.
        differences (`Tensor`): `[N, K]`, reward of a minus reward of b, in the units of the reward; NaN = not known.

    Args:
        dataset (`datasets.Dataset`): pairs in canonical form, or TRL preference rows.
        objectives (`Sequence[str]`): the K names; labels of others are not read.
        policy (`SteerablePolicy`): its tokenizer and chat template.
        max_length (`int`, *optional*): tokens of prompt and completion together; what is beyond is cut off. Pairs whose prompt alone fills it are left out.
        progress (`bool`, *optional*, defaults to `True`): show a bar.

    Raises:
        InputError: no pairs, columns that are no pairs, or nothing fits `max_length`.
    """

    def __init__(
        self,
        dataset: Dataset,
        objectives: Sequence[str],
        policy: SteerablePolicy,
        max_length: int | None = None,
        progress: bool = True,
    ) -> None:
        rows = canonical(dataset, objectives)
        self.objectives = tuple(objectives)
        self.prompts: list[Text] = []
        self.completions: list[tuple[Text, Text]] = []
        self.ids: list[PairIds] = []
        labels: list[list[float]] = []
        for chunk in _chunks(range(len(rows)), 256, "Tokenizing pairs", progress):
            some = rows[chunk[0] : chunk[-1] + 1]
            prompts, first, second, given_labels = (some[name] for name in COLUMNS)
            tokens = tokenize_pairs(policy, prompts, first, second, max_length)
            for ids, prompt, a, b, given in zip(tokens, prompts, first, second, given_labels, strict=True):
                if not ids.a and not ids.b:
                    continue
                self.ids.append(ids)
                self.prompts.append(prompt)
                self.completions.append((a, b))
                labels.append([math.nan if given.get(name) is None else given[name] for name in self.objectives])
        if len(self.ids) < len(rows):
            logger.warning(
                "%d of %d pairs are left out: their prompt alone fills max_length (%s)",
                len(rows) - len(self.ids),
                len(rows),
                max_length,
            )
        if not self.ids:
            raise InputError(f"none of the {len(rows)} pairs can be trained on (max_length {max_length})")
        self.labels = torch.tensor(labels, dtype=torch.float32).reshape(len(self.ids), len(self.objectives))
        self.reference = torch.zeros(len(self.ids), 2)
        self.differences = torch.full_like(self.labels, torch.nan)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {
            "prompt": as_asked(self.prompts[row], *self.completions[row]),
            "ids": self.ids[row],
            "preferred": self.labels[row],
            "reference": self.reference[row],
            "differences": self.differences[row],
        }

    def score_reference(
        self,
        policy: SteerablePolicy,
        batch_size: int,
        progress: bool = True,
        cache: PairCache | None = None,
        share: bool = True,
    ) -> None:
        """Fill in the reference's log-probs, in batches of similar length, or from the cache.

        Each distinct completion of a prompt is scored once, however many pairs it is in, and its prompt with it; several processes share the work.

        Args:
            policy (`SteerablePolicy`): over the reference.
            batch_size (`int`): pairs at once.
            progress (`bool`, *optional*, defaults to `True`): show a bar.
            cache (`PairCache`, *optional*): looked up before, filled afterwards.
            share (`bool`, *optional*, defaults to `True`): compute each prompt once for its completions.
        """
        distinct, place = _distinct([(tuple(ids.prompt), tuple(end)) for ids in self.ids for end in (ids.a, ids.b)])
        key = None
        if cache is not None:
            base = cache.base(policy)
            texts = (part for text in distinct for part in text)
            key = None if base is None else reference_key(base, texts, _arithmetic(policy.device.type))
        values = _or_kept(cache, "reference", key, lambda: _reference(policy, distinct, batch_size, progress, share))
        self.reference = values[place].view(-1, 2)

    def score_rewards(
        self, reward: VectorReward, batch_size: int, progress: bool = True, cache: PairCache | None = None
    ) -> None:
        """Fill in the reward differences of the reward's objectives, scoring each distinct completion of a prompt once; several processes share the work.

        With a cache, the scores of a reward that can be identified by its content are looked up before and kept afterwards.

        Raises:
            InputError: the reward returns another shape, or something infinite (the objective and the row are named).
        """
        columns = [self.objectives.index(name) for name in reward.objectives]
        sides = [(prompt, text) for prompt, both in zip(self.prompts, self.completions, strict=True) for text in both]
        distinct, place = _distinct([json.dumps(side) for side in sides])
        first = torch.full((len(distinct),), len(sides)).scatter_reduce(0, place, torch.arange(len(sides)), "amin")
        where: list[int] = first.tolist()

        def score(some: list[int]) -> Tensor:
            asked, said = zip(*(sides[where[i]] for i in some), strict=True)
            scores = reward.score(list(asked), list(said))
            if list(scores.shape) != [len(some), len(columns)]:
                raise InputError(
                    f"{type(reward).__name__}.score must return {[len(some), len(columns)]}, found {list(scores.shape)}"
                )
            scores = scores.detach().to("cpu", torch.float32)
            if scores.isinf().any():
                row, column = scores.isinf().nonzero()[0].tolist()
                raise InputError(
                    f"reward '{reward.objectives[column]}' is infinite for a completion of pair {where[some[row]] // 2}: "
                    "rewards must be finite, or NaN where unknown"
                )
            return scores

        def score_all() -> Tensor:
            return torch.tensor(
                _by_processes(
                    range(len(distinct)), 2 * batch_size, lambda some: score(some).tolist(), "Rewards", progress
                )
            )

        key = None if cache is None else rewards_key(reward, distinct)
        values = _or_kept(cache, "rewards", key, score_all)
        both = values[place].view(-1, 2, len(columns))
        self.differences[:, columns] = both[:, 0] - both[:, 1]


def canonical(dataset: Dataset, objectives: Sequence[str] | None = None) -> Dataset:
    """The pairs with their labels by objective, whichever of the forms that `read_pairs` knows they come in.

    Raises:
        InputError: they are no pairs, or there is none.
    """
    if not len(dataset):
        raise InputError("the data set has no pairs")
    if set(COLUMNS) <= set(dataset.column_names):
        return dataset
    from moalign.data import read_pairs

    # One name serves TRL rows that name none; several would refuse labels that are merely not used.
    alone = list(objectives) if objectives is not None and len(objectives) == 1 else None
    return read_pairs(dataset, alone).dataset


def labelled_objectives(dataset: Dataset) -> tuple[str, ...]:
    """The objectives that at least one pair has a label for, in the order of first appearance."""
    found: dict[str, None] = {}
    for labels in canonical(dataset)["labels"]:
        found.update((name, None) for name, value in labels.items() if value is not None)
    return tuple(found)


def tokenize_pairs(
    policy: SteerablePolicy,
    prompts: Sequence[Text],
    a: Sequence[Text],
    b: Sequence[Text],
    max_length: int | None = None,
) -> list[PairIds]:
    """Tokenize B pairs as TRL's DPO does: prompt and completion together, split where the tokenized prompt ends or the two diverge.

    Args:
        policy (`SteerablePolicy`): its tokenizer.
        prompts (`Sequence`): B texts or conversations.
        a (`Sequence`): B completions. A text is followed by the end token, a conversation by what its chat template says.
        b (`Sequence`): the other ones.
        max_length (`int`, *optional*): sequences are cut after so many tokens.
    """
    prompts = [as_asked(*of) for of in zip(prompts, a, b, strict=True)]
    heads = policy.encode(prompts)
    wholes: list[list[list[int]]] = []
    for completions in (a, b):
        texts = [_whole(policy.tokenizer, p, c) for p, c in zip(prompts, completions, strict=True)]
        # A chat template writes the special tokens itself.
        by_style = {
            plain: iter(policy.tokenizer([t for t, p in texts if p == plain], add_special_tokens=plain)["input_ids"])
            for plain in {p for _, p in texts}
        }
        wholes.append([list(next(by_style[plain])) for _, plain in texts])
    found = []
    for head, whole_a, whole_b in zip(heads, *wholes, strict=True):
        shared = min(_common_prefix(head, whole_a), _common_prefix(head, whole_b))
        found.append(PairIds(head[:shared], whole_a[shared:max_length], whole_b[shared:max_length], len(head) - shared))
    return found


def completion_log_probs(
    model: nn.Module,
    policy: SteerablePolicy,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
    weights: Tensor,
) -> Tensor:
    """Log π_w of R whole completions, `[R]` in nats, through `model`, which may be the policy's model wrapped for several processes.

    Args:
        model (`nn.Module`): what to call.
        policy (`SteerablePolicy`): steers it.
        prompts (`Sequence[list[int]]`): R sequences of token ids.
        completions (`Sequence[list[int]]`): R of them.
        weights (`Tensor`): `[R, K]` or `[1, K]`.
    """
    ids, mask = policy.pad_left([[*p, *c] for p, c in zip(prompts, completions, strict=True)])
    keep = max(1, *(len(c) for c in completions))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with policy.steer_rows(weights):
        output: Any = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep + 1, use_cache=False
        )
    logits = output.logits[:, :-1]
    targets = ids[:, -logits.shape[1] :].unsqueeze(-1)
    log_probs = logits.float().log_softmax(-1).gather(-1, targets).squeeze(-1)
    lengths = torch.tensor([len(c) for c in completions], device=ids.device)
    from_end = torch.arange(logits.shape[1], 0, -1, device=ids.device)
    return log_probs.masked_fill(from_end[None, :] > lengths[:, None], 0.0).sum(-1)


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch: lists of prompts and ids, stacked tensors (which come first, for transformers counts a batch by its first tensor)."""
    tensors = {name: torch.stack([row[name] for row in rows]) for name in ("preferred", "reference", "differences")}
    return tensors | {name: [row[name] for row in rows] for name in ("prompt", "ids")}


def as_asked(prompt: Text, *completions: Text) -> Text:
    """The prompt; as a user's message where a completion is conversational."""
    return as_messages(prompt, "user") if any(map(is_conversational, completions)) else prompt


def _whole(tokenizer: PreTrainedTokenizerBase, prompt: Text, completion: Text) -> tuple[str, bool]:
    """Prompt and completion as one text, and whether it is plain."""
    if isinstance(prompt, str) and isinstance(completion, str):
        end = str(tokenizer.eos_token or "")
        return prompt + completion + ("" if completion.endswith(end) else end), True
    messages = [*as_messages(prompt, "user"), *as_messages(completion, "assistant")]
    return str(tokenizer.apply_chat_template(messages, tokenize=False)), False


def _common_prefix(first: list[int], second: list[int]) -> int:
    for i, (x, y) in enumerate(zip(first, second, strict=False)):
        if x != y:
            return i
    return min(len(first), len(second))


def _arithmetic(device: str) -> str:
    """How the device multiplies now, as a part of a key."""
    words = [device, str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else "full"]
    return " ".join(
        [*words, str(getattr(torch.backends.cuda.matmul, "fp32_precision", ""))] if device == "cuda" else words
    )


def _distinct(keys: Sequence[Any]) -> tuple[list[Any], Tensor]:
    """The distinct keys in the order of their first appearance, and where each key is among them."""
    known: dict[Any, int] = {}
    place = torch.tensor([known.setdefault(key, len(known)) for key in keys])
    return list(known), place


def _reference(
    policy: SteerablePolicy, texts: Sequence[tuple[Ids, Ids]], batch_size: int, progress: bool, share: bool
) -> Tensor:
    """`[len(texts)]` log-probabilities of completions after their prompts, under the reference."""
    of_prompt: dict[Ids, list[int]] = {}
    for i, (prompt, _) in enumerate(texts):
        of_prompt.setdefault(prompt, []).append(i)
    # A prompt with very many completions is computed a few times, so that batches stay of one size.
    records = [some[i : i + 4] for some in of_prompt.values() for i in range(0, len(some), 4)]
    order = sorted(
        range(len(records)), key=lambda r: sum(len(texts[i][1]) for i in records[r]) + len(texts[records[r][0]][0])
    )
    # As many for every process: where each holds a part of the weights, all of them have to run every forward.
    order += list(itertools.islice(itertools.cycle(order), -len(order) % PartialState().num_processes))
    zero = torch.zeros(1, len(policy.objectives))

    def score(some: list[int]) -> list[list[float]]:
        prompts = [texts[records[r][0]][0] for r in some]
        completions = [[texts[i][1] for i in records[r]] for r in some]
        with torch.no_grad():
            found = shared_log_probs(policy.model, policy, prompts, completions, zero, share=share)
        sums = iter(found.sums().tolist())
        return [[next(sums) for _ in each] for each in completions]

    was_training = policy.model.training
    policy.model.eval()
    found = _by_processes(order, batch_size, score, "Reference log-probs", progress)
    policy.model.train(was_training)
    values = torch.zeros(len(texts))
    for record, sums in zip(records, found, strict=True):
        values[record] = torch.tensor(sums)
    return values


def _or_kept(cache: PairCache | None, kind: str, key: str | None, make: Callable[[], Tensor]) -> Tensor:
    return make() if cache is None or key is None else cache.get(kind, key, make)


def _by_processes(
    rows: Sequence[int], batch_size: int, score: Callable[[list[int]], list[T]], what: str, progress: bool
) -> list[T]:
    """`score` of batches of rows, each process taking its share: one result for each distinct row, in the order of their numbers."""
    state = PartialState()
    mine = rows[state.process_index :: state.num_processes]
    found: list[tuple[int, T]] = []
    for some in _chunks(mine, batch_size, what, progress):
        found += zip(some, score(some), strict=True)
    return [value for _, value in sorted(dict(gather_object(found)).items())]


def _chunks(rows: Sequence[int], size: int, what: str, progress: bool) -> Iterator[list[int]]:
    starts = range(0, len(rows), size)
    for start in tqdm(starts, desc=what, disable=not progress):
        yield list(rows[start : start + size])
