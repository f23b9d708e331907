import numpy as np

from frontier.plot.interactive.steering import has_steering, steering_figure
from frontier.plot.view import view_of


def test_curve_band_and_points(make_front):
    front = make_front(2)
    figure = steering_figure(view_of(front), 0, 0)
    mean, band = (next(t for t in figure.data if t.name == name) for name in ("mean", "band"))
    np.testing.assert_allclose(mean.x, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(mean.y, np.sqrt(np.array(mean.x) + 0.01))
    # Student's t with 31 degrees of freedom: 2.0395 standard errors of 0.02 to each side, out along the low end and back along the high one.
    np.testing.assert_allclose(band.y[:5], np.array(mean.y) - 2.0395 * 0.02, atol=1e-5)
    np.testing.assert_allclose(band.y[5:], np.array(mean.y)[::-1] + 2.0395 * 0.02, atol=1e-5)
    (points,) = (t for t in figure.data if t.customdata is not None)
    assert list(points.x) == [0, 0.25, 0.5, 0.75, 1, None]
    assert figure.layout.xaxis.title.text == "weight asked for helpful"


def test_against_another_objectives_weight(make_front):
    mean = next(t for t in steering_figure(view_of(make_front(2)), 0, 1).data if t.name == "mean")
    assert (np.diff(mean.y) < 0).all()


def test_fronts_without_weights_have_none(make_front):
    front = make_front(2)
    bare = front.take([5])
    assert not has_steering(view_of(bare))
    assert not has_steering(view_of(front.take([0])))
    assert has_steering(view_of(front.take([0, 1])))
    figure = steering_figure(view_of({"a": front, "b": bare}), 0, 0)
    assert {t.legendgroup for t in figure.data} == {"a"}
