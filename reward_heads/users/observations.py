"""Read who preferred what into numbers, and hold some of each user's pairs out."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.examples import Example, labelled_objectives, read_examples
from reward_heads.text import Text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UserPairs:
    """N labelled pairs and whose they are.

    Args:
        users (`tuple[str, ...]`): every user, those without a pair too.
        user_of (`Tensor`): `[N]` int64, the position in `users` of each pair's user.
        labels (`Tensor`): `[N]` float64, the probability that a is better.

    Raises:
        InputError: there are fewer than two users, or no pair; shapes or labels are wrong.
    """

    users: tuple[str, ...]
    user_of: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.user_of.shape != self.labels.shape or self.labels.dim() != 1:
            raise InputError(
                f"one user and one label per pair: found {list(self.user_of.shape)} users and {list(self.labels.shape)} labels"
            )
        if not ((self.labels >= 0) & (self.labels <= 1)).all():
            raise InputError("labels must be the probability in [0, 1] that a is better")
        if not len(self.labels):
            raise InputError("no pair has both a user and a label, so there is nothing to find groups in")
        if len(self.users) < 2:
            raise InputError(f"groups are of users, and there is only one: '{self.users[0]}'")

    @classmethod
    def of(cls, users: Sequence[Any], labels: Tensor) -> "tuple[UserPairs, Tensor]":
        """From one user (`None` or NaN = unknown) and one label (NaN = missing) per pair.

        Returns:
            the pairs that have both, and their positions `[N]` among those given; how many were left out is logged.

        Raises:
            InputError: no pair is left, there is only one user, or a label is outside [0, 1].
        """
        values = labels.detach().to("cpu", torch.float64)
        if values.dim() != 1 or len(users) != len(values):
            raise InputError(f"one user per label: found {len(users)} users and labels {list(values.shape)}")
        # Numbers of a tensor or an array would be called by their types, "tensor(3)".
        given = users.tolist() if hasattr(users, "tolist") else list(users)
        named = [
            None if user is None or user != user else str(user) for user in given
        ]  # NaN: what pandas makes of None
        names = tuple(dict.fromkeys(name for name in named if name is not None))
        at = {name: index for index, name in enumerate(names)}
        known = torch.tensor([name is not None for name in named], dtype=torch.bool)
        rows = (known & ~values.isnan()).nonzero().squeeze(1)
        for what, lacking in (("user", ~known), ("label", values.isnan())):
            if lacking.any():
                logger.warning("%d of %d pairs have no %s and are left out", int(lacking.sum()), len(values), what)
        user_of = torch.tensor([at[str(named[row])] for row in rows.tolist()], dtype=torch.long)
        return cls(names, user_of, values[rows]), rows

    @classmethod
    def of_features(
        cls, features_a: Tensor, features_b: Tensor, labels: Tensor, users: Sequence[Any]
    ) -> "tuple[UserPairs, Tensor]":
        """From the features `[N, d]` of both completions of each pair, and labels and users as for [`UserPairs.of`].

        Returns:
            the pairs that have a user and a label, and their differences a − b, `[n, d]` float64 on the CPU.

        Raises:
            InputError: shapes differ, or as for [`UserPairs.of`].
        """
        if features_a.shape != features_b.shape or features_a.dim() != 2 or len(features_a) != len(users):
            raise InputError(
                f"features must both be [{len(users)}, d], one row per user given, found {list(features_a.shape)} and {list(features_b.shape)}"
            )
        pairs, kept = cls.of(users, labels)
        return pairs, (features_a.detach().cpu().double() - features_b.detach().cpu().double())[kept]

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, held_out: float, seed: int) -> tuple[Tensor, Tensor]:
        """Positions of the pairs to train on and of those held out: the same share of each user's, who keeps at least one to train on.

        Raises:
            InputError: pairs should be held out, but no user has two.
        """
        generator = torch.Generator().manual_seed(seed)
        shuffled = torch.randperm(len(self), generator=generator)
        by_user = shuffled[self.user_of[shuffled].argsort(stable=True)]
        counts = torch.bincount(self.user_of, minlength=len(self.users))
        rank = torch.arange(len(self)) - (counts.cumsum(0) - counts)[self.user_of[by_user]]
        kept_out = torch.minimum((held_out * counts.double() + 0.5).floor().long(), counts - 1)
        held = torch.zeros(len(self), dtype=torch.bool)
        held[by_user] = rank < kept_out[self.user_of[by_user]]
        if held_out and not held.any():
            raise InputError(
                f"no user has enough pairs to hold {held_out:g} of them out: give more pairs per user, or the number of groups with held_out 0"
            )
        return (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)


def both_sides(examples: Sequence[Example]) -> tuple[list[Text], list[Text]]:
    """Prompts and completions of pairs for one call that reads both: first all completions a, then all b."""
    others = [example.other for example in examples if example.other is not None]
    return [example.prompt for example in examples] * 2, [example.completion for example in examples] + others


def read_user_pairs(
    pairs: Iterable[Mapping[str, Any]], objective: str | None = None
) -> tuple[UserPairs, list[Example], str]:
    """Rows of pairs with a `user`, ready for the search.

    Args:
        pairs (`Iterable[Mapping]`): rows with `prompt`, `completion_a`, `completion_b`, `labels`, `user`.
        objective (`str`, *optional*): whose labels tell what a user prefers; needed where several are labelled.

    Returns:
        the pairs that have a user and a label, their texts, and the objective.

    Raises:
        InputError: a row is broken or a rating, no pair is left, there is only one user, or it is not clear which objective is meant.
    """
    rows = list(pairs)
    labelled = labelled_objectives(rows)
    if not labelled:
        raise InputError("pairs: no row has a label, so nobody is known to prefer anything")
    if objective is None and len(labelled) > 1:
        raise InputError(f"pairs are labelled for {', '.join(labelled)}: say which objective tells what users prefer")
    if objective is not None and objective not in labelled:
        raise unknown_name("objective", objective, labelled)
    name = objective or labelled[0]
    examples = read_examples(rows, (name,), what="pairs", ignore_others=True)
    for number, example in enumerate(examples):
        if not example.is_pair:
            raise InputError(f"pairs, row {number}: is a rating, which compares nothing")
    labels = torch.tensor([example.targets[0] for example in examples], dtype=torch.float64)
    known, kept = UserPairs.of([row.get("user") for row in rows], labels)
    return known, [examples[row] for row in kept.tolist()], name
