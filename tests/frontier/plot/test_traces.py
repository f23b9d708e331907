import numpy as np
import pytest

from frontier.plot.traces import pair_figure, parallel_figure, projections_figure, space_figure
from frontier.plot.view import view_of


def points_of(figure, kind="scatter"):
    """The traces that hold the points of a front: those whose points have ids."""
    return [t for t in figure.data if t.type == kind and t.customdata is not None]


def test_pair(make_front):
    front = make_front(2)
    figure = pair_figure(view_of(front, picks={"knee": 2}))
    (trace,) = points_of(figure)
    np.testing.assert_array_equal(trace.x, front.rewards[:, 0])
    np.testing.assert_array_equal(trace.y, front.rewards[:, 1])
    assert list(trace.error_x.array) == [0.02] * 5 + [0.0]
    assert list(trace.marker.symbol) == ["circle"] * 5 + ["circle-open"]
    assert figure.layout.xaxis.title.text == "reward of helpful, higher is better"
    assert [t.name for t in figure.data if t.showlegend] == [
        "front",
        "dominated (hollow)",
        "reference policy",
        "a: knee (picked)",
    ]


def test_hover_says_what_was_asked_and_what_it_got(make_front):
    (trace,) = points_of(pair_figure(view_of(make_front(2))))
    text = trace.hovertext[1]
    assert "weights: helpful 0.25, brief 0.75" in text
    assert "helpful: 0.510 ± 0.020" in text
    assert "KL to the reference: 1.000 nats" in text
    assert "32 prompts" in text
    assert "&lt;/script&gt;&lt;b&gt;asked 0.25" in text
    assert "(dominated)" in trace.hovertext[-1]
    assert "±" not in trace.hovertext[-1]


@pytest.mark.parametrize("k", [3, 4, 5])
def test_projections_show_every_pair_once(make_front, k):
    front = make_front(k, 2)
    traces = points_of(projections_figure(view_of(front)))
    shown = {(tuple(t.x), tuple(t.y)) for t in traces}
    columns = [tuple(c) for c in front.rewards.T]
    assert shown == {(columns[a], columns[b]) for a in range(k) for b in range(a + 1, k)}


def test_space(make_front):
    front = make_front(3)
    figure = space_figure(view_of({"a": front, "b": make_front(3, best=0.4)}, picks={"knee": 0}))
    first, second = points_of(figure, "scatter3d")
    np.testing.assert_array_equal(np.stack([first.x, first.y, first.z], 1), front.rewards)
    assert first.marker.symbol[0] == "circle"
    assert second.marker.symbol[-1] == "square-open"
    assert figure.layout.scene.zaxis.title.text == "warm & kind"


def test_parallel_runs_from_worst_to_best(make_front):
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


def test_constant_objective_does_not_divide_by_zero(make_front):
    from frontier import FrontPoint, ParetoFront

    names = ("a", "b", "c", "d")
    front = ParetoFront(names, (FrontPoint((0, 1, 2, 5), (0,) * 4, 4), FrontPoint((1, 0, 3, 5), (0,) * 4, 4)))
    for trace in points_of(parallel_figure(view_of(front))):
        assert np.isfinite(np.array(trace.y, dtype=float)).all()
