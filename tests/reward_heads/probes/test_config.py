import pytest

from frontier.errors import InputError
from reward_heads.probes import ProbeConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphas": []}, "alphas must be positive"),
        ({"alphas": [1.0, 0.0]}, "alphas must be positive numbers, found"),
        ({"alphas": [float("nan")]}, "alphas must be positive"),
        ({"folds": 1}, "folds must be at least 2, found 1"),
        ({"rating_range": (5, 1)}, r"rating_range must be \(lowest, highest\), found \(5, 1\)"),
        ({"rating_range": {"good": (1, 1)}}, "rating_range must be"),
        (
            {"objectives": ["good"], "rating_range": {"goood": (1, 5)}},
            "unknown objective in rating_range 'goood': did you mean 'good'",
        ),
        (
            {"objectives": ["safe"], "sign_aware": ["saff"]},
            "unknown objective in sign_aware 'saff': did you mean 'safe'",
        ),
        ({"objectives": ["a", "a"]}, "named twice"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(InputError, match=message):
        ProbeConfig(**settings)


def test_ranges():
    config = ProbeConfig(sign_aware=["safe"], rating_range={"good": (1, 5)})
    assert config.range_of("safe") == (0.0, 1.0)
    assert config.range_of("good") == (1, 5)
    assert config.range_of("other") is None
    assert ProbeConfig(rating_range=(0, 4)).range_of("other") == (0, 4)
