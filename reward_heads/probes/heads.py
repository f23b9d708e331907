"""Linear heads on features, with what is left to doubt about each score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.probes.spectrum import Array, Spectrum


@dataclass(frozen=True)
class Head:
    r"""One objective: $s(f) = \text{level} + \beta \cdot z$ with $z = (f - \text{centre}) / \text{unit}$.

    After the fit, β is Gaussian with covariance $\sigma^2 (H + \alpha I)^{-1}$ (exact for ridge; Laplace's approximation for logistic, with σ = 1) and independent of the level, because
    `centre` is where the data determine the level.

    Args:
        centre (`Array`), unit (`Array`), weights (`Array`): `[d]` each.
        level (`float`): the score at `centre`.
        level_variance (`float`): of the level; 0 for an objective with pairs alone, whose level is a convention.
        precision (`float`): α.
        noise (`float`): σ².
        spectrum (`Spectrum`, *optional*): of H, in units of z; `None` = uncertainty not kept.
    """

    centre: Array
    unit: Array
    weights: Array
    level: float
    level_variance: float
    precision: float
    noise: float
    spectrum: Spectrum | None

    def score(self, features: Array) -> Array:
        """`[N, d]` features to `[N]` scores."""
        return self.level + ((features - self.centre) / self.unit) @ self.weights

    def std(self, features: Array) -> Array:
        """`[N, d]` features to `[N]` standard deviations of the scores."""
        if self.spectrum is None:
            raise InputError("these heads were fitted with uncertainty=False: they know no standard deviation")
        z = (features - self.centre) / self.unit
        return np.sqrt(self.level_variance + self.noise * self.spectrum.variance(z, self.precision))


@dataclass(frozen=True)
class LinearHeads:
    """K linear heads on the same features.

    Args:
        objectives (`tuple[str, ...]`): K names.
        heads (`tuple[Head, ...]`): K heads.
    """

    objectives: tuple[str, ...]
    heads: tuple[Head, ...]

    @property
    def width(self) -> int:
        """How many features they read."""
        return len(self.heads[0].weights)

    def __call__(self, features: Tensor) -> Tensor:
        """`[N, d]` features to `[N, K]` scores, float32.

        Raises:
            InputError: the features have another width.
        """
        x = self._checked(features)
        return torch.from_numpy(np.stack([head.score(x) for head in self.heads], axis=1)).float()

    def with_uncertainty(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, d]` features to `[N, K]` scores and their standard deviations, float32.

        Raises:
            InputError: the features have another width, or the heads were fitted without uncertainty.
        """
        x = self._checked(features)
        deviations = np.stack([head.std(x) for head in self.heads], axis=1)
        return self(features), torch.from_numpy(deviations).float()

    def _checked(self, features: Tensor) -> Array:
        if features.dim() != 2 or features.shape[1] != self.width:
            raise InputError(f"features must be [N, {self.width}], found {list(features.shape)}")
        return features.detach().to("cpu", torch.float64).numpy()

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as tensors, for safetensors; [`LinearHeads.from_tensors`] reads it back."""
        tensors = {name: torch.from_numpy(np.stack([getattr(h, name) for h in self.heads])) for name in _VECTORS}
        tensors |= {n: torch.tensor([getattr(h, n) for h in self.heads], dtype=torch.float64) for n in _NUMBERS}
        for index, head in enumerate(self.heads):
            if head.spectrum is not None:
                tensors[f"directions.{index}"] = torch.from_numpy(head.spectrum.directions.copy())
                tensors[f"values.{index}"] = torch.from_numpy(head.spectrum.values.copy())
        return tensors

    @classmethod
    def from_tensors(cls, objectives: Sequence[str], tensors: Mapping[str, Tensor]) -> "LinearHeads":
        """Read what [`LinearHeads.to_tensors`] made.

        Raises:
            InputError: a tensor is missing, has the wrong shape, or is not finite.
        """
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise InputError(f"the tensor {name} is not finite")
        k = len(objectives)
        for name in (*_VECTORS, *_NUMBERS):
            found = tensors.get(name)
            if found is None or found.dim() != 1 + (name in _VECTORS) or len(found) != k:
                raise InputError(
                    f"the tensor {name} must have {k} rows, found {None if found is None else list(found.shape)}"
                )
        heads = []
        for index in range(k):
            vectors = {name: tensors[name][index].numpy() for name in _VECTORS}
            numbers = {name: float(tensors[name][index]) for name in _NUMBERS}
            known = f"directions.{index}" in tensors
            spectrum = Spectrum(*(tensors[f"{n}.{index}"].numpy() for n in ("directions", "values"))) if known else None
            heads.append(Head(**vectors, **numbers, spectrum=spectrum))  # type: ignore[arg-type]
        return cls(tuple(objectives), tuple(heads))


_VECTORS = ("centre", "unit", "weights")
_NUMBERS = ("level", "level_variance", "precision", "noise")
