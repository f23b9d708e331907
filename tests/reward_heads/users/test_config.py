import math

import pytest

from frontier.errors import InputError
from reward_heads.users.config import UserGroupsConfig


def test_candidates():
    assert UserGroupsConfig(max_groups=3).candidates == (1, 2, 3)
    assert UserGroupsConfig(groups=3, held_out=0.0).candidates == (3,)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"assignment": "sof"}, "unknown assignment 'sof': did you mean 'soft'"),
        ({"selection": "models"}, "did you mean 'model'"),
        ({"trainable": "none"}, "Valid: all, lora, heads"),
        ({"max_groups": 0}, "max_groups must be at least 1, found 0"),
        ({"groups": -1}, "groups must be at least 1, found -1"),
        ({"ridge": 0.0}, "ridge must be positive, found 0"),
        ({"learning_rate": math.nan}, "learning_rate must be positive, found nan"),
        ({"held_out": 1.0}, "held_out must be at least 0 and below 1"),
        ({"held_out": 0.0}, "held_out is 0, but the number of groups is chosen on held-out pairs"),
        ({"standard_errors": -1.0}, "standard_errors must not be negative"),
    ],
)
def test_refuses(setting, message):
    with pytest.raises(InputError, match=message):
        UserGroupsConfig(**setting)
