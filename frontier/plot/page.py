"""Write fronts as one interactive page: hover over a point to see what it was asked for, what it got and what it says. It works offline."""

import html
import math
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from frontier.atomic import write_text
from frontier.front import FrontPoint
from frontier.plot.colours import BASE, triangle_cells
from frontier.plot.traces import pair_figure, parallel_figure, projections_figure, space_figure
from frontier.plot.view import Fronts, Layer, Samples, View, place_of, summary_rows, view_of


def front_page(
    fronts: Fronts,
    path: str | os.PathLike[str],
    samples: Samples | None = None,
    *,
    title: str = "Pareto front",
    colour_by: str | None = None,
    picks: Mapping[str, int] | None = None,
) -> Path:
    """Write one HTML file with plots, figures of merit and a table of all points. Nothing in it is loaded from anywhere else.

    Two objectives are one scatter plot; three a scatter plot in space and the three projections; more are parallel coordinates and a matrix of pairs. A click on a point marks
    its row in the table, a click on a column heading sorts by it.

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label over the same objectives.
        path (`str` or `PathLike`): where to write; folders are made.
        samples (*optional*): a text per point of the first front, or such a list by front label, shown on hover and in the table. Default: each point's `extra["sample"]`.
        title (`str`, *optional*): of the page.
        colour_by (`str`, *optional*): the objective whose weight gives the colour when there are not three. Default: the first.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out: label to index.

    Returns:
        `Path`: the page, about 5 MB, most of it plotly.js. It is written beside and renamed: there is never half a file.

    Raises:
        InputError: see `frontier.plot.view.view_of`.
    """
    view = view_of(fronts, colour_by, picks, samples)
    count = len(view.objectives)
    if count == 2:
        figures = {"front-pair": pair_figure(view)}
    elif count == 3:
        figures = {"front-space": space_figure(view), "front-projections": projections_figure(view)}
    else:
        figures = {"front-parallel": parallel_figure(view), "front-projections": projections_figure(view)}
    plots = {name: _div(figure, name) for name, figure in figures.items()}
    if count == 3:
        # The style gives the key a column of fixed width: plotly measures its own place before the browser has read what stands beside it.
        plots["front-space"] = f'<div class="beside">{plots["front-space"]}{_ternary_key(view)}</div>'
    safe_title = html.escape(title)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{safe_title}</title>
<style>{_STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
<h1>{safe_title}</h1>
<p class="note">{html.escape(view.units)} Solid: not dominated; hollow or dotted: dominated; {html.escape(view.colour_note)}.</p>
{_summary(view)}
{"".join(plots.values())}
<h2>Points</h2>
<p class="note">Click a heading to sort, a point in a plot to find its row.</p>
{_table(view)}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""
    write_text(Path(path), page)
    return Path(path)


def _div(figure: go.Figure, name: str) -> str:
    options = {"displaylogo": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=options))


def _summary(view: View) -> str:
    rows = summary_rows(view)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(v)}</td>" for v in row.values()) + "</tr>" for row in rows)
    return f"""<div class="wide"><table id="summary"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
<p class="note">Hypervolume above the reference point ({html.escape(place_of(view))}). EUM: mean over the weights of the best point for each. MIP: mean over the weights of the
point that was asked for. Gap: EUM − MIP, what is lost because steering is not exact. Steering: rank correlation of weight and reward, 1 is perfect.</p>"""


def _ternary_key(view: View) -> str:
    """The triangle that explains the colours, with a dot where each point's weights lie."""

    def at(x: float, y: float) -> str:
        return f"{30 + 160 * x:.1f},{175 - 160 * y:.1f}"

    cells = "".join(
        f'<polygon points="{" ".join(at(x, y) for x, y in corners)}" fill="{colour}" stroke="{colour}" stroke-width="0.6"/>'
        for corners, colour in triangle_cells()
    )
    places = ((0.0, 0.0), (1.0, 0.0), (0.5, math.sqrt(0.75)))
    lower = (
        -0.13 if len(view.objectives[0] + view.objectives[1]) < 26 else -0.23
    )  # long names stand one under the other
    anchors = (("start", -0.15, -0.13), ("end", 1.15, lower), ("middle", 0.5, 0.94))
    names = "".join(
        f'<text x="{at(x, y).split(",")[0]}" y="{at(x, y).split(",")[1]}" text-anchor="{anchor}">{html.escape(name)}</text>'
        for (anchor, x, y), name in zip(anchors, view.objectives, strict=True)
    )
    dots = ""
    for (x, y), colour in zip(places, BASE, strict=True):
        cx, cy = at(x, y).split(",")
        dots += f'<circle cx="{cx}" cy="{cy}" r="5" fill="{colour}" stroke="#303030"/>'
    return f'<figure id="colour-key"><svg width="220" height="220" viewBox="0 0 220 220" role="img"><title>colours of the weights</title>{cells}{dots}{names}</svg><figcaption>weights asked for</figcaption></figure>'


def _table(view: View) -> str:
    names = view.objectives
    several = len(view.layers) > 1
    texts = any(sample for layer in view.layers for sample in layer.samples)
    head = [
        "",
        *(["front"] if several else []),
        "#",
        *(f"w({n})" for n in names),
        *names,
        "KL",
        "prompts",
        "dominated",
        "picked",
    ]
    head += ["sample"] if texts else []
    rows = []
    for number, layer in enumerate(view.layers):
        for i, point in enumerate(layer.front.points):
            cells = [_swatch(layer, i), *([_cell(layer.label)] if several else []), _cell(str(i), i)]
            cells += _figures(point, view)
            cells += [_cell("" if layer.kept[i] else "yes")]
            cells += [_cell(", ".join(label for label, index in layer.picks.items() if index == i))]
            cells += [_sample(layer.samples[i])] if texts else []
            rows.append(f'<tr id="p{number}-{i}">{"".join(cells)}</tr>')
    for reference in view.references:
        start = ["<td>★</td>", *([_cell("reference policy")] if several else []), _cell("ref", -1)]
        rows.append(
            f"<tr>{''.join([*start, *_figures(reference, view)])}<td></td><td></td>{'<td></td>' if texts else ''}</tr>"
        )
    headings = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f'<div class="wide"><table id="points" class="sortable"><thead><tr>{headings}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _figures(point: FrontPoint, view: View) -> list[str]:
    weights = point.weights(view.objectives)
    cells = [_cell(f"{w:.2f}", w) for w in weights] if weights else [_cell("–", -1)] * len(view.objectives)
    for reward, error in zip(point.rewards, point.standard_error, strict=True):
        cells.append(_cell(f"{reward:.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}"), reward))
    cells.append(_cell("–", -1) if point.kl is None else _cell(f"{point.kl:.3f}", point.kl))
    cells.append(_cell(str(point.n_prompts), point.n_prompts))
    return cells


def _cell(text: str, value: float | None = None) -> str:
    order = "" if value is None else f' data-value="{value!r}"'
    return f"<td{order}>{html.escape(text)}</td>"


def _swatch(layer: Layer, i: int) -> str:
    fill = layer.colours[i] if layer.kept[i] else "white"
    return f'<td><span class="swatch" style="background:{fill};border-color:{layer.colours[i]}"></span></td>'


def _sample(text: str | None) -> str:
    if not text:
        return "<td></td>"
    if len(text) <= 50:
        return f'<td class="text">{html.escape(text)}</td>'
    start = html.escape(textwrap.shorten(text, 46, placeholder="…"))
    return f'<td class="text"><details><summary>{start}</summary>{html.escape(text)}</details></td>'


_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #303030; margin: 0; background: #fff; }
main { max-width: 1240px; margin: 0 auto; padding: 18px 24px 60px; }
h1 { font-size: 26px; margin: 6px 0; } h2 { font-size: 19px; margin: 26px 0 4px; }
.note { color: #606060; font-size: 13px; margin: 6px 0 10px; max-width: 90em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #e6e6e6; white-space: nowrap; }
th { background: #f5f5f5; font-weight: 600; } td.text { text-align: left; } td.text details[open] { white-space: normal; min-width: 24em; }
#summary td:first-child, #summary th:first-child { text-align: left; }
.sortable th { cursor: pointer; } tr.marked td { background: #fff3c4; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 50%; border: 2px solid; }
.beside { display: grid; grid-template-columns: minmax(0, 1fr) 220px; align-items: center; }
#colour-key { width: 220px; margin: 0; text-align: center; font-size: 13px; } #colour-key text { font-size: 13px; fill: #303030; }
@media (max-width: 760px) { .beside { grid-template-columns: minmax(0, 1fr); justify-items: center; } .beside > div { width: 100%; } }
details summary { cursor: pointer; }
"""

_SCRIPT = """
document.querySelectorAll('.js-plotly-plot').forEach(function (plot) {
  plot.on('plotly_click', function (event) {
    var row = document.getElementById(event.points[0].customdata);
    if (!row) { return; }
    document.querySelectorAll('tr.marked').forEach(function (r) { r.classList.remove('marked'); });
    row.classList.add('marked');
    row.scrollIntoView({ behavior: 'smooth', block: 'center' });
  });
});
document.querySelectorAll('table.sortable th').forEach(function (heading, column) {
  var up = false;
  heading.addEventListener('click', function () {
    var body = heading.closest('table').tBodies[0];
    var key = function (row) {
      var cell = row.cells[column];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    up = !up;
    Array.from(body.rows).sort(function (a, b) {
      var x = key(a), y = key(b);
      return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
    }).forEach(function (row) { body.appendChild(row); });
  });
});
"""
