"""Work out what a picture of fronts has to show, once for the static pictures and for the pages: layers, colours, labels and the summary."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError, unknown_name
from frontier.front import FrontPoint, ParetoFront, common_reference_point
from frontier.measure import hypervolume
from frontier.plot.colours import colours_of

Fronts = ParetoFront | Mapping[str, ParetoFront]
Samples = Sequence[str | None] | Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class Layer:
    """One front as it is drawn: its label, which points are solid, their colours, the texts and the picks to point out."""

    label: str
    front: ParetoFront
    kept: NDArray[np.bool_]
    colours: list[str]
    samples: list[str | None]
    picks: dict[str, int]

    def lettered_picks(self) -> list[tuple[str, str, int]]:
        """`(letter, label, index)` of each pick: a letter beside the point keeps plots readable, the legend tells the label."""
        return [(_letter(n), label, index) for n, (label, index) in enumerate(self.picks.items())]

    def covariances(self, x: int, y: int) -> NDArray[np.float64]:
        """`[n, 2, 2]` covariances of the mean rewards of two objectives, from the standard errors and the correlation over prompts.

        NaN where a standard error is not known. Without `prompt_rewards`, or where a correlation can't be had from them, the two count as uncorrelated.
        """
        errors = self.front.standard_errors[:, [x, y]]
        kept = getattr(self.front, "prompt_rewards", None)
        unknown = np.zeros(len(errors))
        correlation = unknown if kept is None else _correlations(kept.rewards[:, :, x], kept.rewards[:, :, y])
        off = correlation * errors[:, 0] * errors[:, 1]
        return np.stack([np.stack([errors[:, 0] ** 2, off], -1), np.stack([off, errors[:, 1] ** 2], -1)], -2)

    def steered(self) -> NDArray[np.bool_]:
        """`[n]`, true for the points that have weights in their preference."""
        return np.asarray(~np.isnan(self.front.weights).any(axis=1))


@dataclass(frozen=True)
class View:
    """Everything to draw. `reference_point` is common to all layers."""

    layers: list[Layer]
    objectives: tuple[str, ...]
    colour_by: str
    reference_point: NDArray[np.float64]
    references: list[FrontPoint]
    normalised: bool

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every pair of objectives, as columns (horizontal, vertical)."""
        return list(itertools.combinations(range(len(self.objectives)), 2))

    @property
    def units(self) -> str:
        """What the numbers on the axes are, for a caption."""
        return f"Mean rewards in {self.unit}; higher is better. Bars: ± 1 standard error."

    @property
    def unit(self) -> str:
        """The unit of the rewards, in words."""
        return "standard deviations of the reference policy" if self.normalised else "raw units"

    @property
    def colour_note(self) -> str:
        """What the colour of a point says."""
        if len(self.objectives) == 3:
            return "colour: the weights asked for"
        return f"colour: weight asked for {self.colour_by}"

    def axis(self, k: int) -> str:
        """The full label of an axis."""
        return f"reward of {self.objectives[k]}, higher is better" + (
            "; reference policy sd units" if self.normalised else ""
        )

    def axis_lines(self, k: int) -> tuple[str, str]:
        """The label of an axis in two lines: what it is, and its unit and direction."""
        unit = "reference policy sd" if self.normalised else "raw units"
        return f"reward of {self.objectives[k]}", f"({unit}; higher is better)"

    def extents(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`[K]` smallest and largest reward of everything that is drawn."""
        rows = np.concatenate(
            [la.front.rewards for la in self.layers] + [np.array([p.rewards]) for p in self.references]
        )
        return rows.min(axis=0), rows.max(axis=0)


def view_of(
    fronts: Fronts,
    colour_by: str | None = None,
    picks: Mapping[str, int] | None = None,
    samples: Samples | None = None,
    *,
    least: int = 2,
) -> View:
    """Settle what to draw, and refuse what can't be drawn.

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label, over the same objectives.
        colour_by (`str`, *optional*): the objective whose weight gives the colour when there are not three. Default: the first.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out, by label.
        samples (*optional*): a text per point of the first front, or such a list by front label. Default: each point's `extra["sample"]`.
        least (`int`, *optional*, defaults to 2): the fewest objectives that the picture can show.

    Raises:
        InputError: no front, different objectives, fewer objectives than the picture needs, an unknown objective or front label, a pick that is not a point, or as many texts as there are
            not points.
    """
    named = {"front": fronts} if isinstance(fronts, ParetoFront) else dict(fronts)
    if not named:
        raise InputError("there is no front to draw")
    first = next(iter(named))
    objectives = named[first].objectives
    place = common_reference_point(*named.values())
    if len(objectives) < least:
        raise InputError(f"a trade-off needs two objectives, found only {objectives[0]}")
    if colour_by is not None and colour_by not in objectives:
        raise unknown_name("objective", colour_by, objectives)
    column = objectives.index(colour_by) if colour_by else 0
    for label, index in (picks or {}).items():
        if not 0 <= index < len(named[first].points):
            raise InputError(f"pick {label!r} must be a point 0..{len(named[first].points) - 1}, found {index}")
    texts = dict(samples) if isinstance(samples, Mapping) else {} if samples is None else {first: samples}
    for label, rows in texts.items():
        if label not in named:
            raise unknown_name("front in samples", label, named)
        if len(rows) != len(named[label].points):
            raise InputError(
                f"samples of {label} must hold one text per point: found {len(rows)} for {len(named[label].points)}"
            )

    layers = []
    references: list[FrontPoint] = []
    for label, front in named.items():
        own = [p.extra.get("sample") for p in front.points]
        given = [None if s is None else str(s) for s in texts.get(label, own)]
        marked = dict(picks or {}) if label == first else {}
        layers.append(Layer(label, front, front.non_dominated_mask(), colours_of(front.weights, column), given, marked))
        reference = front.reference_policy
        # The same policy scored twice differs by rounding only.
        if reference is not None and not any(np.allclose(reference.rewards, r.rewards, atol=1e-3) for r in references):
            references.append(reference)
    normalised = all(front.normalizer is not None for front in named.values())
    return View(layers, objectives, objectives[column], place, references, normalised)


def summary_rows(view: View) -> list[dict[str, str]]:
    """One row per front, and one for the reference policy: hypervolume, EUM, MIP, their gap and the steering of each objective; `–` = not known."""
    rows = []
    for layer in view.layers:
        front = layer.front
        row = {"front": layer.label, "hypervolume": _short(front.hypervolume(view.reference_point).value)}
        steered = not np.isnan(front.weights).all()
        row["EUM"] = _short(front.eum() if steered else math.nan)
        row["MIP"] = _short(front.mip() if steered else math.nan)
        row["gap"] = _short(front.controllability_gap() if steered else math.nan)
        correlations = front.steering() if steered else dict.fromkeys(view.objectives, math.nan)
        row |= {f"steering {name}": _short(value, 2) for name, value in correlations.items()}
        row["points"] = f"{len(front.points)} ({int(layer.kept.sum())} non-dominated)"
        rows.append(row)
    for reference in view.references:
        row = dict.fromkeys(rows[0], "–") | {"front": "reference policy", "points": "1"}
        row["hypervolume"] = _short(hypervolume([reference.rewards], view.reference_point))
        rows.append(row)
    return rows


def summary_lines(view: View) -> list[str]:
    """The figures in two lines: every hypervolume with the common reference point, then EUM, MIP and gap of each steered front."""
    rows = summary_rows(view)
    several = len(view.layers) > 1
    volumes = [f"{row['front'] + ' ' if several or i else ''}{row['hypervolume']}" for i, row in enumerate(rows)]
    lines = [f"Hypervolume {' · '.join(volumes)}, above the reference point ({place_of(view)})"]
    figures = [
        f"{row['front'] + ': ' if several else ''}EUM {row['EUM']}, MIP {row['MIP']}, controllability gap {row['gap']}"
        for row in rows
        if row["EUM"] != "–"
    ]
    return [*lines, *([" · ".join(figures)] if figures else [])]


def place_of(view: View) -> str:
    """The reference point in words: `helpful -0.11, brief 0.20`."""
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(view.objectives, view.reference_point, strict=True))


def _letter(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    before, last = divmod(number, 26)
    return (_letter(before - 1) if before else "") + chr(ord("a") + last)


def _correlations(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[P]` Pearson correlations of the rows of two `[P, N]` arrays over the columns that both know; 0 where one of them is constant there."""
    known = ~(np.isnan(left) | np.isnan(right))
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = []
    for values in (left, right):
        filled = np.where(known, values, 0.0)
        centred.append(np.where(known, filled - filled.sum(axis=1, keepdims=True) / count, 0.0))
    product = (centred[0] * centred[1]).sum(axis=1)
    size = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return np.clip(np.divide(product, size, out=np.zeros_like(product), where=size > 0), -1, 1)


def _short(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.3e}"
