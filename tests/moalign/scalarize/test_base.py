import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.scalarize.base import StatefulScalarizer, check_vector, check_width, present_weights
from moalign.scalarize.lagrangian import Constraint, Lagrangian
from moalign.scalarize.linear import Linear
from moalign.scalarize.max_min import MaxMin

NAN = math.nan


def test_weights_of_missing_objectives_are_shared_out():
    got = present_weights(torch.tensor([1.0, NAN, 2.0]), torch.tensor([0.2, 0.5, 0.3]))
    assert_close(got, torch.tensor([0.4, 0.0, 0.6]))


def test_a_row_whose_present_objectives_have_no_weight_is_nan():
    assert present_weights(torch.tensor([1.0, NAN]), torch.tensor([0.0, 1.0])).isnan().any()


@pytest.mark.parametrize("bad", [-0.1, NAN, math.inf])
def test_refuses_weights_that_are_no_weights(bad):
    with pytest.raises(InputError, match="finite and not negative"):
        present_weights(torch.zeros(2), torch.tensor([0.5, bad]))


@pytest.mark.parametrize("bad", [torch.tensor(1.0), torch.tensor([1.0, NAN]), torch.zeros(2, 2)])
def test_refuses_what_is_no_vector(bad):
    with pytest.raises(InputError, match="utopia must be a finite vector"):
        check_vector("utopia", bad)


def test_refuses_rewards_of_another_width():
    with pytest.raises(InputError, match=r"this utopia point is for 2 rewards, found rewards of shape \[4, 3\]"):
        check_width("this utopia point", 2, torch.zeros(4, 3))


def test_a_learner_can_tell_which_scalarizers_keep_state():
    assert isinstance(MaxMin(["a", "b"]), StatefulScalarizer)
    assert isinstance(Lagrangian(["a"], [Constraint("a", "above", 0.0)]), StatefulScalarizer)
    assert not isinstance(Linear(), StatefulScalarizer)
