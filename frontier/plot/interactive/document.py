"""The document around the plots: one HTML file that holds everything it needs, so that it works offline and in years."""

import html
import json
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from frontier.plot.interactive.script import SCRIPT
from frontier.plot.interactive.style import STYLE
from frontier.plot.view import encodable


def place(name: str, caption: str = "", heading: str = "") -> str:
    """Where the plot of that name is drawn.

    Args:
        name (`str`): its key among the plots of `document`.
        caption (`str`, *optional*): under it, plain text.
        heading (`str`, *optional*): over it, plain text.
    """
    over = f"<h3>{html.escape(heading)}</h3>" if heading else ""
    under = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure>{over}<div class="plot" id="{name}"></div>{under}</figure>'


def document(title: str, body: str, plots: Mapping[str, go.Figure], data: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        title (`str`): plain text.
        body (`str`): HTML between the title and the end, safe as it is.
        plots (`Mapping[str, Figure]`): by the id of their `place`.
        data (`Mapping`): JSON values for the page's script: `front` (objectives and layers, for the sliders) and `labels` (of fronts, for the legend).
    """
    figures = ",".join(f"{json.dumps(name)}:{figure.to_json()}" for name, figure in plots.items())
    content = f'{{"plots":{{{figures}}},{json.dumps(dict(data), allow_nan=False)[1:]}'
    safe_title = html.escape(encodable(title))
    # "<" is written as its escape: a "</script>" in a sample would end the element.
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{safe_title}</title>
<style>{STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
<h1>{safe_title}</h1>
{encodable(body)}
</main>
<script type="application/json" id="content">{content.replace("<", chr(92) + "u003c")}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""
