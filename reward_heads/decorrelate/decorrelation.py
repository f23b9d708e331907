r"""Take length, or another objective, out of rewards: a correction that travels with them.

$r'_i(x, y) = r_i(x, y) - c_i(z)$, where z is log(1 + length of y) and $c_i$ a curve (the mean reward at each length), or z is the score of another objective v and
$c_i(z) = \lambda_i z$: the transform $T = I - e_v \lambda^\top$, $r' = T^\top r$, of ArmoRM ([Wang et al., 2024](https://huggingface.co/papers/2406.12845)). Its released code computes T and then trains and
judges its gate on rewards without it; here it is a `Transform`, which nothing that scores can leave out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.decorrelate.curve import Curve
from reward_heads.decorrelate.length import Length
from reward_heads.text import Text

_FIELDS = ("objectives", "against", "terms")


@dataclass(frozen=True)
class Decorrelation:
    """A `Transform` that subtracts from each objective what follows the length or another objective; make one with `fit_decorrelation`.

    It sees one completion at a time. So it takes out length as such, not length relative to the other answers to a prompt: nobody knows those when one completion is scored.

    Args:
        objectives (`tuple[str, ...]`): K names.
        against (`Length` or `str`): what is taken out: the length of the completion, or the objective of that name, which itself stays as it is.
        terms (`tuple[Curve | float, ...]`): K; for length a curve over log(1 + length), for an objective the penalty λ; 0.0 = left as it is.

    Raises:
        InputError: an unknown objective, a term too many or too few, of the wrong kind or not finite.

    Example:
        >>> wordy = Decorrelation(("helpful", "wordy"), "wordy", (0.5, 0.0))
        >>> wordy(torch.tensor([[3.0, 2.0]]), ["Hi."], ["Hello there."])  # 3 − 0.5 · 2
        tensor([[2., 2.]])
    """

    kind: ClassVar[str] = "decorrelation"

    objectives: tuple[str, ...]
    against: Length | str
    terms: tuple[Curve | float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", check_objectives(self.objectives))
        terms = tuple(term if isinstance(term, Curve) else float(term) for term in self.terms)
        object.__setattr__(self, "terms", terms)
        if len(terms) != len(self.objectives):
            raise InputError(
                f"a decorrelation needs one term for each of {len(self.objectives)} objectives, found {len(terms)}"
            )
        by_length = isinstance(self.against, Length)
        if not by_length and self.against not in self.objectives:
            raise unknown_name("objective to decorrelate from", str(self.against), self.objectives)
        for name, term in zip(self.objectives, terms, strict=True):
            if isinstance(term, Curve) != by_length and term != 0.0:
                raise InputError(
                    f"objective '{name}': {'a curve over the length' if by_length else 'a penalty'} is needed, found {term}"
                )
            if isinstance(term, float) and not abs(term) < float("inf"):
                raise InputError(f"objective '{name}': the penalty must be finite, found {term}")
            if name == self.against and term != 0.0:
                raise InputError(
                    f"objective '{name}' can't be decorrelated from itself: its penalty must be 0, found {term}"
                )

    def __call__(self, scores: Tensor, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` scores to `[B, K]` corrected ones; what needs a score that is not known (NaN) is not known."""
        if scores.dim() != 2 or scores.shape[1] != len(self.objectives) or len(scores) != len(completions):
            raise InputError(f"scores must be [{len(completions)}, {len(self.objectives)}], found {list(scores.shape)}")
        z = self.regressor(scores, completions)
        columns = []
        for column, term in zip(scores.double().unbind(1), self.terms, strict=True):
            if isinstance(term, Curve):
                columns.append(column - term(z))
            else:
                columns.append(column - term * z if term else column)
        return torch.stack(columns, dim=1).to(scores.dtype)

    def regressor(self, scores: Tensor, completions: Sequence[Text]) -> Tensor:
        """`[B]` float64: z, what the terms are functions of."""
        if isinstance(self.against, Length):
            return self.against.log(completions)
        return scores[:, self.objectives.index(self.against)].double()

    @property
    def matrix(self) -> Tensor:
        """`[K, K]` float64: T, with r' = Tᵀ r, of a decorrelation from an objective.

        Raises:
            InputError: this one is from length, a function of the text that no matrix of scores holds.
        """
        if isinstance(self.against, Length):
            raise InputError(
                "a decorrelation from length is no linear map of the scores: it has no matrix and can't be folded into a head (see erase_length)"
            )
        found = torch.eye(len(self.objectives), dtype=torch.float64)
        found[self.objectives.index(self.against)] -= torch.tensor(self.terms, dtype=torch.float64)
        return found

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`; [`Decorrelation.from_json`] reads it back exactly."""
        against = {"length": self.against.unit} if isinstance(self.against, Length) else {"objective": self.against}
        terms = [term.to_json() if isinstance(term, Curve) else term for term in self.terms]
        return {"objectives": list(self.objectives), "against": against, "terms": terms}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Decorrelation":
        """Read what [`Decorrelation.to_json`] wrote.

        Raises:
            InputError: a field is missing, unknown or wrong.
        """
        for field in data:
            if field not in _FIELDS:
                raise unknown_name("field of a decorrelation", field, _FIELDS)
        for field in _FIELDS:
            if field not in data:
                raise InputError(f"decorrelation: field '{field}' is missing; it needs {', '.join(_FIELDS)}")
        against = data["against"]
        if not isinstance(against, Mapping) or set(against) not in ({"length"}, {"objective"}):
            raise InputError(
                f"decorrelation: field 'against' must be {{'length': unit}} or {{'objective': name}}, found {against!r}"
            )
        return cls(
            tuple(data["objectives"]),
            Length(against["length"]) if "length" in against else str(against["objective"]),
            tuple(Curve.from_json(term) if isinstance(term, Mapping) else float(term) for term in data["terms"]),
        )
