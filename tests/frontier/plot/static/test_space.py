import numpy as np
import pytest

from frontier import InputError
from frontier.plot.static.space import draw_space, plot_space
from frontier.plot.view import view_of


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_writes_a_picture(make_front, tmp_path, suffix):
    path = plot_space(make_front(3, 2), tmp_path / "new" / f"s.{suffix}", picks={"knee": 1}, dpi=50)
    assert path.stat().st_size > 1000


def test_nearer_points_are_larger_and_every_point_has_a_foot(make_front):
    front = make_front(3, 2)
    (axes,) = (a for a in draw_space(view_of(front), "").axes if a.name == "3d")
    sizes = [c.get_sizes()[0] for c in axes.collections]
    drawn = np.array([np.ravel([np.asarray(v) for v in c._offsets3d]) for c in axes.collections])
    assert len(drawn) == len(front.points)
    # The view is from where all rewards are large.
    assert np.argmax(drawn @ [1, 1, 1]) in np.argsort(sizes)[-3:]
    assert np.argmin(sizes) == np.argmin(drawn @ [1, 1, 1])
    assert sizes == sorted(sizes)  # drawn from far to near
    floor = axes.get_zlim()[0]
    feet = [line for line in axes.lines if len(line.get_data_3d()[2]) == 1 and line.get_data_3d()[2][0] == floor]
    assert len(feet) == len(front.points) + 1  # the reference policy has one too


@pytest.mark.parametrize("k", [2, 4])
def test_refuses_other_than_three(make_front, tmp_path, k):
    with pytest.raises(InputError, match=f"needs three objectives, found {k}: .*plot_parallel"):
        plot_space(make_front(k, 2), tmp_path / "s.png")
    assert list(tmp_path.iterdir()) == []
