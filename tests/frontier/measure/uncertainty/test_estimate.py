import json
import math

import pytest

from frontier.errors import InputError
from frontier.measure.uncertainty import Estimate


def test_contains_its_ends_and_nothing_beyond():
    estimate = Estimate(1.0, 0.5, 2.0, method="m", n_prompts=10)
    assert 0.5 in estimate
    assert 2.0 in estimate
    assert 2.01 not in estimate


def test_prints_level_and_prompts():
    assert str(Estimate(1.0, 0.5, 2.0, 0.9, method="m", n_prompts=10)) == "1 (90 % interval 0.5 to 2, 10 prompts)"


def test_json_of_an_open_end_is_null():
    found = Estimate(1.0, 0.5, math.inf, method="m", n_prompts=10, reference_point=(0.0, 0.0)).to_json()
    assert json.loads(json.dumps(found, allow_nan=False))["high"] is None
    assert found["reference_point"] == (0.0, 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 3.0}, "low <= high"),
        ({"value": math.nan}, "needs low <= high and a value"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"n_prompts": 0}, "at least one prompt"),
    ],
)
def test_refuses(fields, message):
    with pytest.raises(InputError, match=message):
        Estimate(**({"value": 1.0, "low": 0.5, "high": 2.0, "method": "m", "n_prompts": 10} | fields))
