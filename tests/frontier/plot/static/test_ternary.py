import dataclasses

import pytest

from frontier import FrontPoint, InputError
from frontier.plot.static.ternary import draw_ternary, plot_ternary
from frontier.plot.view import view_of


@pytest.mark.parametrize("by", ["best", "brief"])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_writes_a_picture(make_front, tmp_path, by, suffix):
    path = plot_ternary(make_front(3, 2), tmp_path / f"t.{suffix}", by=by, picks={"knee": 1}, dpi=50)
    assert path.stat().st_size > 1000


def test_numbers_name_the_best_points(make_front, readable):
    # Steered exactly on a concave front, every point is best around its own weights; the dominated one nowhere.
    texts = readable(lambda: draw_ternary(view_of(make_front(3, 2))))
    assert {str(i) for i in range(6)} <= set(texts)
    assert "6" not in texts
    assert "1 point without weights" in " ".join(texts)
    assert {"only helpful", "only brief", "only warm & kind"} <= set(texts)


def test_a_constant_reward_and_few_points_have_no_shading(make_front, tmp_path):
    front = make_front(3, 2)
    flat = dataclasses.replace(front, points=tuple(dataclasses.replace(p, rewards=(1, 1, 1)) for p in front.points[:6]))
    assert plot_ternary(flat, tmp_path / "a.png", by="brief", dpi=50).exists()
    few = dataclasses.replace(front, points=front.points[:2])
    assert len(draw_ternary(view_of(few), "brief").axes[1].collections) == 1  # the marks alone


@pytest.mark.parametrize("rewards", [(0.5, 0.5 + 2e-16, 0.5 - 2e-16), (1e18, 1e18, 1e18), (1e9, 1e9 + 1e-6, 1e9)])
def test_rewards_that_differ_by_rounding_are_one_reward(make_front, tmp_path, rewards):
    front = make_front(3, 1)
    points = [dataclasses.replace(p, rewards=(r, 0, 0)) for p, r in zip(front.points[:3], rewards, strict=True)]
    near = dataclasses.replace(front, points=tuple(points))
    assert plot_ternary(near, tmp_path / "a.png", by="helpful", dpi=50).exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [({"by": "breif"}, "did you mean 'brief'"), ({"picks": {"x": 6}}, "pick 'x' is point 6, which has no weights")],
)
def test_refuses(make_front, tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        plot_ternary(make_front(3, 2), tmp_path / "t.png", **given)


@pytest.mark.parametrize(("k", "hint"), [(2, "plot_steering"), (4, "plot_parallel or plot_steering")])
def test_refuses_other_than_three(make_front, tmp_path, k, hint):
    with pytest.raises(InputError, match=f"needs three objectives, found {k}.*use {hint}"):
        plot_ternary(make_front(k, 2), tmp_path / "t.png")


def test_refuses_points_without_a_place(make_front, tmp_path):
    front = make_front(3, 2)
    bare = dataclasses.replace(front, points=front.points[-1:])
    with pytest.raises(InputError, match="no point of front has weights"):
        plot_ternary(bare, tmp_path / "t.png")
    asked = {"weights": {"helpful": -1.0, "brief": 2.0}}
    negative = dataclasses.replace(front, points=(FrontPoint((0, 0, 0), (0, 0, 0), 3, asked),))
    with pytest.raises(InputError, match="at least 0"):
        plot_ternary(negative, tmp_path / "t.png")
