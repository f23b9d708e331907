"""How a head came about: what it was fitted to, and what the held-out rows said about each penalty."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from frontier.errors import InputError, unknown_name


@dataclass(frozen=True)
class HeadFit:
    """The choice of a penalty.

    Args:
        objective (`str`): name.
        labels (`str`): `"ratings"`, `"pairs"`, `"flags"`, or several joined by `+`.
        n (`int`): known labels.
        alpha (`float`): the penalty that was chosen.
        alphas (`tuple[float, ...]`): the penalties that were tried.
        held_out (`tuple[float, ...]`): mean loss on held-out rows for each: squared error in standard deviations squared (ratings), or nats; 0 where a single row left nothing to hold out.
        nats (`float`, *optional*): by how many nats a score difference of 1 moves a preference: 1, unless there are ratings too; `None` with ratings alone, which don't say.
    """

    objective: str
    labels: str
    n: int
    alpha: float
    alphas: tuple[float, ...]
    held_out: tuple[float, ...]
    nats: float | None

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "HeadFit":
        """Read what [`HeadFit.to_json`] wrote.

        Raises:
            InputError: a field is missing or unknown.
        """
        fields = tuple(cls.__dataclass_fields__)
        for name in data:
            if name not in fields:
                raise unknown_name("field of a head's fit", name, fields)
        for name in fields:
            if name not in data:
                raise InputError(f"a head's fit lacks the field '{name}'")
        return cls(
            objective=str(data["objective"]),
            labels=str(data["labels"]),
            n=int(data["n"]),
            alpha=float(data["alpha"]),
            alphas=tuple(float(alpha) for alpha in data["alphas"]),
            held_out=tuple(float(loss) for loss in data["held_out"]),
            nats=None if data["nats"] is None else float(data["nats"]),
        )
