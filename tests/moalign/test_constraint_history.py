import json
import math

import numpy as np
import pytest
import torch

from frontier.errors import InputError
from moalign.constraint_history import Moment, Oscillation, read_history
from moalign.scalarize.lagrangian import Constraint, Lagrangian
from reward_heads import Normalizer

SAFE, BRIEF = Constraint("safe", "above", 0.5), Constraint("brief", "below", 40.0)
LINES = [
    {"step": 1, "loss": 2.0, "lambda/safe_above": 1.0},
    {"step": 2, "lambda/safe_above": 1.5, "violation/safe_above": 0.25, "lambda/brief_below": 3.0, "violation/brief_below": 2.0},
    {"step": 2, "train_runtime": 3.0},
]  # fmt: skip


def test_means_by_hand():
    assert read_history(LINES, [SAFE, BRIEF]) == {
        "safe_above": [Moment(1, 1.0, None), Moment(2, 1.5, 0.25)],
        "brief_below": [Moment(2, 3.0, 42.0)],
    }


def test_normalised_violations_come_back_in_reward_units():
    normalizer = Normalizer(("brief", "safe"), (30.0, 0.1), (5.0, 2.0), 9)
    history = read_history(LINES, [SAFE, BRIEF], normalizer)
    assert history["safe_above"][1] == Moment(2, 1.5, 0.0)
    assert history["brief_below"] == [Moment(2, 3.0, 50.0)]


@pytest.mark.parametrize("kind", ["above", "below", "equal"])
def test_reads_what_a_lagrangian_logs(kind):
    normalizer = Normalizer(("brief", "safe"), (30.0, 0.1), (5.0, 2.0), 9)
    constraint = Constraint("brief", kind, 40.0)
    lagrangian = Lagrangian(("brief", "safe"), [constraint.normalised(30.0, 5.0)], window=2)
    lines, multipliers = [], []
    for step, value in enumerate((10.0, 60.0, 35.0)):
        lagrangian.update(normalizer(torch.tensor([[value, 0.0]])))
        lines.append({"step": step} | lagrangian.metrics())
        multipliers.append(lagrangian.multipliers[0])
    (path,) = read_history(lines, [constraint], normalizer).values()
    assert [moment.multiplier for moment in path] == multipliers
    assert [moment.mean for moment in path] == pytest.approx([10.0, 35.0, 47.5], abs=1e-4)  # over windows of 2


def test_a_run_folder_and_a_half_written_last_line(tmp_path):
    text = "\n".join(json.dumps(line) for line in LINES)
    (tmp_path / "metrics.jsonl").write_text(text + '\n{"step": 3, "lambda/sa')
    expected = read_history(LINES, [SAFE])
    assert read_history(tmp_path, [SAFE]) == expected
    assert read_history(str(tmp_path / "metrics.jsonl"), [SAFE]) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"step": 1\n{"step": 2}\n', "metrics.jsonl, line 1: not valid JSON"),
        ("[1]\n", "metrics.jsonl, line 1: must be an object"),
        ('{"step": 1, "loss": 2.0, "lambda/safe_above": null}\n', "metrics.jsonl has no multipliers"),
    ],
)
def test_refuses_a_broken_log(tmp_path, text, message):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_history(path, [SAFE])


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_history(tmp_path / "nowhere", [SAFE])
    with pytest.raises(InputError, match="constraint in the log 'safe_below': did you mean 'safe_above'"):
        read_history(LINES, [Constraint("safe", "below", 0.0)])
    with pytest.raises(InputError, match="'step' must be a whole number, found None"):
        read_history([{"lambda/safe_above": 1.0}], [SAFE])
    with pytest.raises(InputError, match="objective of the normalizer 'safe'"):
        read_history(LINES, [SAFE], Normalizer(("save",), (0.0,), (1.0,), 1))


# --- oscillation -------------------------------------------------------------------------------------------------------------------


def test_a_sine_of_known_amplitude():
    # 900 steps, five periods in the last 300, which the maximum and minimum of the sine hit exactly (period 60, crests at 15 and 45).
    steps = np.arange(900)
    found = Oscillation.of(list(2.0 + 0.5 * np.sin(2 * np.pi * steps / 60)))
    assert found.amplitude == pytest.approx(0.5)
    assert found.relative == pytest.approx(0.25)
    assert found.turns == 10  # a crest and a trough in each period


def test_only_the_last_third_counts():
    assert Oscillation.of([100.0, -50.0, 7.0, 9.0, 1.0, 1.0]) == Oscillation(0.0, 0.0, 0)
    assert Oscillation.of([5.0, 5.0, 5.0, 5.0, 1.0, 3.0, 1.0]).amplitude == 1.0  # ceil(7 / 3) = 3


def test_by_hand():
    # The last third, rising, resting, falling: one turn; mean 2, half of 3 - 1 = 1.
    assert Oscillation.of([0.0] * 8 + [1.0, 3.0, 3.0, 1.0]) == Oscillation(1.0, 0.5, 1)
    assert Oscillation.of([-1.0, -3.0] * 3).relative == 0.5  # the sign of the mean does not matter
    assert Oscillation.of([0.0] * 4 + [-1.0, 1.0]).relative is None
    assert Oscillation.of([4.0]) == Oscillation(0.0, 0.0, 0)


def test_print():
    assert str(Oscillation(0.5, 0.25, 3)) == "± 0.5 (25%), 3 turns"
    assert str(Oscillation(0.5, 36.0, 3)) == str(Oscillation(0.5, None, 3)) == "± 0.5, 3 turns"
    assert math.isclose(Oscillation.of([1.0, 2.0]).amplitude, 0.0)  # one value is the last third of two
