"""In which units scores are, whatever corrected them."""

import numpy as np
import pytest

from frontier.errors import InputError
from reward_heads import Normalizer, VectorFunctionReward
from reward_heads.calibrate import Affine, Calibration, Cooled, Identity, Isotonic
from reward_heads.calibrate.units import units_of
from reward_heads.transforms import TransformedReward

NAMES = ("a", "b", "c", "d")


def standardised():
    reward = VectorFunctionReward(list(NAMES), lambda prompt, completion: [0.0] * 4)
    reward.units = Normalizer(NAMES, (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0), 9)
    return reward


def test_each_objective_has_its_own():
    maps = (Identity(), Affine(2.0, 1.0), Cooled(3.0), Isotonic((0.0, 1.0), (0.0, 1.0), 1.0))
    found = units_of(TransformedReward(standardised(), [Calibration(NAMES, maps)]))
    assert (found.location, found.scale, found.in_nats) == ((1.0, 0.0, 0.0, 0.0), (5.0, 1.0, 1.0, 1.0), ("c",))
    assert found.of_ratings(np.array([[11.0, 11.0, 11.0, np.nan]]))[0, :3].tolist() == [2.0, 11.0, 11.0]
    assert found.to_ratings("a", np.array([2.0])).tolist() == [11.0]
    assert [found.is_standardised(name) for name in NAMES] == [True, False, False, False]


def test_the_last_map_decides():
    cooled = TransformedReward(standardised(), [Calibration(NAMES, (Cooled(3.0),) * 4)])
    assert units_of(cooled).in_nats == NAMES
    again = TransformedReward(cooled, [Calibration(NAMES, (Affine(1.0, 0.0), Identity(), Identity(), Cooled(1.0)))])
    assert units_of(again).in_nats == ("b", "c", "d")


def test_without_units_scores_are_taken_as_they_are():
    found = units_of(VectorFunctionReward(["a"], lambda prompt, completion: [0.0]))
    assert (found.location, found.scale, found.in_nats) == ((0.0,), (1.0,), ())


def test_refuses_units_of_others():
    reward = VectorFunctionReward(["z"], lambda prompt, completion: [0.0])
    reward.units = Normalizer(("a",), (0.0,), (1.0,), 1)
    with pytest.raises(InputError, match="'z'"):
        units_of(reward)
