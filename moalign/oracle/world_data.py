"""Preference pairs and ratings of an oracle world, for trainers that learn from data."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from moalign.oracle.config import WorldConfig
from moalign.oracle.sampling import assign_groups, bradley_terry, by_name, draw_completions, hide

Record = dict[str, Any]


class WorldData:
    """The part of an `OracleWorld` that draws records in moalign's formats, labelled from the true rewards."""

    config: WorldConfig
    prompts: tuple[str, ...]
    completions: tuple[str, ...]
    log_reference: Tensor

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the K objectives, in the order of every weight vector."""
        return self.config.objectives

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the G user groups."""
        return self.config.groups

    def tables_of(self, names: Sequence[str]) -> Tensor:
        """`[P, S, len(names)]` of any rewards by name."""
        raise NotImplementedError

    def sample_pairs(
        self,
        n: int,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        *,
        scale: float = 1.0,
        probabilities: bool = False,
        missing: float = 0.0,
        log_probs: Tensor | None = None,
    ) -> list[Record]:
        """Preference pairs (moalign's record format) labelled by Bradley-Terry annotators who see the true rewards.

        Args:
            n (`int`): pairs.
            names (`Sequence[str]`, *optional*): the rewards to label by; the objectives by default.
            generator (`torch.Generator`, *optional*): seeded with 0 by default.
            scale (`float`, *optional*, defaults to 1): nats per unit of reward.
            probabilities (`bool`, *optional*, defaults to `False`): label with the probability instead of a draw.
            missing (`float`, *optional*, defaults to 0): share of the labels left out (`None`), never all of a pair.
            log_probs (`Tensor`, *optional*): the policy that completions come from; the reference by default.
        """
        names = tuple(names or self.objectives)
        generator = generator or torch.Generator().manual_seed(0)
        prompts, drawn = self._draw(n, log_probs, generator, 2)
        tables = self.tables_of(names)
        first, second = tables[prompts, drawn[:, 0]], tables[prompts, drawn[:, 1]]
        labels = bradley_terry(first, second, generator, scale=scale, probabilities=probabilities)
        rows = hide(labels, missing, generator).tolist()
        return [
            {
                "prompt": self.prompts[prompt],
                "completion_a": self.completions[a],
                "completion_b": self.completions[b],
                "labels": by_name(names, row),
                "user": None,
            }
            for prompt, (a, b), row in zip(prompts.tolist(), drawn.tolist(), rows, strict=True)
        ]

    def sample_user_pairs(
        self, n: int, users: int, generator: torch.Generator | None = None, *, name: str = "liked", scale: float = 1.0
    ) -> tuple[list[Record], dict[str, str]]:
        """Pairs labelled by users, each of whom belongs to one group and prefers by its reward: what finding the groups starts from.

        Args:
            n (`int`): pairs, dealt to the users in turn.
            users (`int`): at least one per group; the groups' sizes follow `config.shares`.
            generator (`torch.Generator`, *optional*): seeded with 0 by default.
            name (`str`, *optional*, defaults to `"liked"`): the one objective that labels are given under.
            scale (`float`, *optional*, defaults to 1): nats per unit of reward.

        Returns:
            the records, and each user's true group.
        """
        generator = generator or torch.Generator().manual_seed(0)
        member = assign_groups(users, cast("tuple[float, ...]", self.config.shares), generator)
        group_of = {f"user{u + 1}": self.groups[group] for u, group in enumerate(member)}
        records = self.sample_pairs(n, self.groups, generator, scale=scale)
        for i, record in enumerate(records):
            record["user"] = f"user{i % users + 1}"
            record["labels"] = {name: record["labels"][group_of[record["user"]]]}
        return records, group_of

    def sample_ratings(
        self,
        n: int,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        *,
        noise: float = 0.0,
        missing: float = 0.0,
        log_probs: Tensor | None = None,
    ) -> list[Record]:
        """Ratings (moalign's record format): the true rewards plus normal noise of standard deviation `noise`; other arguments as for `sample_pairs`."""
        names = tuple(names or self.objectives)
        generator = generator or torch.Generator().manual_seed(0)
        prompts, drawn = self._draw(n, log_probs, generator, 1)
        scores = self.tables_of(names)[prompts, drawn[:, 0]]
        scores = scores + noise * torch.randn(scores.shape, generator=generator, dtype=torch.float64)
        rows = hide(scores, missing, generator).tolist()
        return [
            {"prompt": self.prompts[p], "completion": self.completions[s], "scores": by_name(names, row), "user": None}
            for p, (s,), row in zip(prompts.tolist(), drawn.tolist(), rows, strict=True)
        ]

    def _draw(self, n: int, log_probs: Tensor | None, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        return draw_completions(n, self.log_reference if log_probs is None else log_probs, generator, count)
