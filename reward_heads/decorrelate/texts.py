"""The distinct texts of labelled rows, and which of them the labels compare."""

import math
import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.accuracy import Accuracy, agreement
from reward_heads.examples import read_examples
from reward_heads.text import Text, text_key

# Ratings of one prompt are all compared with each other up to so many texts; of more, each with so many others: all pairs would grow with their square.
_ALL_UP_TO = 50
_PARTNERS = 20


@dataclass(frozen=True)
class ComparedTexts:
    """N distinct texts and M comparisons between them.

    Args:
        prompts (`list[Text]`), completions (`list[Text]`): N.
        groups (`list[Hashable]`): N; texts of one group share their prompt.
        a (`list[int]`), b (`list[int]`): M positions of texts.
        labels (`Tensor`): `[M, K]`, the probability that a is better; NaN = missing.
    """

    prompts: list[Text]
    completions: list[Text]
    groups: list[Hashable]
    a: list[int]
    b: list[int]
    labels: Tensor

    def accuracy(self, scores: Tensor) -> list[Accuracy]:
        """How often `[N, K]` scores rank as labelled, per objective; see `reward_heads.accuracy`."""
        return agreement(scores[self.a] - scores[self.b], self.labels)


def read_texts(rows: Iterable[Mapping[str, Any]], objectives: Sequence[str]) -> ComparedTexts:
    """Rows of pairs and ratings, labelled or not; ratings of one prompt are compared with each other (above 50 of them, each with 20 others drawn at random).

    Raises:
        InputError: a row is broken, or there is none.
    """
    examples = read_examples([_with_labels(row) for row in rows], objectives, what="rows", ignore_others=True)
    at: dict[Hashable, int] = {}
    prompts: list[Text] = []
    completions: list[Text] = []
    groups: list[Hashable] = []

    def place(prompt: Text, completion: Text) -> int:
        key = (text_key(prompt), text_key(completion))
        if key not in at:
            at[key] = len(prompts)
            prompts.append(prompt)
            completions.append(completion)
            groups.append(key[0])
        return at[key]

    pairs: list[tuple[int, int]] = []
    compared: list[Sequence[float]] = []
    at_rating: list[int] = []
    ratings: list[Sequence[float]] = []
    rated: dict[Hashable, list[int]] = {}
    for example in examples:
        first = place(example.prompt, example.completion)
        if example.other is not None:
            pairs.append((first, place(example.prompt, example.other)))
            compared.append(example.targets)
        elif not all(map(math.isnan, example.targets)):
            rated.setdefault(groups[first], []).append(len(ratings))
            at_rating.append(first)
            ratings.append(example.targets)
    if not prompts:
        raise InputError("there are no rows to measure a decorrelation on")
    rng = random.Random(0)
    drawn = [pair for group in rated.values() for pair in _comparisons(group, rng)]
    i, j = torch.tensor(drawn, dtype=torch.int64).reshape(-1, 2).T
    values = torch.tensor(ratings, dtype=torch.float64).reshape(-1, len(objectives))
    difference = values[i] - values[j]
    order = (difference.sign() / 2 + 0.5).where(~difference.isnan(), math.nan)
    labels = torch.cat([torch.tensor(compared).reshape(-1, len(objectives)), order.float()])
    pairs += [(at_rating[left], at_rating[right]) for left, right in drawn]
    return ComparedTexts(prompts, completions, groups, [a for a, _ in pairs], [b for _, b in pairs], labels)


def folds_of(groups: Sequence[Hashable], folds: int, seed: int) -> Tensor:
    """`[N]` int64: the fold of each row; rows of one group share a fold, and folds have about the same number of groups."""
    order = list(dict.fromkeys(groups))
    random.Random(seed).shuffle(order)
    fold = {group: index % folds for index, group in enumerate(order)}
    return torch.tensor([fold[group] for group in groups])


def usable_folds(folds: Tensor, count: int) -> Tensor:
    """The folds, or `[N]` others that part the rows one by one where all share a fold: with one group there is nothing else to part."""
    return folds if len(folds.unique()) > 1 else torch.arange(len(folds)) % count


def split_rows(rows: Iterable[Mapping[str, Any]], share: float, seed: int) -> tuple[list[Any], list[Any]]:
    """Rows for fitting and rows held out; rows of one prompt stay together.

    Raises:
        InputError: `share` is not between 0 and 1, or there are not two prompts.
    """
    if not 0 < share < 1:
        raise InputError(f"held_out must be between 0 and 1, found {share}")
    listed = list(rows)
    keys = [
        text_key(row["prompt"]) if isinstance(row, Mapping) and isinstance(row.get("prompt"), str | list) else None
        for row in listed
    ]
    order = list(dict.fromkeys(keys))
    if len(order) < 2:
        raise InputError(
            f"a part can be held out only from at least 2 prompts, found {len(order)}: give the rows to hold out yourself"
        )
    random.Random(seed).shuffle(order)
    out = set(order[: min(max(1, round(share * len(order))), len(order) - 1)])
    fit = [row for row, key in zip(listed, keys, strict=True) if key not in out]
    return fit, [row for row, key in zip(listed, keys, strict=True) if key in out]


def _comparisons(group: Sequence[int], rng: random.Random) -> list[tuple[int, int]]:
    if len(group) <= _ALL_UP_TO:
        return list(combinations(group, 2))
    found = set()
    for left in range(len(group)):
        for other in rng.sample(range(len(group) - 1), _PARTNERS):
            right = other + (other >= left)
            found.add((min(left, right), max(left, right)))
    return [(group[left], group[right]) for left, right in sorted(found)]


def _with_labels(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Texts alone are enough here: labels only tell what a correction costs."""
    if not isinstance(row, Mapping):
        return row
    empty: dict[str, Any] = {field: {} for field in ("labels", "scores") if row.get(field) is None}
    return {**row, **empty}
