import numpy as np

from frontier.plot.interactive.space import space_figure
from frontier.plot.view import view_of


def test_space(make_front):
    front = make_front(3)
    figure = space_figure(view_of({"a": front, "b": make_front(3, best=0.4)}, picks={"knee": 0}))
    first, second = (t for t in figure.data if t.customdata is not None)
    np.testing.assert_array_equal(np.stack([first.x, first.y, first.z], 1), front.rewards)
    assert first.marker.symbol[0] == "circle"
    assert second.marker.symbol[-1] == "square-open"
    assert figure.layout.scene.zaxis.title.text == "warm &amp; kind"
    assert not figure.layout.meta["long"]
