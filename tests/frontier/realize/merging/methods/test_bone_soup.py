import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from frontier.realize.merging.methods import METHODS, backbone_rewards

A, B, SFT = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.25])


def coefficients(n=2, **settings):
    chosen = METHODS["bone_soup"]
    return chosen.coefficients(chosen.Parameters.of(n, settings), n)


def test_by_hand(merge):
    # 0.75 c1 + 0.25 c2 = 1 and 0.25 c1 + 0.75 c2 = 0: c = (1.5, -0.5).
    factors, rest = coefficients(preference=[1, 0], beta=0.75)
    assert factors == pytest.approx((1.5, -0.5))
    assert rest == 0
    assert_close(merge("bone_soup", [A, B], preference=[1, 0], beta=0.75), torch.tensor([1.5, -0.5]))


def test_extrapolation_by_hand(merge):
    # a = 0.5 doubles the first objective's soup, and takes the base once off it.
    factors, rest = coefficients(preference=[1, 0], beta=0.75, extrapolation=[0.5, 0])
    assert factors == pytest.approx((3.0, -1.0))
    assert rest == pytest.approx(-1.0)
    got = merge("bone_soup", [A, B], SFT, preference=[1, 0], beta=0.75, extrapolation=[0.5, 0])
    assert_close(got, 3 * A - B - SFT)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 5), st.floats(0.55, 1.0), st.integers(0, 999))
def test_undoes_the_mixture(n, beta, seed):
    mu = np.random.default_rng(seed).dirichlet(np.ones(n))
    factors, _ = coefficients(n, preference=mu.tolist(), beta=beta)
    np.testing.assert_allclose(np.array(factors) @ backbone_rewards(n, beta), mu, atol=1e-9)
    assert sum(factors) == pytest.approx(1)


def test_limits(merge):
    # Pure specialists are Rewarded Soups; a backbone's own rewards give that backbone.
    assert_close(
        merge("bone_soup", [A, B], preference=[0.3, 0.7], beta=1),
        merge("rewarded_soups", [A, B], weight=[0.3, 0.7]),
    )
    assert_close(merge("bone_soup", [A, B], preference=[0.25, 0.75], beta=0.75), B)
    assert_close(merge("bone_soup", [A, B], preference=[1, 0], rewards=[[0.5, 0.5], [1.0, 0.0]]), B)


def test_refusals(merge):
    with pytest.raises(InputError, match=r"with beta 0\.5 all 2 backbones are trained for the same reward"):
        merge("bone_soup", [A, B], preference=[0.5, 0.5], beta=0.5)
    with pytest.raises(InputError, match="one backbone for each of the 3 objectives, found 2"):
        merge("bone_soup", [A, B], preference=[0.2, 0.3, 0.5])
    with pytest.raises(InputError, match="not independent"):
        merge("bone_soup", [A, B], preference=[0.5, 0.5], rewards=[[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(InputError, match="weights of its 2 rewards"):
        merge("bone_soup", [A, B], preference=[0.5, 0.5], rewards=[[0.5, 0.5], [1.0]])
    with pytest.raises(InputError, match="extrapolates away from the base"):
        merge("bone_soup", [A, B], preference=[0.5, 0.5], extrapolation=[0.1, 0.1])
    with pytest.raises(InputError, match="at least 0 and less than 1"):
        merge("bone_soup", [A, B], SFT, preference=[0.5, 0.5], extrapolation=[1.0, 0.0])
    with pytest.raises(InputError, match="one value for each of the 2 objectives, found 1"):
        merge("bone_soup", [A, B], SFT, preference=[0.5, 0.5], extrapolation=[0.1])
