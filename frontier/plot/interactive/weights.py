"""Let a reader set weights on a page and see which point is best for them."""

import html
import math
from typing import Any

from frontier.plot.view import View


def weights_panel(view: View) -> str:
    """A slider for two objectives, one an objective for more; below them the best point in words and the way to its row."""
    count = len(view.objectives)
    sliders = "".join(
        f'<div><label for="weight-{k}">weight of {html.escape(name)}</label>'
        f'<input type="range" id="weight-{k}" min="0" max="1" step="0.01" value="0.5"></div>'
        for k, name in enumerate(view.objectives[: 1 if count == 2 else count])
    )
    shares = "" if count == 2 else " (as shares of their sum)"
    return f"""<section id="weights" aria-labelledby="weights-title"><h2 id="weights-title">Your weights</h2>
<div class="sliders">{sliders}</div>
<p class="note">Weights{shares}: <span id="shares"></span>. Utility: the sum of weight × mean reward.</p>
<div class="result"><p id="best" aria-live="polite"><strong>Best for them:</strong> <span id="best-name"></span></p>
<button type="button" class="plain" data-act="best">Show its row</button></div></section>"""


def weights_data(view: View) -> dict[str, Any]:
    """What the page's script needs to find the best point, as JSON values."""
    layers = []
    for layer in view.layers:
        asked = [
            None if any(math.isnan(v) or v < 0 for v in row) or not sum(row) > 0 else row
            for row in layer.front.weights.tolist()
        ]
        layers.append({"label": layer.label, "rewards": layer.front.rewards.tolist(), "weights": asked})
    return {"objectives": list(view.objectives), "layers": layers}
