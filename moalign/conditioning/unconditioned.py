"""Tell the policy nothing: one model, trained for one preference or for a rule that weighs the objectives itself."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from moalign.conditioning.base import Text

ADAPTER = "policy"


class Unconditioned:
    """One adapter, the same at every preference: one model per preference, max-min over groups, a constrained optimum.

    Args:
        objectives (`Sequence[str]`): the K objectives of its rewards.
    """

    kind = "none"
    linear = False
    adapters: tuple[str, ...] = (ADAPTER,)

    def __init__(self, objectives: Sequence[str]) -> None:
        self.objectives = tuple(objectives)

    def mixing(self, weights: Tensor) -> Tensor:
        """1 in every row, 0 for the reference policy."""
        return (weights != 0).any(-1, keepdim=True).to(weights.dtype)

    def prompts(self, prompts: Sequence[Text], weights: Tensor) -> list[Text]:
        """The prompts as they are."""
        return list(prompts)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": self.kind, "adapters": list(self.adapters)}
