"""Score labelled rows once, so that every diagnosis looks at the same numbers."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from frontier.errors import InputError, unknown_name
from reward_heads.diagnose.intervals import Floats, Ints
from reward_heads.examples import read_examples
from reward_heads.text import Text, text_key
from reward_heads.vector_reward import VectorReward, score_checked


@dataclass(frozen=True)
class ScoredRows:
    """U distinct texts with K scores each, N labelled pairs and M ratings of them.

    Args:
        objectives (`tuple[str, ...]`): K names.
        prompts, completions (`tuple[Text, ...]`): U texts.
        scores (`NDArray`): `[U, K]` float64; NaN = not known.
        prompt_of (`NDArray`): `[U]`, which texts share a prompt.
        cluster_of (`NDArray`): `[U]`, which texts hang together: the `document` of the first row they stand in, or else the prompt.
        a, b (`NDArray`): `[N]`, positions of the two texts of each pair.
        labels (`NDArray`): `[N, K]`, probability that a is better; NaN = missing.
        text (`NDArray`): `[M]`, position of each rated text.
        ratings (`NDArray`): `[M, K]`; NaN = missing.
        pair_clusters, rating_clusters (`NDArray`): `[N]`, `[M]`, which rows hang together, in the numbers of `cluster_of`.
        pair_users, rating_users (`tuple`): the row's `user` or `rater`; `None` where it has none.
        pair_rows, rating_rows (`tuple[int, ...]`): positions among the rows that were given.
    """

    objectives: tuple[str, ...]
    prompts: tuple[Text, ...]
    completions: tuple[Text, ...]
    scores: Floats
    prompt_of: Ints
    cluster_of: Ints
    a: Ints
    b: Ints
    labels: Floats
    text: Ints
    ratings: Floats
    pair_clusters: Ints
    rating_clusters: Ints
    pair_users: tuple[str | None, ...]
    rating_users: tuple[str | None, ...]
    pair_rows: tuple[int, ...]
    rating_rows: tuple[int, ...]

    @cached_property
    def differences(self) -> Floats:
        """`[N, K]`, score of a minus score of b."""
        return self.scores[self.a] - self.scores[self.b]

    def index(self, objective: str) -> int:
        """The column of an objective.

        Raises:
            InputError: there is none of this name.
        """
        if objective not in self.objectives:
            raise unknown_name("objective", objective, self.objectives)
        return self.objectives.index(objective)

    def with_scores(self, scores: ArrayLike) -> "ScoredRows":
        """The same rows under another reward's scores `[U, K]` of the texts.

        Raises:
            InputError: the shape is another.
        """
        found = np.asarray(scores, dtype=np.float64)
        if found.shape != self.scores.shape:
            raise InputError(f"scores must be {list(self.scores.shape)}, found {list(found.shape)}")
        return replace(self, scores=found)

    def rated_pairs(self, objective: str, most: int = 200_000) -> tuple[Ints, Ints, Floats]:
        """Comparisons that ratings imply: of completions of one prompt with different ratings (a text's mean where it has several).

        Args:
            objective (`str`): whose ratings.
            most (`int`, *optional*, defaults to 200000): pairs at most, those with equal ratings included; of more, a random sample, always the same.

        Returns:
            positions `[P]` of the two texts, and `[P]` labels, 1 where the first is better, else 0.
        """
        values = self.ratings[:, self.index(objective)]
        known = ~np.isnan(values)
        texts, inverse = np.unique(self.text[known], return_inverse=True)
        means = np.bincount(inverse, values[known]) / np.maximum(np.bincount(inverse), 1)
        first, second = pairs_within(self.prompt_of[texts], most)
        differ = means[first] != means[second]
        return texts[first][differ], texts[second][differ], (means[first] > means[second])[differ].astype(np.float64)


def score_rows(reward: VectorReward, rows: Iterable[Mapping[str, Any]], *, what: str = "rows") -> ScoredRows:
    """Score the distinct texts of labelled rows, once each.

    Args:
        reward (`VectorReward`): K objectives; labels of others are ignored.
        rows (`Iterable[Mapping]`): pairs and ratings, see `reward_heads.examples.read_examples`. A `document` tells which prompts hang together, a `user` (or
            `rater`) who labelled; `None` and NaN mean that it is not known.
        what (`str`, *optional*): how messages call the rows.

    Raises:
        InputError: there is no row, or a row is broken.
    """
    listed = list(rows)
    if not listed:
        raise InputError(f"{what}: there are no rows to look at")
    examples = read_examples(listed, reward.objectives, what=what, ignore_others=True)
    texts: dict[tuple[Hashable, Hashable], tuple[Text, Text, Hashable]] = {}
    found: list[tuple[int, int]] = []
    numbers: dict[tuple[Hashable, Hashable], int] = {}
    clusters: list[Hashable] = []
    for row, example in zip(listed, examples, strict=True):
        document = _known(row, "document")
        cluster = text_key(example.prompt) if document is None else ("document", str(document))
        clusters.append(cluster)
        at = []
        for completion in (example.completion, example.other):
            if completion is None:
                at.append(-1)
                continue
            key = (text_key(example.prompt), text_key(completion))
            texts.setdefault(key, (example.prompt, completion, cluster))
            at.append(numbers.setdefault(key, len(numbers)))
        found.append((at[0], at[1]))
    prompts, completions, text_clusters = zip(*texts.values(), strict=True)
    cluster_numbers = _numbered([*clusters, *text_clusters])
    targets = np.array([example.targets for example in examples], dtype=np.float64)
    targets = targets.reshape(len(examples), len(reward.objectives))
    users = [None if (user := _known(row, "user", "rater")) is None else str(user) for row in listed]
    pairs = [i for i, example in enumerate(examples) if example.is_pair]
    rated = [i for i, example in enumerate(examples) if not example.is_pair]
    positions = np.array(found, dtype=np.int64)
    return ScoredRows(
        objectives=tuple(reward.objectives),
        prompts=prompts,
        completions=completions,
        scores=score_checked(reward, list(prompts), list(completions)).double().numpy(),
        prompt_of=_numbered([key[0] for key in texts]),
        cluster_of=cluster_numbers[len(clusters) :],
        a=positions[pairs, 0],
        b=positions[pairs, 1],
        labels=targets[pairs],
        text=positions[rated, 0],
        ratings=targets[rated],
        pair_clusters=cluster_numbers[pairs],
        rating_clusters=cluster_numbers[rated],
        pair_users=tuple(users[i] for i in pairs),
        rating_users=tuple(users[i] for i in rated),
        pair_rows=tuple(pairs),
        rating_rows=tuple(rated),
    )


def pairs_within(groups: Ints, most: int, seed: int = 0) -> tuple[Ints, Ints]:
    """Every two positions that are in one group.

    Args:
        groups (`NDArray`): `[N]`.
        most (`int`): pairs at most; of more, a random sample without repetition.
        seed (`int`, *optional*, defaults to 0): the same seed draws the same sample.

    Returns:
        the lower and the higher position of each pair.

    Example:
        >>> [ends.tolist() for ends in pairs_within(np.array([7, 8, 7, 7]), most=10)]
        [[0, 0, 2], [2, 3, 3]]
    """
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    ends = np.cumsum(sizes * (sizes - 1) // 2)
    total = int(ends[-1]) if len(ends) else 0
    if total <= most:
        chosen = np.arange(total)
    else:
        chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False, shuffle=False))
    group = np.searchsorted(ends, chosen, side="right")
    # In a group the pairs (i, j), i < j, are numbered j (j − 1) / 2 + i.
    number = chosen - (ends - sizes * (sizes - 1) // 2)[group]
    j = ((1 + np.sqrt(1 + 8 * number.astype(np.float64))) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > number  # the root of a large number may be rounded up
    i = number - j * (j - 1) // 2
    return order[starts[group] + i], order[starts[group] + j]


def _known(row: Mapping[str, Any], *fields: str) -> Any:
    """The first of the fields that says something; a table's NaN is a missing value."""
    values = (row.get(field) for field in fields)
    return next((v for v in values if v is not None and not (isinstance(v, Real) and v != v)), None)


def _numbered(values: Iterable[Hashable]) -> Ints:
    at: dict[Hashable, int] = {}
    return np.array([at.setdefault(value, len(at)) for value in values], dtype=np.int64)
