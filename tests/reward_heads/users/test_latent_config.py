import math

import pytest

from frontier.errors import InputError
from reward_heads.users.latent import LatentConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_weight": 0.0}, "kl_weight must be positive, found 0.0: without it there is no posterior"),
        ({"kl_weight": math.nan}, "kl_weight must be positive"),
        ({"dims": 0}, "dims must be at least 1, found 0"),
        ({"refine": -1}, "refine must not be negative, found -1"),
        ({"ridge": -1.0}, "ridge must be positive, found -1.0"),
        ({"held_out": 1.0}, "held_out must be at least 0 and below 1, found 1.0"),
        ({"warmup": 1.5}, "warmup must be at least 0 and below 1"),
        ({"standard_errors": math.nan}, "standard_errors must not be negative"),
        ({"least_spread": 0.0}, "least_spread must be positive"),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(InputError, match=message):
        LatentConfig(**changes)


def test_the_divergence_counts_fully_by_default():
    assert LatentConfig().kl_weight == 1.0
    assert LatentConfig().warmup == 0.0
