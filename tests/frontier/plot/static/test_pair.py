import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import t

from frontier import ParetoFront
from frontier.plot.ellipse import confidence_ellipse
from frontier.plot.static.pair import draw_pair
from frontier.plot.view import view_of
from frontier.prompt_rewards import PromptRewards


def drawn(known):
    """The panel of one point whose two rewards are known on so many of 30 prompts, and the layer that it shows."""
    rewards = np.random.default_rng(0).normal(size=(1, 30, 2))
    for k, n in enumerate(known):
        rewards[:, n:, k] = np.nan
    view = view_of(ParetoFront.of_prompt_rewards(PromptRewards(("a", "b"), rewards, tuple(map(str, range(30))))))
    axes = Figure().add_subplot()
    draw_pair(axes, view, 0, 1, 40, line=False)
    return axes, view.layers[0]


def test_a_region_rests_on_the_prompts_that_are_known():
    axes, layer = drawn((8, 30))
    (region,) = axes.patches
    expected = confidence_ellipse(layer.front.rewards[0], layer.covariances(0, 1)[0], 8)
    np.testing.assert_allclose(region.get_xy()[: len(expected)], expected)


def test_an_interval_rests_on_the_prompts_that_are_known():
    axes, layer = drawn((4, 1))  # of one prompt there is no standard error
    (arm,) = axes.lines
    assert np.ptp(arm.get_xdata()) == pytest.approx(2 * t.ppf(0.975, 3) * layer.front.standard_errors[0, 0])
    assert np.ptp(arm.get_ydata()) == 0
