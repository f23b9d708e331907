import numpy as np

from frontier import FrontPoint, ParetoFront
from frontier.plot.interactive.parallel import parallel_figure
from frontier.plot.view import view_of


def points_of(figure):
    return [t for t in figure.data if t.customdata is not None]


def test_runs_from_worst_to_best(make_front):
    front = make_front(4, 2)
    figure = parallel_figure(view_of(front, picks={"mine": 3}))
    traces = points_of(figure)
    assert len(traces) == len(front.points)
    heights = np.array([t.y for t in traces])
    assert (heights.min(), heights.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(heights.argmax(axis=0), front.rewards.argmax(axis=0))
    assert traces[-1].line.dash == "dot"  # dominated
    assert traces[3].line.color == "black"
    assert traces[0].line.color != "black"
    assert "higher is better" in figure.layout.yaxis.title.text


def test_the_script_gets_what_it_needs_to_place_a_point(make_front):
    front = make_front(4, 2)
    figure = parallel_figure(view_of(front))
    meta = figure.layout.meta
    placed = (front.rewards[2] - meta["low"]) / meta["extent"]
    np.testing.assert_allclose(points_of(figure)[2].y, placed)


def test_constant_objective_does_not_divide_by_zero():
    names = ("a", "b", "c", "d")
    front = ParetoFront(names, (FrontPoint((0, 1, 2, 5), (0,) * 4, 4), FrontPoint((1, 0, 3, 5), (0,) * 4, 4)))
    for trace in points_of(parallel_figure(view_of(front))):
        assert np.isfinite(np.array(trace.y, dtype=float)).all()
