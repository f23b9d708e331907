import dataclasses
import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import NormalizedReward, Normalizer
from reward_heads.bradley_terry import scale_of_differences
from reward_heads.gating import GatedReward, fit_gate_on_differences, fit_gate_on_pairs
from reward_heads.transforms import TransformedReward

from .conftest import FAST, REWARD, KindOfPrompt, planted_pairs


def accuracy(reward, rows):
    prompts = [row["prompt"] for row in rows]
    a, b = (reward.score(prompts, [row[name] for row in rows]) for name in ("completion_a", "completion_b"))
    right = (a > b).squeeze(1) == torch.tensor([row["labels"]["better"] > 0.5 for row in rows])
    return right.float().mean().item()


@pytest.fixture(scope="module")
def planted():
    return fit_gate_on_pairs(KindOfPrompt(), REWARD, planted_pairs(3000)[0], config=FAST)


def test_a_planted_gate_is_recovered(planted):
    weights = planted.weights(["cat 5", "sky 5"])
    assert weights[0, 0] > 0.9
    assert weights[1, 1] > 0.9
    assert planted.scale == pytest.approx(4.0, rel=0.25)  # normalised rewards have unit 1: nats stay 4
    rows, best = planted_pairs(2000, seed=7)
    assert accuracy(GatedReward(REWARD, planted), rows) > best - 0.02
    # Constant weights can't: each counts for one kind of prompt only.
    assert planted.report.constant == pytest.approx((0.5, 0.5), abs=0.1)


def test_the_report_sets_it_beside_constant_weights(planted):
    report = planted.report
    assert (report.n_train, report.n_stopping, report.n_judged, report.left_out) == (2400, 300, 300, 0)
    assert report.helps
    assert report.gain == pytest.approx(report.loss["constant"] - report.loss["gate"], abs=1e-6)
    assert report.loss["gate"] < report.loss["constant"] - 0.1
    assert report.accuracy["gate"] > report.accuracy["constant"] + 0.05
    assert min(report.spread) > 0.3
    assert report.update > 0
    assert "helps" in report.table()
    assert type(report).from_json(report.to_json()) == report


def test_where_the_prompt_says_nothing_the_gate_does_not_claim_to_help():
    rows = planted_pairs(3000)[0]
    for i, row in enumerate(rows):
        row["prompt"] = f"dog {i // 2}"  # what it asks for can't be seen
    report = fit_gate_on_pairs(KindOfPrompt(), REWARD, rows, config=FAST).report
    assert not report.helps
    assert abs(report.gain) < 0.03
    assert max(report.spread) < 0.15


class Double:
    kind = "double"
    objectives = ("facts", "style")

    def __call__(self, scores, prompts, completions):
        return torch.stack([-scores[:, 0], scores[:, 1]], dim=1)


def test_rewards_count_as_their_transforms_leave_them():
    # The correction turns `facts` round: a gate that saw the raw ones would trust them, and one that sees these can't.
    rows = planted_pairs(2000)[0]
    corrected = TransformedReward(REWARD, [Double()])
    gate = fit_gate_on_pairs(KindOfPrompt(), corrected, rows, config=FAST)
    assert gate.report.constant == pytest.approx((0.0, 1.0), abs=0.02)
    assert gate.weights(["cat 1"])[0, 0] < 0.5


def test_units_of_the_rewards_do_not_matter(planted):
    spread = Normalizer(("style", "facts"), (0.0, 3.0), (100.0, 1.0), 9)
    rows = planted_pairs(3000)[0]
    given = fit_gate_on_pairs(KindOfPrompt(), REWARD, rows, normalizer=spread, config=FAST)
    assert given.normalizer == spread.select(("facts", "style"))
    wrapped = fit_gate_on_pairs(KindOfPrompt(), NormalizedReward(REWARD, spread), rows, config=FAST)
    assert wrapped.normalizer is None
    prompts = ["cat 1", "sky 1"]
    assert_close(given.weights(prompts), wrapped.weights(prompts), atol=1e-3, rtol=0)
    assert_close(given.weights(prompts), planted.weights(prompts), atol=0.05, rtol=0)


def test_nats_hold_on_prompts_that_taught_nothing():
    # One feature tells what counts and 199 mean nothing: on its own pairs the gate is surer than it may be elsewhere.
    generator = torch.Generator().manual_seed(3)

    def draw(n):
        x, d = torch.randn(n, 200, generator=generator), torch.randn(n, 2, generator=generator)
        return x, d, torch.sigmoid(4 * d[torch.arange(n), (x[:, 0] > 0).long()])

    config = dataclasses.replace(FAST, hidden=(64,), dropout=0.0, held_out=0.5, learning_rate=0.003)
    gate = fit_gate_on_differences(*draw(4000), ["a", "b"], config=config)
    assert gate.report.helps
    x, d, p = draw(4000)
    margins = gate.scale * (gate.weights_of(x) * d).sum(dim=1, keepdim=True)
    assert scale_of_differences(margins, p[:, None]).scale.item() == pytest.approx(1.0, abs=0.07)


def test_each_prompt_is_embedded_once_and_kept_on_one_side(kind_of_prompt):
    rows, _ = planted_pairs(200, per_prompt=4)
    gate = fit_gate_on_pairs(kind_of_prompt, REWARD, rows, config=dataclasses.replace(FAST, steps=1))
    assert len(kind_of_prompt.embedded) == 50
    assert (gate.report.n_train, gate.report.n_stopping, gate.report.n_judged) == (160, 20, 20)


def test_the_same_seed_gives_the_same_gate_and_leaves_the_random_state_alone():
    x, d = torch.randn(300, 3), torch.randn(300, 2)
    p = (d[:, 0] > 0).float()
    config = dataclasses.replace(FAST, steps=20)
    torch.manual_seed(5)
    first = fit_gate_on_differences(x, d, p, ["a", "b"], config=config)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    again = fit_gate_on_differences(x, d, p, ["a", "b"], config=config)
    other = fit_gate_on_differences(x, d, p, ["a", "b"], config=dataclasses.replace(config, seed=1))
    assert torch.equal(first.weights_of(x), again.weights_of(x))
    assert not torch.equal(first.weights_of(x), other.weights_of(x))


def test_rows_that_say_nothing_are_left_out_and_counted():
    x, d, p = torch.randn(40, 3), torch.randn(40, 2), torch.rand(40)
    d[3, 1], p[5], p[6] = math.nan, math.nan, math.nan
    report = fit_gate_on_differences(x, d, p, ["a", "b"], config=dataclasses.replace(FAST, steps=2)).report
    assert report.left_out == 3
    assert report.n_train + report.n_stopping + report.n_judged == 37


def test_without_held_out_rows_it_learns_from_all_and_judges_nothing():
    x, d = torch.randn(30, 3), torch.randn(30, 2)
    config = dataclasses.replace(FAST, held_out=0, steps=7)
    report = fit_gate_on_differences(x, d, torch.rand(30), ["a", "b"], config=config).report
    assert (report.n_train, report.n_judged, report.update) == (30, 0, 7)
    assert math.isnan(report.loss["gate"])
    assert report.accuracy == {}
    assert not report.helps
    found = type(report).from_json(report.to_json())
    assert math.isnan(found.gain)


ROWS = planted_pairs(40)[0]


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([], {}, "no row has a label"),
        ([ROWS[0] | {"labels": {"better": 1.0, "safer": 0.0}}], {}, "Give label=, one of: better, safer"),
        (ROWS, {"label": "beter"}, "did you mean 'better'"),
        ([{"prompt": "p", "completion": "1 2", "scores": {"better": 3.0}}], {}, "row 0: is a rating"),
        ([row | {"labels": {"better": None}} for row in ROWS], {}, "no row has a label"),
        ([row | {"completion_a": "nan 1"} for row in ROWS], {}, "none has both a label and known rewards"),
        (ROWS[:2], {}, "1 different prompts are too few to hold out 0.2"),
        ([row | {"completion_a": "1 1", "completion_b": "1 1"} for row in ROWS], {}, "a constant has no scale"),
    ],
)  # fmt: skip
def test_refuses(kind_of_prompt, rows, settings, message):
    with pytest.raises(InputError, match=message):
        fit_gate_on_pairs(kind_of_prompt, REWARD, rows, config=FAST, **settings)


@pytest.mark.parametrize(
    ("x", "d", "p", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(4, 3), torch.zeros(4), r"must be \[4, 2\].*found \[4, 3\]"),
        (torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(3), r"\[4, 2\], \[3\] and \[4\]"),
        (torch.zeros(4, 2), torch.full((4, 2), math.inf), torch.zeros(4), "must be finite"),
        (torch.zeros(4, 2), torch.zeros(4, 2), torch.full((4,), 1.5), r"labels in \[0, 1\]"),
        (torch.zeros(4), torch.zeros(4, 2), torch.zeros(4), r"embeddings must be \[N, d\]"),
    ],
)
def test_refuses_numbers_that_do_not_fit(x, d, p, message):
    with pytest.raises(InputError, match=message):
        fit_gate_on_differences(x, d, p, ["a", "b"], config=FAST)
