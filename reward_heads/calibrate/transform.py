"""Keep what calibration learned as a transform, so that training, evaluation and export all see the calibrated scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.calibrate.isotonic import Isotonic
from reward_heads.calibrate.maps import Affine, Cooled, Identity, ScoreMap
from reward_heads.diagnose.intervals import Floats
from reward_heads.text import Text

_MAPS: dict[str, Any] = {"temperature": Cooled, "affine": Affine, "isotonic": Isotonic, "none": Identity}
_FIELDS = ("objectives", "maps", "source")


@dataclass(frozen=True)
class Calibration:
    """One increasing map per objective; a [`reward_heads.transforms.Transform`].

    Args:
        objectives (`tuple[str, ...]`): K names.
        maps (`tuple[ScoreMap, ...]`): K maps: [`Cooled`] (temperature), [`Affine`], [`Isotonic`] or [`Identity`].
        source (`str`, *optional*): on what they were fitted, for a reader.

    Raises:
        InputError: lengths differ or a name is bad.
    """

    kind: ClassVar[str] = "calibration"
    objectives: tuple[str, ...]
    maps: tuple[ScoreMap, ...]
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", check_objectives(self.objectives))
        if len(self.maps) != len(self.objectives):
            raise InputError(f"calibration: {len(self.maps)} maps for {len(self.objectives)} objectives")

    def __call__(self, scores: Tensor, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` scores to `[B, K]` calibrated ones, computed in float64; NaN stays NaN. The texts don't matter."""
        return torch.from_numpy(self.apply(scores.detach().cpu().double().numpy())).to(scores.dtype)

    def apply(self, scores: Floats) -> Floats:
        """`[..., K]` float64 scores, calibrated.

        Raises:
            InputError: the last dimension is not K.
        """
        if scores.shape[-1:] != (len(self.objectives),):
            raise InputError(
                f"scores must end in {len(self.objectives)} objectives ({', '.join(self.objectives)}), found {list(scores.shape)}"
            )
        return np.stack([a_map(scores[..., k]) for k, a_map in enumerate(self.maps)], axis=-1)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`; [`Calibration.from_json`] reads it back exactly."""
        maps = [a_map.to_json() for a_map in self.maps]
        return {"objectives": list(self.objectives), "maps": maps, "source": self.source}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """Read what [`Calibration.to_json`] wrote.

        Raises:
            InputError: a field is missing, unknown or wrong.
        """
        _check_fields(data, _FIELDS, _FIELDS[:-1], "a calibration")
        return cls(
            tuple(data["objectives"]), tuple(_read(entry) for entry in data["maps"]), str(data.get("source", ""))
        )


def _read(entry: Mapping[str, Any]) -> ScoreMap:
    method = str(entry.get("method", ""))
    if method not in _MAPS:
        raise unknown_name("method of calibration", method, _MAPS)
    of = _MAPS[method]
    names = ("method", *of.__dataclass_fields__)
    _check_fields(entry, names, names, f"the method '{method}'")
    found: ScoreMap = of.from_fields(entry)
    return found


def _check_fields(data: Mapping[str, Any], known: Sequence[str], needed: Sequence[str], what: str) -> None:
    for name in data:
        if name not in known:
            raise unknown_name(f"field of {what}", name, known)
    for name in needed:
        if name not in data:
            raise InputError(f"{what}: field '{name}' is missing; it needs {', '.join(needed)}")
