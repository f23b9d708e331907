import math

import torch

from reward_heads import FunctionReward
from reward_heads.decorrelate import fit_decorrelation
from reward_heads.decorrelate.report import DecorrelationReport, measure
from reward_heads.decorrelate.texts import read_texts

NAN = math.nan


def report_of(before, after, corrected=(True, True), threshold=0.05):
    """Of the objectives a and b, four texts of lengths 1 to 4."""
    texts = read_texts([{"prompt": "p", "completion": "w " * n} for n in range(1, 5)], ["a", "b"])
    found = measure(texts, torch.tensor(before), torch.tensor(after), torch.arange(4.0).double())
    return DecorrelationReport(("a", "b"), "length", threshold, 0.0, (1.0, 0.0), corrected, found, found)


RISING, FLAT = [1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 1.0, 2.0]


def columns(*values):
    return torch.tensor(values).T.tolist()


def test_holds_looks_only_at_what_was_corrected():
    before, after = columns(RISING, RISING), columns(FLAT, RISING)
    found = report_of(before, after)
    assert found.held_out.before == (1.0, 1.0)
    assert found.held_out.after == (0.0, 1.0)
    assert not found.holds
    assert report_of(before, after, corrected=(True, False)).holds
    assert report_of(before, after, threshold=1.0).holds


def test_what_can_not_be_measured_does_not_hold():
    found = report_of(columns(RISING, RISING), columns(FLAT, [1.0, NAN, NAN, 4.0]))
    assert math.isnan(found.held_out.after[1])
    assert not found.holds
    assert found.to_json()["held_out"]["after"] == [0.0, None]
    assert report_of(columns(RISING, RISING), columns(FLAT, [1.0, NAN, 3.0, 4.0])).held_out.after == (0.0, 1.0)


def test_a_fit_says_what_it_corrected():
    reward = FunctionReward(
        {"a": lambda p, c: float(len(c)), "b": lambda p, c: len(c) + len(c) % 3, "v": lambda p, c: c.count("v") / 1}
    )
    rows = [{"prompt": f"p{i}", "completion": "w " * (i % 17) + "v" * (i % 5)} for i in range(80)]
    assert fit_decorrelation(reward, rows, only=["a", "v"])[1].corrected == (True, False, True)
    assert fit_decorrelation(reward, rows, against="v")[1].corrected == (True, True, False)
