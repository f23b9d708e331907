from types import SimpleNamespace

import pytest

from frontier.errors import InputError
from moalign.cli.sampling_options import check_sampling

GOOD = {"n_prompts": 2, "samples_per_prompt": 1, "max_new_tokens": 1, "temperature": 0.0, "batch_size": 1, "budget": 1}


def test_the_least_that_is_allowed_is_allowed():
    check_sampling(SimpleNamespace(**GOOD), "budget")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("samples_per_prompt", 0, "samples_per_prompt must be at least 1, found 0"),
        ("max_new_tokens", 0, "max_new_tokens must be at least 1, found 0"),
        ("batch_size", -1, "batch_size must be at least 1, found -1"),
        ("budget", 0, "budget must be at least 1, found 0"),
        ("n_prompts", 1, "n_prompts must be at least 2, found 1: one prompt gives no standard error"),
        ("temperature", -0.1, "temperature must not be negative, found -0.1"),
    ],
)
def test_refuses(name, value, message):
    with pytest.raises(InputError, match=message):
        check_sampling(SimpleNamespace(**GOOD | {name: value}), "budget")
