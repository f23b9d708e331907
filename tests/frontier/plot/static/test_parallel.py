import pytest

from frontier import InputError
from frontier.plot.static.parallel import draw_all_parallel, plot_parallel
from frontier.plot.view import view_of


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_writes_a_picture(make_front, tmp_path, suffix):
    assert plot_parallel(make_front(4, 2), tmp_path / f"p.{suffix}", picks={"a": 0}, dpi=50).stat().st_size > 1000


def test_axes_run_from_worst_to_best(make_front, readable):
    texts = readable(lambda: draw_all_parallel(view_of(make_front(3, 2)), ""))
    assert "−0.50\nworst\nbrief" in texts  # the dominated point
    assert "1.00\n▲ best" in texts  # √1.01


def test_dominated_points_are_dotted(make_front):
    figure = draw_all_parallel(view_of(make_front(3, 2)), "")
    (panel,) = (a for a in figure.axes if len(a.lines) > 10)
    assert [line.get_linestyle() for line in panel.lines].count(":") == 1


def test_refuses_one_objective(make_front, tmp_path):
    with pytest.raises(InputError, match="a trade-off needs two objectives"):
        plot_parallel(make_front(1), tmp_path / "p.png")
