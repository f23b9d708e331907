"""Make a vector reward from ordinary Python functions: one per objective, or one that returns them all."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.text import Text, check_same_length, plain_text

_LARGEST = torch.finfo(torch.float32).max


class FunctionReward:
    """A reward vector from one function per objective.

    Args:
        functions (`Mapping[str, Callable]`): objective name to `f(prompt, completion) -> float | None`, higher is better. `None` (or
            NaN) means that the score of this completion is not known. The order of the mapping is the order of the objectives.
        raw (`bool`, *optional*, defaults to `False`): hand the functions conversational texts as they are; otherwise they get plain
            strings (the contents of the messages, one a line).

    Raises:
        InputError: no function, a bad name, or a value that is not callable.

    Example:
        >>> reward = FunctionReward({"brief": lambda prompt, completion: -len(completion), "polite": lambda p, c: "please" in c})
        >>> reward.score(["Ask."], ["please"])
        tensor([[-6.,  1.]])
    """

    def __init__(self, functions: Mapping[str, Callable[[Any, Any], float | None]], *, raw: bool = False) -> None:
        self.objectives = check_objectives(list(functions))
        for name, function in functions.items():
            if not callable(function):
                raise InputError(
                    f"the reward of objective '{name}' must be a function of (prompt, completion), found {function!r}"
                )
        self.functions = dict(functions)
        self.raw = raw

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`].

        Raises:
            InputError: the batch does not pair up, or a function returned an infinity or something that is not a number.
        """
        check_same_length(prompts, completions)
        rows = []
        for prompt, completion in zip(prompts, completions, strict=True):
            given = (prompt, completion) if self.raw else (plain_text(prompt), plain_text(completion))
            rows.append([_number(name, function(*given), completion) for name, function in self.functions.items()])
        return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(self.objectives))


class VectorFunctionReward:
    """A reward vector from one function that returns every objective.

    Args:
        objectives (`Sequence[str]`): the K names.
        function (`Callable`): `f(prompt, completion)`, returning K numbers in that order, or a mapping of names to numbers (absent =
            not known); `None` = not known.
        raw (`bool`, *optional*, defaults to `False`): as in [`FunctionReward`].

    Raises:
        InputError: a bad name, or `function` is not callable.
    """

    def __init__(
        self,
        objectives: Sequence[str],
        function: Callable[[Any, Any], Sequence[float | None] | Mapping[str, float | None]],
        *,
        raw: bool = False,
    ) -> None:
        self.objectives = check_objectives(objectives)
        if not callable(function):
            raise InputError(f"a vector reward must be a function of (prompt, completion), found {function!r}")
        self.function = function
        self.raw = raw

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`].

        Raises:
            InputError: the batch does not pair up, or the function returned a wrong number of values, an unknown name, an infinity or
                something that is not a number.
        """
        check_same_length(prompts, completions)
        rows = []
        for prompt, completion in zip(prompts, completions, strict=True):
            given = (prompt, completion) if self.raw else (plain_text(prompt), plain_text(completion))
            values = self._in_order(self.function(*given))
            rows.append([_number(name, value, completion) for name, value in zip(self.objectives, values, strict=True)])
        return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(self.objectives))

    def _in_order(self, values: Sequence[float | None] | Mapping[str, float | None]) -> Sequence[float | None]:
        if isinstance(values, Mapping):
            for name in values:
                if name not in self.objectives:
                    raise unknown_name("objective", name, self.objectives)
            return [values.get(name) for name in self.objectives]
        if len(values) != len(self.objectives):
            raise InputError(
                f"expected {len(self.objectives)} scores ({', '.join(self.objectives)}), found {len(values)}: {values!r}"
            )
        return values


def _number(objective: str, value: Any, completion: Text) -> float:
    """The value as a float, `None` as NaN."""
    if value is None:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        found = f"{value!r} for the completion {_excerpt(completion)}"
        raise InputError(f"objective '{objective}': a reward must be a number or None, found {found}") from error
    if not (math.isnan(number) or abs(number) <= _LARGEST):
        found = f"{number} for the completion {_excerpt(completion)}"
        raise InputError(
            f"objective '{objective}': a reward must be finite in float32, or None when it is not known; found {found}"
        )
    return number


def _excerpt(text: Text) -> str:
    words = plain_text(text)
    return repr(words if len(words) <= 60 else words[:57] + "...")
