import dataclasses

import numpy as np

from frontier.plot.interactive.ternary import ternary_figure
from frontier.plot.view import view_of


def test_points_stand_at_their_weights(make_front):
    front = make_front(3, 2)
    (trace,) = (t for t in ternary_figure(view_of(front)).data if t.customdata is not None)
    asked = {tuple(w): (x, y) for w, x, y in zip(front.weights.tolist(), trace.x, trace.y, strict=True)}
    assert asked[1.0, 0.0, 0.0] == (0, 0)
    assert asked[0.0, 1.0, 0.0] == (1, 0)
    np.testing.assert_allclose(asked[0.0, 0.0, 1.0], (0.5, np.sqrt(0.75)))
    np.testing.assert_allclose(asked[0.5, 0.5, 0.0], (0.5, 0))
    assert trace.x[-1] is None  # asked for nothing


def test_weights_below_zero_are_left_out(make_front):
    front = make_front(3, 2)
    odd = {"weights": {"helpful": 1.5, "brief": -0.5}}
    point = dataclasses.replace(front.points[0], preference=odd)
    (trace,) = (
        t
        for t in ternary_figure(view_of(dataclasses.replace(front, points=(point, *front.points[1:])))).data
        if t.customdata is not None
    )
    assert trace.x[0] is None
    assert trace.x[1] is not None


def test_corner_names_are_escaped(make_front):
    texts = [a.text for a in ternary_figure(view_of(make_front(3))).layout.annotations]
    assert texts[2] == "weight 1 for<br><b>warm &amp; kind</b>"
