import dataclasses
import itertools

import numpy as np
import pytest
from matplotlib.text import Annotation, Text

from frontier import FrontPoint, ParetoFront
from frontier.plot.static.canvas import picture_style
from frontier.prompt_rewards import PromptRewards

PLAIN = ("helpful", "brief", "warm & kind", "safe", "polite", "accurate")
NASTY = (
    "helpfulness_as_judged_by_the_large_reward_model_v2 (0 to 10)",
    "brevity $x^2$ of the answer in tokens, negative",
    "warmth & <kindness>",
    "harmlessness under red teaming with_long_prompts",
    "p" * 70,
    "x",
)


@pytest.fixture
def many_fronts():
    """`many_fronts(k, case)`: typical and nasty input for pictures of k objectives."""

    def lattice(k, parts):
        return np.array([w for w in itertools.product(range(parts + 1), repeat=k) if sum(w) == parts]) / parts

    def make(k, weights, rewards, names=PLAIN, error=0.02):
        points = [
            FrontPoint(r.tolist(), [error] * k, 32, {"weights": dict(zip(names[:k], w.tolist(), strict=True))})
            for w, r in zip(weights, rewards, strict=True)
        ]
        return ParetoFront(names[:k], tuple(points), FrontPoint([0.0] * k, [error] * k, 32))

    def case_of(k, case):
        w = lattice(k, 4 if k <= 3 else 2)
        r = np.sqrt(w + 0.01)
        random = np.random.default_rng(k)
        if case == "typical":
            return make(k, w, r)
        if case == "long names":
            return make(k, w, r, NASTY)
        if case == "one point":
            return dataclasses.replace(make(k, w[:1], r[:1]), reference_policy=None)
        if case == "equal points":
            return make(k, w, np.full_like(r, 0.5), error=0.0)
        if case == "large numbers":
            return make(k, w, 1e7 + 123.4 * r, error=3.0)
        if case == "unknown errors":
            return make(k, w, -1e-4 * r, error=np.nan)
        if case == "forty":
            weights = random.dirichlet(np.ones(k), 40)
            return make(k, weights, np.sqrt(weights) + 0.01 * random.normal(size=weights.shape))
        assert case == "several"
        labels = ["steerable", "rewarded soups of six experts, mixed in weight space", "prompted", "a", "b" * 60]
        return {label: make(k, w, r * (1 - 0.1 * i)) for i, label in enumerate(labels)}

    return case_of


@pytest.fixture
def readable(monkeypatch):
    """`readable(draw)`: draws a figure and fails if a text leaves it, covers another or is too small; gives back the texts."""

    def check(draw):
        with picture_style():
            figure = draw()
            drawn, original = [], Text.draw

            def record(self, renderer, *args, **kwargs):
                if self.get_visible() and self.get_text().strip():
                    drawn.append(self)
                return original(self, renderer, *args, **kwargs)

            monkeypatch.setattr(Text, "draw", record)
            figure.canvas.draw()
            renderer = figure.canvas.get_renderer()
            boxes = [(t.get_text(), _box(t, renderer)) for t in drawn]
        width, height = figure.get_size_inches() * figure.dpi
        for text, box in boxes:
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1, f"{text!r} is cut off"
        for (text, a), (other, b) in itertools.combinations(boxes, 2):
            over = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(over) <= 1, f"{text!r} covers {other!r}"
        # At 1200 pixels for 12 inches, letters of 8 points are 11 pixels tall.
        assert min(t.get_fontsize() for t in drawn) >= 8
        assert figure.get_size_inches()[0] <= 12.5
        return [text for text, _ in boxes]

    def _box(text, renderer):
        # An annotation's own extent includes its line.
        return (
            Text.get_window_extent(text, renderer) if isinstance(text, Annotation) else text.get_window_extent(renderer)
        )

    return check


@pytest.fixture
def with_prompts():
    """`with_prompts(correlation)`: a front of two objectives that kept its rewards per prompt."""

    def make(correlation=0.0, n=200):
        random = np.random.default_rng(0)
        noise = random.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=(3, n))
        rewards = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])[:, None] + noise
        kept = PromptRewards(("helpful", "brief"), rewards, tuple(f"p{i}" for i in range(n)))
        asked = [{"weights": {"helpful": w, "brief": 1 - w}} for w in (0.0, 0.5, 1.0)]
        return ParetoFront.of_prompt_rewards(kept, preferences=asked)

    return make
