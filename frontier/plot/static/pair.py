"""Draw one panel: two rewards of every point against each other, with how well they are known."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.special import stdtrit

from frontier.plot.ellipse import LEVEL, confidence_ellipse
from frontier.plot.iso import IsoUtility
from frontier.plot.static.labels import Label
from frontier.plot.static.marks import ISO, STAR, line_of, marker_of
from frontier.plot.static.sheet import INK, plain
from frontier.plot.view import Layer, View

_FEW = 12  # more ellipses than this are outlines only: their fills would add up to fog


def draw_pair(axes: Axes, view: View, x: int, y: int, size: float, *, line: bool, ellipses: bool = True) -> list[Label]:
    """Draw objectives x and y of a view.

    Args:
        axes (`Axes`): the panel.
        view (`View`): what to draw.
        x (`int`): the horizontal objective, by place.
        y (`int`): the vertical one.
        size (`float`): area of a marker in square points.
        line (`bool`): whether to join the points that no other dominates.
        ellipses (`bool`, *optional*, defaults to `True`): whether to draw confidence regions.

    Returns:
        `list[Label]`: letters of the picks, to be placed once the layout is settled.
    """
    plain(axes)
    labels = []
    for number, layer in enumerate(view.layers):
        rewards = layer.front.rewards[:, [x, y]]
        if ellipses:
            _regions(axes, layer, x, y)
        if line:
            path = rewards[layer.kept][np.argsort(rewards[layer.kept, 0])]
            axes.plot(path[:, 0], path[:, 1], color="#858585", lw=1.1, ls=line_of(number), zorder=2)
        edge = [INK if keep else colour for keep, colour in zip(layer.kept, layer.colours, strict=True)]
        face = [colour if keep else "white" for keep, colour in zip(layer.kept, layer.colours, strict=True)]
        axes.scatter(
            rewards[:, 0],
            rewards[:, 1],
            s=size,
            c=face,
            edgecolors=edge,
            linewidths=[0.6 if keep else 1.3 for keep in layer.kept],
            marker=marker_of(number),
            zorder=4 if len(view.layers) > 1 and number == 0 else 3,
        )
        for letter, _, index in layer.lettered_picks():
            axes.scatter(
                rewards[index, 0],
                rewards[index, 1],
                s=size * 3.6,
                facecolors="none",
                edgecolors="black",
                linewidths=1.4,
                zorder=5,
            )
            labels.append(Label(axes, rewards[index], letter))
    for reference in view.references:
        axes.plot(reference.rewards[x], reference.rewards[y], **STAR, ms=size**0.5 * 2, zorder=6)
    axes.margins(0.09)
    return labels


def draw_iso(axes: Axes, best: NDArray[np.float64], iso: IsoUtility) -> None:
    """Draw the line of equal utility through the best point, to the edges of the panel."""
    axes.autoscale_view()
    limits = axes.get_xlim(), axes.get_ylim()
    axes.axline((best[0], best[1]), (best[0] + iso.weights[1], best[1] - iso.weights[0]), **ISO, zorder=2.5)
    axes.set(xlim=limits[0], ylim=limits[1])


def places_of(view: View, x: int, y: int) -> NDArray[np.float64]:
    """`[n, 2]` of all marks of a panel."""
    rows = [layer.front.rewards[:, [x, y]] for layer in view.layers]
    rows += [np.array([[r.rewards[x], r.rewards[y]]]) for r in view.references]
    return np.concatenate(rows)


def _regions(axes: Axes, layer: Layer, x: int, y: int) -> None:
    filled = 0.12 if len(layer.front.points) <= _FEW else 0.0
    both, alone = layer.known(x, y).tolist(), [layer.known(k, k).tolist() for k in (x, y)]
    rows = zip(layer.front.rewards[:, [x, y]], layer.covariances(x, y), layer.colours, strict=True)
    for i, (mean, covariance, colour) in enumerate(rows):
        outline = confidence_ellipse(mean, covariance, both[i])
        if outline is not None:
            axes.fill(*outline.T, facecolor=(colour, filled), edgecolor=(colour, 0.6), lw=0.8, zorder=1)
            continue
        # One of the two may be known alone: its interval.
        for axis in (0, 1):
            error = covariance[axis, axis] ** 0.5
            if alone[axis][i] > 1 and np.isfinite(error):
                arm = np.zeros(2)
                arm[axis] = float(stdtrit(alone[axis][i] - 1, (1 + LEVEL) / 2)) * error
                axes.plot(*np.stack([mean - arm, mean + arm], axis=-1), color=colour, lw=0.9, alpha=0.7, zorder=1)
