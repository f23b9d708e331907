"""Name one soup: how much of every expert is in every block of the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontier.errors import InputError, check_fields, unknown_name
from frontier.points import FrontPoint
from frontier.realize.soup.blocks import ALL, check_blocks, holds, place_of

EXTRA = "soup"
"""Under this key of `FrontPoint.extra` stands the soup that a point was measured at."""


@dataclass(frozen=True)
class Soup:
    r"""Coefficients of K experts in every block of a model.

    $$ W_b = W_{0,b} + \sum_{k=1}^{K} c_{b,k} \, \Delta_{k,b} $$

    where $\Delta_k$ is what expert k changes in the base. With one block this is a Rewarded Soup ([Ramé et al., 2023](https://huggingface.co/papers/2306.04488)); with several, the
    layer-wise averaging of [Lin et al., 2023](https://huggingface.co/papers/2309.06256) for any number of experts. Coefficients may be negative or above 1. A tensor in no block stays the base's.

    Args:
        experts (`tuple[str, ...]`): K names.
        blocks (`tuple[str, ...]`): G of `"all"`, `"embeddings"`, `"head"` and such as `"layers 0-3"`.
        coefficients (`tuple[tuple[float, ...], ...]`): `[G, K]`.

    Raises:
        InputError: names that come twice, blocks that overlap, another number of coefficients, or one that is not finite.

    Example:
        >>> soup = Soup(("helpful", "brief"), ("layers 0-1", "layers 2-3"), ((1.0, 0.0), (0.5, 0.5)))
        >>> soup.at("model.layers.2.mlp.up_proj.weight"), soup.at("lm_head.weight")
        ((0.5, 0.5), (0.0, 0.0))
    """

    experts: tuple[str, ...]
    blocks: tuple[str, ...]
    coefficients: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "experts", tuple(self.experts))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        rows = tuple(tuple(float(c) for c in row) for row in self.coefficients)
        object.__setattr__(self, "coefficients", rows)
        if not self.experts or len(set(self.experts)) < len(self.experts):
            raise InputError(
                f"experts must be different names, at least one; found {', '.join(self.experts) or 'none'}"
            )
        check_blocks(self.blocks)
        if len(rows) != len(self.blocks) or any(len(row) != len(self.experts) for row in rows):
            raise InputError(
                f"coefficients must be one for each of {len(self.experts)} experts in each of {len(self.blocks)} blocks, found {rows}"
            )
        if not all(math.isfinite(c) for row in rows for c in row):
            raise InputError(f"coefficients must be finite, found {rows}")

    @classmethod
    def alike(cls, experts: Sequence[str], coefficients: Sequence[float]) -> "Soup":
        """The same K coefficients in the whole model."""
        return cls(tuple(experts), (ALL,), (tuple(coefficients),))

    @classmethod
    def base(cls, experts: Sequence[str]) -> "Soup":
        """Nothing of any expert: the base model."""
        return cls.alike(experts, [0.0] * len(experts))

    def at(self, tensor: str) -> tuple[float, ...]:
        """The K coefficients of a tensor (or module) by its name."""
        return self.at_place(place_of(tensor))

    def at_place(self, place: str) -> tuple[float, ...]:
        """The K coefficients at a place of the model, see `frontier.realize.soup.blocks.place_of`."""
        for block, row in zip(self.blocks, self.coefficients, strict=True):
            if holds(block, place):
                return row
        return (0.0,) * len(self.experts)

    def to_json(self) -> dict[str, Any]:
        """`{"experts": [...], "coefficients": {block: {expert: number}}}`."""
        rows = {
            b: dict(zip(self.experts, row, strict=True)) for b, row in zip(self.blocks, self.coefficients, strict=True)
        }
        return {"experts": list(self.experts), "coefficients": rows}

    @classmethod
    def from_json(cls, found: Any) -> "Soup":
        """Read what `to_json` gave; an expert that a block leaves out has coefficient 0 there.

        Raises:
            InputError: it is no such object, or names an unknown expert.
        """
        if not isinstance(found, Mapping):
            raise InputError(f"a soup must be an object with experts and coefficients, found {found!r}")
        check_fields(found, ("experts", "coefficients"))
        experts, blocks = found["experts"], found["coefficients"]
        if not isinstance(experts, list) or not isinstance(blocks, Mapping):
            raise InputError(f"a soup needs a list of experts and coefficients by block, found {found!r}")
        rows = []
        for block, row in blocks.items():
            if not isinstance(row, Mapping):
                raise InputError(f"coefficients of block '{block}' must be numbers by expert, found {row!r}")
            for name in row:
                if name not in experts:
                    raise unknown_name(f"expert in block '{block}'", str(name), experts)
            rows.append(tuple(row.get(name, 0.0) for name in experts))
        return cls(tuple(experts), tuple(blocks), tuple(rows))

    @classmethod
    def of_point(cls, point: FrontPoint) -> "Soup":
        """The soup that a point of a searched front was measured at.

        Raises:
            InputError: the point is of no soup.
        """
        if EXTRA not in point.extra:
            raise InputError("this point is of no soup: it was not found by a search over soups")
        return cls.from_json(point.extra[EXTRA])
