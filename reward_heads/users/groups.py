"""The reward models of user groups, saved as one ordinary reward folder."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontier.atomic import write_text
from frontier.errors import InputError
from reward_heads.bradley_terry import BradleyTerryScale, scale_of_differences
from reward_heads.examples import Example, read_examples
from reward_heads.model import TransformerReward
from reward_heads.users.grouping import Grouping
from reward_heads.users.observations import read_user_pairs
from reward_heads.vector_reward import score_checked

FILE_NAME = "groups.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class UserGroups(Grouping):
    """Groups of users with one reward each, as [`fit_user_groups`] finds them.

    Args:
        reward (`TransformerReward`): its objectives are the groups. Score differences are log-odds that a user of the group prefers one; 0 is the mean
            over the training completions. Levels and scales of groups compare only after a `Normalizer` measured on the reference policy.
        objective (`str`): under which the users' labels stood.
    """

    reward: TransformerReward
    objective: str

    def posterior(self, pairs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        """The probability of each group for someone new, from any number of labelled pairs; without any, the shares.

        Args:
            pairs (`Iterable[Mapping]`): rows as for [`fit_user_groups`], all of one user (who need not be named); unlabelled ones say nothing.

        Raises:
            InputError: a row is broken or a rating.
        """
        examples = read_examples(pairs, (self.objective,), what="pairs", ignore_others=True)
        labels = torch.tensor([example.targets[0] for example in examples], dtype=torch.float64)
        known = (~labels.isnan()).nonzero().squeeze(1)
        return self.posterior_of(self._differences([examples[row] for row in known.tolist()]), labels[known])

    def bradley_terry_scale(self, pairs: Iterable[Mapping[str, Any]]) -> BradleyTerryScale:
        """Nats per unit of each group's reward, on pairs of users that were seen, weighted by their responsibilities.

        Args:
            pairs (`Iterable[Mapping]`): rows with a `user`; better others than those learned from, on which every reward looks surer than it is.

        Raises:
            InputError: a row is broken, a user was not seen, or a group has no finite scale.
        """
        known, examples, _ = read_user_pairs(pairs, self.objective)
        for user in known.users:
            self.assign(user)
        at = torch.tensor([self.users.index(user) for user in known.users])
        weights = self.responsibilities[at[known.user_of]]
        differences = self._differences(examples)
        return scale_of_differences(
            differences, known.labels[:, None].expand_as(differences), self.names, weights=weights
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the reward (see [`TransformerReward.save_pretrained`]), and beside it `groups.json`: users, responsibilities, the likelihood table."""
        (Path(folder) / FILE_NAME).unlink(missing_ok=True)  # old users must not stand beside a new reward
        self.reward.save_pretrained(folder)
        content = {"schema_version": SCHEMA_VERSION, "objective": self.objective, **self.to_json()}
        write_text(Path(folder) / FILE_NAME, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], **settings: Any) -> "UserGroups":
        """Read what [`UserGroups.save`] wrote.

        Args:
            folder (`str` or path): the folder.
            **settings: of `TransformerReward.from_pretrained` (`device`, `dtype`, `batch_size`).

        Raises:
            InputError: the folder has no groups, a field of `groups.json` is missing, unknown or wrong, or contradicts the model.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise InputError(f"{folder} holds no user groups: it has no {FILE_NAME}")
        try:
            content = dict(json.loads(path.read_text(encoding="utf-8")))
            if content.pop("schema_version", None) != SCHEMA_VERSION:
                raise InputError(f"field 'schema_version' must be {SCHEMA_VERSION}")
            objective = str(content.pop("objective", ""))
            grouping = Grouping.from_json(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{path}: not valid: {error}") from error
        reward = TransformerReward.from_pretrained(folder, **settings)
        if reward.objectives != grouping.names:
            raise InputError(
                f"{path} has the groups {', '.join(grouping.names)}, but the reward model beside it {', '.join(reward.objectives)}"
            )
        return cls(**vars(grouping), reward=reward, objective=objective)

    def _differences(self, examples: list[Example]) -> Tensor:
        prompts = [example.prompt for example in examples]
        others = [example.other for example in examples if example.other is not None]
        if len(others) < len(examples):
            raise InputError("pairs: a row is a rating, which compares nothing")
        scores = score_checked(self.reward, prompts * 2, [example.completion for example in examples] + others)
        return (scores[: len(examples)] - scores[len(examples) :]).double()
