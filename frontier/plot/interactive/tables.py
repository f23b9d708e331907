"""The numbers under the plots: a summary of every front and a row for every point."""

import html
import math
from collections.abc import Mapping, Sequence

from frontier.front import FrontPoint
from frontier.measure.uncertainty import Estimate
from frontier.plot.traces import cut, point_id
from frontier.plot.view import Layer, View, place_of, summary_rows


def summary_table(view: View, estimates: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Hypervolume, EUM, MIP, gap and steering of every front, with what they mean.

    Args:
        view (`View`): what is drawn.
        estimates (`Mapping`): by front label and then by column, the figures that have an interval.
    """
    rows = summary_rows(view)
    head = "".join(f'<th class="name" scope="col">{html.escape(name)}</th>' for name in rows[0])
    body = ""
    for row in rows:
        known = estimates.get(row["front"], {})
        body += "<tr>" + "".join(_figure(name, value, known.get(name)) for name, value in row.items()) + "</tr>"
    small = " Small print: 95 % intervals over prompts." if any(estimates.values()) else ""
    return f"""<div class="wide" tabindex="0" role="region" aria-label="summary"><table id="summary"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
<p class="note">Hypervolume above the reference point ({html.escape(place_of(view))}). EUM: mean over the weights of the best point for each. MIP: mean over the weights of the
point that was asked for. Gap: EUM − MIP, what is lost because steering is not exact. Steering: rank correlation of weight and reward, 1 is perfect. Higher is better, but for the gap.{small}</p>"""


def points_table(view: View, certain: Mapping[str, Sequence[float]]) -> str:
    """Every point with its weights, rewards ± standard errors, KL and sample; the id of a row is what the plots and the script know it by.

    Args:
        view (`View`): what is drawn.
        certain (`Mapping`): by front label, the probability of each point to be non-dominated.
    """
    several = len(view.layers) > 1
    texts = any(sample for layer in view.layers for sample in layer.samples)
    head = [
        "colour",
        *(["front"] if several else []),
        "point",
        *(f"weight of {n}" for n in view.objectives),
        *view.objectives,
    ]
    head += ["KL in nats", "prompts", "dominated", *(["P(non-dominated)"] if certain else []), "picked"]
    head += ["sample"] if texts else []
    rows = []
    for number, layer in enumerate(view.layers):
        chances = certain.get(layer.label)
        for i, point in enumerate(layer.front.points):
            cells = [_swatch(layer, i), *([_cell(layer.label, name=True)] if several else []), _cell(str(i), i)]
            cells += _figures(point, view)
            cells += [_cell("" if layer.kept[i] else "yes")]
            if certain:
                cells += [_cell("–", -1) if chances is None else _cell(f"{chances[i]:.2f}", float(chances[i]))]
            cells += [_cell(", ".join(label for label, index in layer.picks.items() if index == i), name=True)]
            cells += [_sample(layer.samples[i])] if texts else []
            rows.append(f'<tr id="{point_id(number, i)}">{"".join(cells)}</tr>')
    for reference in view.references:
        cells = ["<td>★</td>", *([_cell("reference policy")] if several else []), _cell("ref", -1)]
        cells += [*_figures(reference, view), *["<td></td>"] * (2 + bool(certain) + texts)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    kinds = ["text" if name == "sample" else "name" for name in head]
    headings = "".join(
        f'<th class="{kind}" scope="col"><button type="button">{html.escape(name)}</button></th>'
        for kind, name in zip(kinds, head, strict=True)
    )
    return f'<div class="wide" tabindex="0" role="region" aria-label="points"><table id="points" class="sortable"><thead><tr>{headings}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def interval(estimate: Estimate, digits: int = 3) -> str:
    """`0.61 to 0.83`, an open end as an ellipsis."""
    low, high = (f"{end:.{digits}f}" if math.isfinite(end) else "…" for end in (estimate.low, estimate.high))
    return f"{low} to {high}"


def _figure(name: str, value: str, estimate: Estimate | None) -> str:
    kind = f' class="{_kind(value)}"' if name == "front" else ""
    small = "" if estimate is None else f"<small>{interval(estimate)}</small>"
    return f"<td{kind}>{html.escape(value)}{small}</td>"


def _figures(point: FrontPoint, view: View) -> list[str]:
    weights = point.weights(view.objectives)
    cells = [_cell(f"{w:.2f}", w) for w in weights] if weights else [_cell("–", -1)] * len(view.objectives)
    for reward, error in zip(point.rewards, point.standard_error, strict=True):
        cells.append(_cell(f"{reward:.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}"), reward))
    cells.append(_cell("–", -1) if point.kl is None else _cell(f"{point.kl:.3f}", point.kl))
    cells.append(_cell(str(point.n_prompts), point.n_prompts))
    return cells


def _cell(text: str, value: float | None = None, name: bool = False) -> str:
    order = "" if value is None else f' data-value="{value!r}"'
    kind = f' class="{_kind(text)}"' if name else ""
    return f"<td{kind}{order}>{html.escape(text)}</td>"


def _kind(text: str) -> str:
    """The classes of a cell with a name: a long one gets room, for a table that scrolls would rather make it tall."""
    return "name long" if len(text) > 20 else "name"


def _swatch(layer: Layer, i: int) -> str:
    fill = layer.colours[i] if layer.kept[i] else "white"
    return f'<td><span class="mark"></span><span class="swatch" style="background:{fill};border-color:{layer.colours[i]}"></span></td>'


def _sample(text: str | None) -> str:
    if not text:
        return "<td></td>"
    if len(text) <= 50:
        return f'<td class="text">{html.escape(text)}</td>'
    return (
        f'<td class="text"><details><summary>{html.escape(cut(text, 46))}</summary>{html.escape(text)}</details></td>'
    )
