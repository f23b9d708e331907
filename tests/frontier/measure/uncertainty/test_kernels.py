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


def test_an_indicator_that_changes_its_argument_changes_nothing_else():
    def shifted(points):
        points -= points.min(axis=0)
        return points.max()

    fronts = np.random.default_rng(0).normal(size=(3, 4, 2))
    before = fronts.copy()
    kernel(shifted, 4, 2, None, None)(fronts)
    assert (fronts == before).all()


@pytest.mark.parametrize("found", [None, np.ones(1), np.ones(2), "x", 10**400, [1.0]])
def test_refuses_a_figure_that_is_no_number(found):
    with pytest.raises(InputError, match="the indicator must return a number"):
        kernel(lambda _: found, 2, 2, None, None)(np.ones((1, 2, 2)))


@pytest.mark.parametrize("served", [[0, 2], [0, -1], [0.0, 1.0], [True, False], [[0, 1]], ["a", "b"]])
@pytest.mark.parametrize("figure", ["mip", "controllability_gap"])
def test_refuses_points_that_do_not_exist(figure, served):
    with pytest.raises(InputError, match="served must be indices of points, whole numbers from 0 to 1"):
        kernel(figure, 2, 2, None, np.eye(2), served)
