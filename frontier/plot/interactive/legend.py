"""What the marks of the plots mean. It stands in the page, not in a plot, because words wrap there."""

import html

from frontier.plot.colours import SCALE
from frontier.plot.traces import DASHES, GREY, INK
from frontier.plot.view import View

_SHAPES = {
    "circle": '<circle cx="11" cy="9" r="5.5"/>',
    "square": '<rect x="6" y="4" width="10" height="10"/>',
    "triangle-up": '<path d="M11 3 L17 14 L5 14 Z"/>',
    "diamond": '<path d="M11 2 L17 9 L11 16 L5 9 Z"/>',
    "triangle-down": '<path d="M5 4 L17 4 L11 15 Z"/>',
    "cross": '<path d="M9 3h4v4h4v4h-4v4h-4v-4h-4v-4h4z"/>',
    "star": '<path d="M11 1.5l2.2 5 5.3.5-4 3.6 1.2 5.3-4.7-2.8-4.7 2.8 1.2-5.3-4-3.6 5.3-.5z"/>',
}
_DASHES = {"solid": "", "dash": "5 3", "dot": "2 2", "dashdot": "5 2 2 2", "longdash": "8 3", "longdashdot": "8 2 2 2"}


def legend(view: View, symbols: tuple[str, ...], *, iso: bool, regions: bool, line: bool) -> str:
    """The legend as a list; with several fronts each is a button that hides it and shows it again.

    Args:
        view (`View`): what is drawn.
        symbols (`tuple[str, ...]`): the symbol of each front in turn.
        iso (`bool`): whether a line of equal utility is drawn.
        regions (`bool`): whether regions of means are drawn.
        line (`bool`): whether fronts have lines.
    """
    items = []
    for number, layer in enumerate(view.layers):
        dash = DASHES[number % len(DASHES)] if line else None
        mark = (
            _mark(symbols[number % len(symbols)], fill="#808080", dash=dash)
            + f"<span>{html.escape(layer.label)}</span>"
        )
        several = len(view.layers) > 1
        items.append(
            f'<button type="button" aria-pressed="true" data-front="{number}">{mark}</button>' if several else mark
        )
    if any(not layer.kept.all() for layer in view.layers):
        items.append(
            f"{_mark('circle', fill='white', ink='#606060', width=2)}<span>hollow: dominated by another point</span>"
        )
    if view.references:
        items.append(f"{_mark('star', fill='black')}<span>reference policy</span>")
    for letter, label, _ in view.layers[0].lettered_picks():
        items.append(
            f"{_mark('square', fill='none', width=1.6)}<span><strong>{letter}</strong>: {html.escape(label)} (picked)</span>"
        )
    items.append(f"{_mark('circle', fill='none', ink='black', width=3)}<span>best for your weights</span>")
    if iso:
        items.append(_stroke("5 4", 2) + "<span>as good as it for your weights</span>")
    if regions:
        items.append(
            '<svg width="22" height="18" aria-hidden="true"><ellipse cx="11" cy="9" rx="10" ry="5" transform="rotate(-20 11 9)" fill="#1a52b022" stroke="#606060"/></svg>'
            "<span>95 % region of a point’s mean rewards</span>"
        )
    return f'<ul class="legend">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def colour_key(view: View) -> str:
    """The scale of the colours where they stand for one objective's weight."""
    stops = "".join(f'<stop offset="{i / (len(SCALE) - 1):.3f}" stop-color="{c}"/>' for i, c in enumerate(SCALE))
    words = html.escape(f"weight asked for {view.colour_by}")
    return f"""<ul class="legend" id="colour-scale"><li><span>{words}: 0</span>
<svg width="150" height="14" role="img" aria-label="colour scale from dark (0) to light (1)"><defs><linearGradient id="scale">{stops}</linearGradient></defs>
<rect width="150" height="14" fill="url(#scale)"/></svg><span>1</span></li></ul>"""


def series(labels: tuple[str, ...], colours: tuple[str, ...]) -> str:
    """A legend of named lines, in their colours and dashes."""
    items = [
        f'<li><button type="button" aria-pressed="true" data-front="{i}">{_stroke(_DASHES[DASHES[i % len(DASHES)]], 3, colours[i % len(colours)])}<span>{html.escape(label)}</span></button></li>'
        for i, label in enumerate(labels)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _mark(symbol: str, fill: str, ink: str = INK, width: float = 1, dash: str | None = None) -> str:
    line = (
        ""
        if dash is None
        else f'<path d="M0 9h36" stroke="{GREY}" stroke-width="1.5" stroke-dasharray="{_DASHES[dash]}" fill="none"/>'
    )
    shape = f'<g fill="{fill}" stroke="{ink}" stroke-width="{width}"{" transform=" + chr(34) + "translate(7 0)" + chr(34) if line else ""}>{_SHAPES[symbol]}</g>'
    return f'<svg width="{36 if line else 22}" height="18" aria-hidden="true">{line}{shape}</svg>'


def _stroke(dash: str, width: float, colour: str = "black") -> str:
    return f'<svg width="34" height="18" aria-hidden="true"><path d="M0 9h34" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}" fill="none"/></svg>'
