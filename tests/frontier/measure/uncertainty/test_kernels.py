import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier import InputError, controllability_gap, eum, hypervolume, mip
from frontier.measure.uncertainty.kernels import hypervolumes, kernel

# Few values: ties, duplicates and points on the reference are common.
VALUES = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.5000001, 1.0, 3.0])


@settings(deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda k: arrays(np.float64, st.tuples(st.just(3), st.integers(1, 6), st.just(k)), elements=VALUES)
    )
)
def test_hypervolumes_agree_with_the_exact_one(fronts):
    place = np.full(fronts.shape[2], 0.0)
    assert np.allclose(hypervolumes(fronts, place), [hypervolume(front, place) for front in fronts], rtol=1e-12, atol=0)


def test_other_figures_agree_with_the_measure():
    generator = np.random.default_rng(0)
    fronts, weights = generator.normal(size=(4, 5, 3)), generator.dirichlet(np.ones(3), 5)
    for name, figure in (("eum", eum), ("mip", mip), ("controllability_gap", controllability_gap)):
        assert np.allclose(kernel(name, 5, 3, None, weights)(fronts), [figure(front, weights) for front in fronts])


def test_served_points_only_are_asked_for_what_they_were_steered_to():
    fronts = np.array([[[9.0, 9.0], [1.0, 0.0], [0.0, 1.0]]])
    weights, served = np.eye(2), np.array([1, 2])
    assert kernel("mip", 3, 2, None, weights, served)(fronts).tolist() == [1.0]
    assert kernel("controllability_gap", 3, 2, None, weights, served)(fronts).tolist() == [8.0]


def test_a_callable_is_asked_front_by_front():
    assert kernel(lambda points: points.sum(), 2, 2, None, None)(np.ones((3, 2, 2))).tolist() == [4.0] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("hypervolum", 2, 2, None, None), "did you mean 'hypervolume'"),
        (("hypervolume", 2, 2, None, None), "needs a reference_point"),
        (("hypervolume", 2, 2, [0.0], None), "must have 2 columns"),
        (("eum", 2, 2, None, None), "eum needs weights"),
        (("mip", 2, 2, None, np.eye(2)[:1]), "found 1 rows for 2 points"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(InputError, match=message):
        kernel(*settings)


def test_refuses_a_figure_that_is_not_finite():
    with pytest.raises(InputError, match="must be finite"):
        kernel(lambda _: float("nan"), 2, 2, None, None)(np.ones((1, 2, 2)))
