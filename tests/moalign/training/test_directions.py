import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.training.directions import DirectionSampler, draw_directions
from moalign.training.rollouts.rollout import PreferenceSampler

NAMES = ("helpful", "brief", "warm")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.floats(0.5, 90.0), st.integers(0, 2**31), st.data())
def test_unit_and_within_the_angle(k, max_angle, seed, data):
    primary = data.draw(st.integers(0, k - 1))
    v = draw_directions(64, k, generator(seed), primary, max_angle)
    assert v.shape == (64, k)
    assert v.dtype == torch.float32
    assert_close(v.norm(dim=1), torch.ones(64))
    assert (v[:, primary] >= math.cos(math.radians(max_angle)) - 1e-6).all()


def test_two_objectives_have_the_papers_uniform_angle():
    v = draw_directions(4000, 2, generator())
    degrees = torch.rad2deg(torch.atan2(v[:, 1], v[:, 0]))
    assert degrees.abs().max() <= 45.001
    assert kstest(degrees.numpy(), "uniform", (-45, 90)).pvalue > 0.01


def test_three_objectives_are_uniform_on_the_cap():
    """Archimedes: on the sphere in three dimensions the height is uniform, and so is the angle around the axis."""
    v = draw_directions(4000, 3, generator(), primary=1, max_angle=60)
    assert kstest(v[:, 1].numpy(), "uniform", (0.5, 0.5)).pvalue > 0.01
    around = torch.atan2(v[:, 2], v[:, 0])
    assert kstest(around.numpy(), "uniform", (-math.pi, 2 * math.pi)).pvalue > 0.01


def test_many_objectives_agree_with_drawing_until_one_fits():
    v = draw_directions(3000, 5, generator(), max_angle=80)
    normal = torch.randn(20000, 5, generator=generator(1))
    sphere = normal / normal.norm(dim=1, keepdim=True)
    fitting = sphere[sphere[:, 0] >= math.cos(math.radians(80))]
    assert kstest(v[:, 0].numpy(), fitting[:, 0].numpy()).pvalue > 0.01
    assert kstest(v[:, 3].numpy(), fitting[:, 3].numpy()).pvalue > 0.01


def test_rows_of_a_group_share_a_direction_that_preferences_take_as_it_is():
    rows = DirectionSampler(NAMES, seed=1).sample(3, 2)
    assert torch.equal(rows.weights[::2], rows.weights[1::2])
    assert len(rows.weights.unique(dim=0)) == 3
    assert torch.equal(rows.alpha, torch.zeros(6))
    for row in rows.weights.tolist():
        Preference.direction(dict(zip(NAMES, row, strict=True)))  # unnormalised, so it would refuse any other length


def test_without_an_angle_no_component_is_negative():
    sampler = DirectionSampler(NAMES, max_angle=None, concentration=0.5, seed=3)
    v = sampler.sample(200, 1).weights
    assert (v >= 0).all()
    assert_close(v.norm(dim=1), torch.ones(200))
    # The same draws as weights, scaled to unit length.
    weights = PreferenceSampler(NAMES, concentration=0.5, seed=3).sample(200, 1).weights
    assert_close(v, weights / weights.norm(dim=1, keepdim=True))
    assert_close(sampler.middle(), torch.full((3,), 1 / math.sqrt(3)))


@pytest.mark.parametrize("max_angle", [None, 45.0])
def test_the_seed_decides_and_a_state_goes_on(max_angle):
    def sampler(seed):
        return DirectionSampler(NAMES, "brief", max_angle, seed=seed)

    one, again, other = sampler(1), sampler(1), sampler(2)
    first = one.sample(4, 1).weights
    assert torch.equal(first, again.sample(4, 1).weights)
    assert not torch.equal(first, other.sample(4, 1).weights)
    state = one.state()
    expected = one.sample(4, 1).weights
    other.restore(state)
    assert torch.equal(other.sample(4, 1).weights, expected)


def test_refusals():
    with pytest.raises(InputError, match="unknown primary objective 'helpfull': did you mean 'helpful'"):
        DirectionSampler(NAMES, "helpfull")
    for angle in (0.0, 90.1, -1.0, math.nan):
        with pytest.raises(InputError, match="max_angle must be in"):
            DirectionSampler(NAMES, max_angle=angle)
        with pytest.raises(InputError, match="max_angle must be in"):
            draw_directions(1, 2, max_angle=angle)
