import dataclasses
import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import NormalizedReward, Normalizer
from reward_heads.gating import fit_gate_on_responses, fit_gate_on_rewards

from .conftest import FAST, REWARD

UNITS = Normalizer(("facts", "style"), (1.0, 100.0), (1.0, 100.0), 9)
LONG = dataclasses.replace(FAST, held_out=0, steps=400, weight_decay=0.0, dropout=0.0)


def test_the_optimum_is_the_mean_target_of_each_prompt():
    # Targets softmax(log 3, 0) = (3/4, 1/4) and (1/2, 1/2) for the first prompt, (1/5, 4/5) for the second.
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    rewards = torch.tensor([[math.log(3), 0.0], [0.0, 0.0], [0.0, math.log(4)]])
    gate = fit_gate_on_rewards(x, rewards, ["a", "b"], config=LONG)
    assert_close(gate.weights_of(x[[0, 2]]), torch.tensor([[0.625, 0.375], [0.2, 0.8]]), atol=2e-3, rtol=0)
    assert gate.report.constant == pytest.approx((1.45 / 3, 1.55 / 3))
    assert gate.scale == 1.0


def test_losses_by_hand():
    # Every response alike: targets (3/4, 1/4), which the constant weights hit; uniform ones are log 2 − H away.
    n = 60
    x, rewards = torch.randn(n, 2), torch.tensor([[math.log(3), 0.0]]).expand(n, 2)
    report = fit_gate_on_rewards(x, rewards, ["a", "b"], config=FAST).report
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert report.loss["uniform"] == pytest.approx(math.log(2) - entropy, abs=1e-5)
    assert report.loss["constant"] == pytest.approx(0.0, abs=1e-5)
    assert 0 <= report.loss["gate"] < 0.01
    assert not report.helps
    assert report.accuracy == {}


def test_temperature_of_the_target():
    x, rewards = torch.zeros(4, 1), torch.tensor([[1.0, 0.0]]).expand(4, 2)
    config = dataclasses.replace(LONG, steps=1)
    sharp = fit_gate_on_rewards(x, rewards, ["a", "b"], target_temperature=0.5, config=config)
    assert sharp.report.constant[0] == pytest.approx(1 / (1 + math.exp(-2)))


def rows(n=200):
    """Preferred responses: one unit of `facts` above the mean for a cat, one of `style` for the sky."""
    found = []
    for i in range(n):
        cat = i % 2 == 0
        found.append({"prompt": f"{'cat' if cat else 'sky'} {i}", "completion": "2 100" if cat else "1 200"})
    return found


def test_reads_preferred_responses_in_normalised_units(kind_of_prompt):
    gate = fit_gate_on_responses(kind_of_prompt, REWARD, rows(), UNITS, config=FAST)
    share = 1 / (1 + math.exp(-1))
    expected = torch.tensor([[share, 1 - share], [1 - share, share]])
    assert_close(gate.weights(["cat x", "sky x"]), expected, atol=0.03, rtol=0)
    assert gate.report.helps
    assert (gate.normalizer, gate.fitted_on) == (UNITS, "responses")
    wrapped = fit_gate_on_responses(kind_of_prompt, NormalizedReward(REWARD, UNITS), rows(), config=FAST)
    assert torch.equal(wrapped.weights(["cat x"]), gate.weights(["cat x"]))


def test_takes_the_better_completion_of_a_pair(kind_of_prompt):
    pairs = []
    for i, row in enumerate(rows()):
        texts = (row["completion"], "-9 -9")
        a, b = texts if i % 3 else texts[::-1]
        pairs.append(
            {"prompt": row["prompt"], "completion_a": a, "completion_b": b, "labels": {"better": float(i % 3 > 0)}}
        )
    pairs.append({"prompt": "cat", "completion_a": "99 0", "completion_b": "0 99", "labels": {"better": 0.5}})
    from_pairs = fit_gate_on_responses(kind_of_prompt, REWARD, pairs, UNITS, config=FAST)
    alone = fit_gate_on_responses(kind_of_prompt, REWARD, rows(), UNITS, config=FAST)
    assert torch.equal(from_pairs.weights(["cat x", "sky x"]), alone.weights(["cat x", "sky x"]))


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        (rows(), {"normalizer": None}, "their units would decide: give a normalizer"),
        (
            rows(),
            {"normalizer": Normalizer(("facts",), (0.0,), (1.0,), 2)},
            "unknown objective of the normalizer 'style'",
        ),
        (rows(), {"target_temperature": 0.0}, "target_temperature must be positive"),
        ([{"prompt": "p", "completion": 3}], {}, "row 0, field 'completion'"),
        ([{"completion": "1 2"}], {}, "row 0, field 'prompt'"),
        ([], {}, "nothing to learn from"),
    ],
)
def test_refuses(kind_of_prompt, given, settings, message):
    with pytest.raises(InputError, match=message):
        fit_gate_on_responses(kind_of_prompt, REWARD, given, **({"normalizer": UNITS, "config": FAST} | settings))


def test_refuses_numbers_that_do_not_fit():
    with pytest.raises(InputError, match=r"rewards must be \[4, 2\]"):
        fit_gate_on_rewards(torch.zeros(4, 2), torch.zeros(4, 3), ["a", "b"])
    with pytest.raises(InputError, match="must be finite"):
        fit_gate_on_rewards(torch.zeros(4, 2), torch.full((4, 2), math.inf), ["a", "b"])


def test_a_weight_of_nothing_that_nobody_wanted_costs_nothing():
    x, rewards = torch.randn(60, 2), torch.tensor([[2000.0, 0.0]]).expand(60, 2)
    report = fit_gate_on_rewards(x, rewards, ["a", "b"], config=FAST).report
    assert report.loss["constant"] == pytest.approx(0.0, abs=1e-5)
    assert all(math.isfinite(loss) for loss in report.loss.values())
