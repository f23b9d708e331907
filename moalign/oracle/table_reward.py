"""Hands an oracle world's tables to any trainer as a reward on texts."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.text import Text, check_same_length, plain_text


class TableReward:
    """The true rewards of completions given as texts; a `reward_heads.VectorReward`.

    A completion that is not one of the world's (training can break a model so far) counts as the worst there is for its prompt, in every objective. For a
    prompt that is not the world's every objective is NaN (not known).

    Args:
        objectives (`Sequence[str]`): the K names.
        tables (`Tensor`): `[P, S, K]`.
        prompts (`Sequence[str]`): P texts; a conditioned prompt counts as the world prompt that it ends with.
        completions (`Mapping[str, int]`): text to position.
    """

    def __init__(
        self, objectives: Sequence[str], tables: Tensor, prompts: Sequence[str], completions: Mapping[str, int]
    ) -> None:
        self.objectives = tuple(objectives)
        self._tables = tables.float()
        self._worst = self._tables.amin(1)
        self._prompts = tuple(prompts)
        self._completions = completions

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32 on the CPU, every one maximised.

        Raises:
            InputError: the two lists differ in length.
        """
        check_same_length(prompts, completions)
        scores = torch.full((len(prompts), len(self.objectives)), torch.nan)
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            asked, said = self._prompt(plain_text(prompt)), self._completions.get(plain_text(completion))
            if asked is not None:
                scores[row] = self._worst[asked] if said is None else self._tables[asked, said]
        return scores

    def _prompt(self, text: str) -> int | None:
        return next((i for i, prompt in enumerate(self._prompts) if text.endswith(prompt)), None)


def select_tables(names: Sequence[str], known: Sequence[str], tables: Tensor) -> Tensor:
    """The columns of `tables` (`[P, S, C]`, named `known`) in the order of `names`.

    Raises:
        InputError: a name does not exist.
    """
    if isinstance(names, str):
        raise InputError(f"rewards must be a list of names, found one string: write ['{names}']")
    for name in names:
        if name not in known:
            raise unknown_name("reward", name, known)
    return tables[..., [list(known).index(name) for name in names]]
