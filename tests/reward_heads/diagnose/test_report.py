import json
import math

import numpy as np

from reward_heads.diagnose import Estimate
from reward_heads.diagnose.report import number, plain, text_table


def test_json_has_no_nan():
    found = plain({"a": Estimate(math.nan, -math.inf, 1.0), "b": np.float64(2.0), "c": (np.int64(1), None, True)})
    assert found == {"a": {"value": None, "low": None, "high": 1.0}, "b": 2.0, "c": [1, None, True]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_numbers_and_tables():
    assert [number(x) for x in (0.5, -0.25, -1e-9, math.inf, math.nan, 250.0)] == [
        "0.500",
        "-0.250",
        "0.000",
        "∞",
        "–",
        "250",
    ]
    assert str(Estimate(0.5, 0.4, 0.6)) == "0.500 [0.400, 0.600]"
    assert str(Estimate(0.5)) == "0.500"
    assert text_table(["a", "bb"], [["long", 1.0], ["x", False]]).split("\n") == [
        "a        bb",
        "long  1.000",
        "x        no",
    ]
