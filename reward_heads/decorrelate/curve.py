r"""The mean reward at each length, as a smooth curve: a penalised spline whose smoothness the data choose.

$f(x) = \sum_j \beta_j B_j(x)$ with hat functions $B_j$ on knots at quantiles of $x$; $\beta$ minimises $\lVert r - B \beta \rVert^2 + \alpha \lVert D \beta \rVert^2$, where $D$
takes differences of neighbouring slopes (Eilers & Marx, [1996](https://doi.org/10.1214/ss/1038425655)), and $\alpha$ minimises the generalised cross-validation error
$n \lVert r - \hat r \rVert^2 / (n - \mathrm{tr} H)^2$. $\alpha \to \infty$ is a straight line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name

_PENALTIES = tuple(10.0 ** (k / 2) for k in range(-12, 13))


@dataclass(frozen=True)
class Curve:
    """A piecewise linear function; beyond the outer knots the outer pieces go on, so that what is longer than all that was seen is penalised too.

    Args:
        knots (`tuple[float, ...]`): at least two, increasing.
        values (`tuple[float, ...]`): at the knots.

    Raises:
        InputError: lengths differ, there are fewer than two knots, they don't increase, or a number is not finite.

    Example:
        >>> Curve((0.0, 1.0, 3.0), (0.0, 2.0, 3.0))(torch.tensor([0.5, 2.0, 5.0]))
        tensor([1.0000, 2.5000, 4.0000], dtype=torch.float64)
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        for field in ("knots", "values"):
            object.__setattr__(self, field, tuple(float(value) for value in getattr(self, field)))
        knots, values = torch.tensor(self.knots), torch.tensor(self.values)
        if len(knots) < 2 or len(knots) != len(values):
            raise InputError(f"a curve needs a value at each of at least 2 knots, found {len(knots)} and {len(values)}")
        if not (knots.isfinite().all() and values.isfinite().all() and self._increasing()):
            raise InputError(f"a curve's numbers must be finite and its knots increase, found {self.knots}")

    def __call__(self, x: Tensor) -> Tensor:
        """`[N]` to `[N]` float64."""
        x = x.double()
        knots, values = (torch.tensor(row, dtype=torch.float64) for row in (self.knots, self.values))
        at = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
        left, right = knots[at - 1], knots[at]
        share = (x - left) / (right - left)
        return values[at - 1] + share * (values[at] - values[at - 1])

    def scaled(self, factor: float, shift: float = 0.0) -> "Curve":
        """Factor · (f − shift)."""
        return Curve(self.knots, tuple(factor * (value - shift) for value in self.values))

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`."""
        return {"knots": list(self.knots), "values": list(self.values)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Curve":
        """Read what [`Curve.to_json`] wrote.

        Raises:
            InputError: a field is missing, unknown or wrong.
        """
        for field in data:
            if field not in ("knots", "values"):
                raise unknown_name("field of a curve", field, ("knots", "values"))
        for field in ("knots", "values"):
            found = data.get(field)
            if not isinstance(found, list | tuple) or not all(type(value) in (int, float) for value in found):
                raise InputError(f"field '{field}' of a curve must be a list of numbers, found {found!r}")
        return cls(tuple(data["knots"]), tuple(data["values"]))

    def _increasing(self) -> bool:
        return all(a < b for a, b in zip(self.knots, self.knots[1:], strict=False))


def fit_curve(x: Tensor, y: Tensor, knots: int = 8) -> Curve:
    """The mean of y at each x.

    Args:
        x (`Tensor`): `[N]`, all known.
        y (`Tensor`): `[N]`, likewise.
        knots (`int`, *optional*, defaults to 8): at most so many, at quantiles of x; 2 is a straight line.

    Raises:
        InputError: fewer than two knots, or x is constant.
    """
    if knots < 2:
        raise InputError(f"knots must be at least 2, found {knots}")
    x, y = x.double(), y.double()
    places = torch.quantile(x, torch.linspace(0, 1, knots, dtype=torch.float64)).unique()
    if len(places) < 2:
        places = torch.stack([x.min(), x.max()]).unique()
    if len(places) < 2:
        raise InputError(f"a curve needs two different x, found {x[0].item():g} in all {len(x)} rows")
    basis, roughness = _hats(x, places), _slope_changes(places)
    gram, target = basis.T @ basis, basis.T @ y
    # Penalties in units of the data: the same whatever the scale of x and the number of rows.
    unit = gram.trace() / max(float(roughness.trace()), 1e-300) if len(places) > 2 else torch.tensor(0.0)
    tiny = 1e-10 * gram.trace() * torch.eye(len(places), dtype=torch.float64)  # a knot that no row is near
    best, values = float("inf"), target
    for penalty in _PENALTIES:
        system = gram + penalty * unit * roughness + tiny
        found = torch.linalg.solve(system, target)
        freedom = torch.linalg.solve(system, gram).trace().item()
        error = float(((y - basis @ found) ** 2).mean()) / max(1 - freedom / len(y), 1e-6) ** 2
        if error < best * (1 - 1e-9):
            best, values = error, found
    return Curve(tuple(places.tolist()), tuple(values.tolist()))


def _hats(x: Tensor, knots: Tensor) -> Tensor:
    """`[N, J]`: the weight of each knot's value at each x."""
    at = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
    share = (x - knots[at - 1]) / (knots[at] - knots[at - 1])
    basis = torch.zeros(len(x), len(knots), dtype=torch.float64)
    rows = torch.arange(len(x))
    basis[rows, at - 1] = 1 - share
    basis[rows, at] = share
    return basis


def _slope_changes(knots: Tensor) -> Tensor:
    """`[J, J]`: DᵀD, where D takes the change of slope at each inner knot."""
    gaps = knots.diff()
    rows = torch.zeros(len(knots) - 2, len(knots), dtype=torch.float64)
    for row in range(len(rows)):
        left, right = 1 / gaps[row], 1 / gaps[row + 1]
        rows[row, row : row + 3] = torch.stack([left, -(left + right), right])
    return rows.T @ rows
