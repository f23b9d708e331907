import dataclasses

import numpy as np
import pytest

from frontier import ParetoFront
from frontier.plot.interactive.pair import pair_figure
from frontier.plot.view import view_of
from frontier.prompt_rewards import PromptRewards


def points_of(figure):
    """The traces that hold the points of a front: those whose points have ids."""
    return [t for t in figure.data if t.customdata is not None]


def regions_of(figure):
    return [t for t in figure.data if t.name == "region"]


def test_points(make_front):
    front = make_front(2)
    figure = pair_figure(view_of(front, picks={"knee": 2}))
    (trace,) = points_of(figure)
    np.testing.assert_array_equal(trace.x, front.rewards[:, 0])
    np.testing.assert_array_equal(trace.y, front.rewards[:, 1])
    assert list(trace.marker.symbol) == ["circle"] * 5 + ["circle-open"]
    assert list(trace.customdata) == [f"p0-{i}" for i in range(6)]
    assert "(dominated)" in trace.hovertext[-1]
    assert figure.layout.xaxis.title.text == "reward of helpful<br>higher is better; raw units"
    assert figure.layout.xaxis.range[0] < -0.5 < 1.005 < figure.layout.xaxis.range[1]


def test_regions_of_standard_errors_are_upright(make_front):
    figure = pair_figure(view_of(make_front(2)))
    assert len(regions_of(figure)) == 5  # the sixth point has no standard errors
    region = regions_of(figure)[0]
    x, y = np.array(region.x), np.array(region.y)
    np.testing.assert_allclose(np.ptp(x), np.ptp(y))
    np.testing.assert_allclose(np.cov(x[:-1], y[:-1])[0, 1], 0, atol=1e-12)


def test_regions_of_prompt_rewards_lean_with_them(make_front):
    front = make_front(2)
    noise = np.random.default_rng(0).normal(size=(6, 40, 1)) * [0.1, -0.1]  # what one objective gains the other loses
    kept = PromptRewards(front.objectives, noise, tuple(map(str, range(40))))
    points = [
        dataclasses.replace(p, rewards=m, standard_error=s, n_prompts=40)
        for p, m, s in zip(front.points, kept.means(), kept.standard_errors(), strict=True)
    ]
    leaning = dataclasses.replace(front, points=points, prompt_rewards=kept)
    for region in regions_of(pair_figure(view_of(leaning))):
        assert np.corrcoef(region.x, region.y)[0, 1] < -0.999


def test_regions_rest_on_the_prompts_that_are_known():
    rewards = np.random.default_rng(0).normal(size=(1, 30, 2))
    rewards[:, 2:, 0] = np.nan
    front = ParetoFront.of_prompt_rewards(PromptRewards(("a", "b"), rewards, tuple(map(str, range(30)))))
    assert regions_of(pair_figure(view_of(front))) == []  # two prompts have no region of this level


@pytest.mark.parametrize("k", [2, 3])
def test_the_line_of_equal_utility_needs_two_objectives(make_front, k):
    figure = pair_figure(view_of(make_front(k)), 0, 1)
    assert len(figure.layout.shapes) == (k == 2)
    assert [t.meta for t in figure.data].count("best") == 1


def test_fronts_differ_in_symbol_and_dash(make_front):
    figure = pair_figure(view_of({"a": make_front(2), "b": make_front(2, best=0.5)}))
    first, second = points_of(figure)
    assert (first.marker.symbol[0], second.marker.symbol[0]) == ("circle", "square")
    lines = [t.line.dash for t in figure.data if t.mode == "lines" and t.name is None]
    assert lines == ["solid", "dash"]
