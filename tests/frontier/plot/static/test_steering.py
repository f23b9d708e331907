import dataclasses

import numpy as np
import pytest

from frontier import InputError
from frontier.plot.static.steering import draw_steering, plot_steering
from frontier.plot.view import view_of


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_writes_a_picture(make_front, tmp_path, suffix):
    fronts = {"steerable": make_front(2), "soups": make_front(2, best=0.5)}
    assert plot_steering(fronts, tmp_path / f"s.{suffix}", dpi=50).stat().st_size > 1000


def test_a_row_a_reward_and_a_column_a_weight(make_front):
    front = make_front(2)
    panels = [a for a in draw_steering(view_of(front), "").axes if a.lines]
    assert len(panels) == 4
    rewards = front.rewards[:5]
    for panel, (i, j) in zip(panels, np.ndindex(2, 2), strict=True):
        curve = next(line for line in panel.lines if line.get_linewidth() == 1.7)
        order = np.argsort(front.weights[:5, j])
        np.testing.assert_allclose(curve.get_xdata(), front.weights[order, j])
        np.testing.assert_allclose(curve.get_ydata(), rewards[order, i])
    assert panels[0].get_facecolor() == panels[3].get_facecolor() != panels[1].get_facecolor()


def test_says_what_it_left_out(make_front, readable):
    texts = " ".join(readable(lambda: draw_steering(view_of(make_front(3, 2)), "")))
    assert "1 point without weights left out" in texts
    assert "mean of the points at that weight" in texts


def test_one_objective_asked_for_by_degrees(make_front, tmp_path):
    front = make_front(1)
    points = tuple(
        dataclasses.replace(front.points[0], rewards=(w,), preference={"weights": {"helpful": w}})
        for w in (0.0, 0.5, 2.0)
    )
    assert plot_steering(dataclasses.replace(front, points=points), tmp_path / "s.png", dpi=50).exists()


def test_refuses_a_front_that_was_asked_for_nothing(make_front, tmp_path):
    front = make_front(2)
    bare = dataclasses.replace(front, points=front.points[-1:])
    with pytest.raises(InputError, match=r"no point of bare has weights .*moalign front.* plot_front"):
        plot_steering({"steered": front, "bare": bare}, tmp_path / "s.png")
    assert list(tmp_path.iterdir()) == []
