"""Work out what a picture of fronts has to show, once for the static pictures and for the pages: layers, colours, labels and the summary."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError, unknown_name
from frontier.front import FrontPoint, ParetoFront, common_reference_point
from frontier.measure import hypervolume
from frontier.merge import check_comparable
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

        Where the two means rest on different prompts, only those that both know make them covary. NaN where a standard error is not known. Without `prompt_rewards`, or where a correlation can't be had from them, the two count as uncorrelated.
        """
        errors = self.front.standard_errors[:, [x, y]]
        kept = getattr(self.front, "prompt_rewards", None)
        unknown = np.zeros(len(errors))
        correlation = unknown if kept is None else _correlations(kept.rewards[:, :, x], kept.rewards[:, :, y])
        off = correlation * errors[:, 0] * errors[:, 1]
        return np.stack([np.stack([errors[:, 0] ** 2, off], -1), np.stack([off, errors[:, 1] ** 2], -1)], -2)

    def known(self, x: int, y: int) -> NDArray[np.int64]:
        """`[n]`, how many prompts the means of two objectives rest on: the fewer of the two where the front kept its rewards per prompt, else the points' own number."""
        kept = getattr(self.front, "prompt_rewards", None)
        if kept is None:
            return np.array([p.n_prompts for p in self.front.points], dtype=np.int64)
        return np.asarray((~np.isnan(kept.rewards[:, :, [x, y]])).sum(axis=1).min(axis=1), dtype=np.int64)

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
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label, over the same objectives and with the same normaliser. A label that is no text is shown as
            `str` writes it.
        colour_by (`str`, *optional*): the objective whose weight gives the colour when there are not three. Default: the first.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out, by label.
        samples (*optional*): a text per point of the first front, or such a list by front label. Default: each point's `extra["sample"]`.
        least (`int`, *optional*, defaults to 2): the fewest objectives that the picture can show.

    Raises:
        InputError: no front, different objectives or normalisers, fewer objectives than the picture needs, an unknown objective or front label, labels that read the same, a pick that is
            not a point, or as many texts as there are not points.
    """
    given = {"front": fronts} if isinstance(fronts, ParetoFront) else dict(fronts)
    if not given:
        raise InputError("there is no front to draw")
    named = {encodable(label): front for label, front in given.items()}
    if len(named) < len(given):
        raise InputError(f"labels of fronts must differ as texts, found {list(given)}")
    check_comparable(list(named.values()), list(named))
    first = next(iter(named))
    objectives = named[first].objectives
    place = common_reference_point(*named.values())
    if len(objectives) < least:
        raise InputError(f"a trade-off needs two objectives, found only {objectives[0]}")
    if colour_by is not None and colour_by not in objectives:
        raise unknown_name("objective", colour_by, objectives)
    column = objectives.index(colour_by) if colour_by else 0
    marked = {
        encodable(label): _point(label, index, len(named[first].points)) for label, index in (picks or {}).items()
    }
    by_label = samples if isinstance(samples, Mapping) else {} if samples is None else {first: samples}
    texts = {encodable(label): rows for label, rows in by_label.items()}
    for label, rows in texts.items():
        if label not in named:
            raise unknown_name("front in samples", label, named)
        if len(rows) != len(named[label].points):
            raise InputError(
                f"samples of {label} must hold one text per point: found {len(rows)} for {len(named[label].points)}"
            )

    layers = []
    references: list[FrontPoint] = []
    policies = [front.reference_policy for front in named.values() if front.reference_policy is not None]
    everything = [front.rewards for front in named.values()] + [np.array([p.rewards]) for p in policies]
    ranges = np.ptp(np.concatenate(everything), axis=0)
    for label, front in named.items():
        own = [p.extra.get("sample") for p in front.points]
        said = [None if s is None else encodable(s) for s in texts.get(label, own)]
        pointed = marked if label == first else {}
        layers.append(Layer(label, front, front.non_dominated_mask(), colours_of(front.weights, column), said, pointed))
    for policy in policies:
        # The same policy scored twice differs by less than can be seen.
        if not any((np.abs(np.subtract(policy.rewards, r.rewards)) <= 1e-3 * ranges).all() for r in references):
            references.append(policy)
    normalised = named[first].normalizer is not None
    return View(layers, objectives, objectives[column], place, references, normalised)


def encodable(text: object) -> str:
    """The text as a file can hold it: a half of a surrogate pair, as a cut or badly decoded completion has them, becomes U+FFFD."""
    return str(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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


def _point(label: object, index: object, count: int) -> int:
    if isinstance(index, bool) or not isinstance(index, Integral) or not 0 <= int(index) < count:
        raise InputError(f"pick {label!r} must be a point 0..{count - 1}, found {index!r}")
    return int(index)


def _letter(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    before, last = divmod(number, 26)
    return (_letter(before - 1) if before else "") + chr(ord("a") + last)


def _correlations(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""`[P]` correlations of the means of the rows of two `[P, N]` arrays, NaN = not known; 0 where one of them is constant over the columns that both know.

    With Pearson's correlation r over the n columns that both know, $\operatorname{Cov}(\bar x, \bar y) = r \sigma_x \sigma_y n / (n_x n_y)$ and $s_x = \sigma_x / \sqrt{n_x}$: the means
    correlate by $r n / \sqrt{n_x n_y}$.
    """
    known = ~(np.isnan(left) | np.isnan(right))
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = []
    for values in (left, right):
        filled = np.where(known, values, 0.0)
        centred.append(np.where(known, filled - filled.sum(axis=1, keepdims=True) / count, 0.0))
    product = (centred[0] * centred[1]).sum(axis=1)
    size = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    found = np.clip(np.divide(product, size, out=np.zeros_like(product), where=size > 0), -1, 1)
    first, second = ((~np.isnan(values)).sum(axis=1) for values in (left, right))
    return np.asarray(found * known.sum(axis=1) / np.sqrt(np.maximum(first * second, 1)))


def _short(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.3e}"
