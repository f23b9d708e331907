"""Calibrating a whole reward: the planted maps come back, and the gain is measured on rows that were not fitted to."""

import json

import numpy as np
import pytest
import torch

from frontier.errors import InputError
from reward_heads import FunctionReward, Normalizer, bradley_terry_scale
from reward_heads.calibrate import Affine, Calibration, Cooled, calibrate, calibration_errors
from reward_heads.diagnose import Resampling, score_rows
from reward_heads.transforms import TransformedReward

QUICK = Resampling(resamples=50)


def test_recovers_what_was_planted(reward, rows):
    calibrated, report = calibrate(reward, rows, binary=["safe"], how=QUICK)
    kind, safe, brief = report.objectives
    assert [o.method for o in report.objectives] == ["temperature", "platt", "line"]
    assert kind.nats_per_unit == pytest.approx(2, abs=0.3)
    assert safe.found.startswith(("1.9", "2.", "1.8"))
    prompts, completions = ["p"] * 2, ["text0", "text1"]
    raw, new = reward.score(prompts, completions), calibrated.score(prompts, completions)
    torch.testing.assert_close(new[:, 0], raw[:, 0] * kind.nats_per_unit)
    assert [o.after.debiased.value < 0.03 for o in (kind, safe)] == [True, True]
    assert kind.before.ece > 0.08
    assert brief.before.ece > 2
    assert brief.after.ece < 0.3


def test_the_temperature_is_the_bradley_terry_scale(reward, rows):
    _, report = calibrate(reward, rows, method={"kind": "temperature", "safe": "none", "brief": "none"}, how=QUICK)
    one = FunctionReward({"kind": lambda p, c: reward.score([p], [c])[0, 0].item()})
    pairs = [row for row in rows if "labels" in row]
    assert report.objectives[0].nats_per_unit == pytest.approx(bradley_terry_scale(one, pairs).scale.item(), rel=1e-6)


def test_isotonic_beats_the_line_on_a_curve_and_counts_ties(reward, rows):
    _, line = calibrate(reward, rows, method={"brief": "line"}, how=QUICK)
    _, strict = calibrate(reward, rows, method={"brief": "isotonic"}, how=QUICK)
    _, steps = calibrate(reward, rows, method={"brief": "isotonic"}, strictness=0.0, how=QUICK)
    assert strict.objectives[2].after.debiased.value < line.objectives[2].after.debiased.value
    assert steps.objectives[2].collapsed > 1500
    assert strict.objectives[2].collapsed < 20
    assert "steps alone would make" in strict.objectives[2].note


def test_after_is_measured_on_rows_that_were_not_fitted_to():
    rng = np.random.default_rng(0)
    value = {f"t{i}": float(v) for i, v in enumerate(rng.normal(size=60))}
    reward = FunctionReward({"luck": lambda p, c: value[c]})
    rating = {c: float(rng.normal() + 0.6 * v) for c, v in value.items()}
    rows = [{"prompt": c, "completion": c, "scores": {"luck": rating[c]}} for c in value]
    calibrated, report = calibrate(reward, rows, method="isotonic", strictness=0.0, how=QUICK)
    seen = calibration_errors(score_rows(calibrated, rows), how=QUICK)[0]
    assert seen.ece < 0.6 * report.objectives[0].after.ece  # the curve follows the noise of its own rows


def test_an_objective_without_labels_stays_as_it_was(reward, rows):
    pairs = [row for row in rows if "labels" in row]
    calibrated, report = calibrate(reward, pairs, how=QUICK)
    assert [o.method for o in report.objectives] == ["temperature", "none", "none"]
    assert torch.equal(calibrated.score(["p"], ["text3"])[:, 1:], reward.score(["p"], ["text3"])[:, 1:])


def test_report_and_transform_are_json(reward, rows):
    calibrated, report = calibrate(reward, rows, binary=["safe"], source="rows.jsonl", how=QUICK)
    found = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert found["objectives"][0]["after"]["debiased"]["low"] >= 0
    assert calibrated.transforms[0].source == "rows.jsonl"
    assert isinstance(calibrated.transforms[0].maps[1], Affine)
    for word in ("temperature", "platt", "ECE before", "brief"):
        assert word in str(report)


def test_one_document_leaves_the_gain_unknown(reward, rows):
    pairs = [{**row, "document": "one"} for row in rows[:40] if "labels" in row]
    _, report = calibrate(reward, pairs, how=QUICK)
    assert report.objectives[0].after is None
    assert "of one prompt or document" in report.objectives[0].note


def test_errors_of_every_kind(reward, rows):
    found = calibration_errors(score_rows(reward, rows), binary=["safe"], how=QUICK)
    assert [(e.objective, e.kind, e.n) for e in found] == [
        ("kind", "pairs", 1000),
        ("safe", "binary", 1000),
        ("brief", "ratings", 1000),
    ]
    assert found[0].clusters == 500


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "temprature"}, "did you mean 'temperature'"),
        ({"method": {"kindd": "line"}}, "did you mean 'kind'"),
        ({"binary": ["saef"]}, "did you mean 'safe'"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"method": {"brief": "temperature"}}, "'brief' has no scale: no pair has both"),
        ({"method": {"kind": "isotonic"}}, "'kind': 0 rated completions"),
        ({"method": {"brief": "platt"}}, r"'brief': flags must be in \[0, 1\]"),
    ],
)
def test_refusals(reward, rows, settings, message):
    with pytest.raises(InputError, match=message):
        calibrate(reward, rows, how=QUICK, **settings)


def test_refuses_no_rows(reward):
    with pytest.raises(InputError, match="there are no rows"):
        calibrate(reward, [])


def test_before_and_after_are_in_the_same_units():
    rng = np.random.default_rng(0)
    value = {f"t{i}": float(v) for i, v in enumerate(rng.normal(size=300))}
    rows = [{"prompt": t, "completion": t, "scores": {"x": 50 + 10 * v + rng.normal()}} for t, v in value.items()]
    reward = FunctionReward({"x": lambda p, c: value[c]})
    _, raw = calibrate(reward, rows, how=QUICK)
    assert raw.objectives[0].before.ece > 4  # nothing says that a score of 1 is a rating of 60
    reward.units = Normalizer(("x",), (50.0,), (10.0,), 300)
    _, found = calibrate(reward, rows, how=QUICK)
    # Its ratings were right all along: a calibration has nothing to gain.
    assert found.objectives[0].before.ece < 0.05
    assert found.objectives[0].after.ece < 0.05


def test_scores_in_nats_stand_for_no_rating(reward, rows):
    cooled = TransformedReward(reward, [Calibration(reward.objectives, (Cooled(0.5),) * 3)])
    _, report = calibrate(cooled, rows, method={"brief": "line"}, how=QUICK)
    assert report.objectives[2].before is None
    assert report.objectives[2].after.n == 1000
    assert "1000" in str(report).splitlines()[3]
    found = calibration_errors(score_rows(cooled, rows), binary=["safe"], in_nats=["kind", "brief"], how=QUICK)
    assert [(e.objective, e.kind) for e in found] == [("kind", "pairs"), ("safe", "binary")]


def test_auto_leaves_alone_what_it_can_not_calibrate(reward, rows, values):
    certain = [
        row | {"labels": {"kind": float(values[row["completion_a"]][0] > values[row["completion_b"]][0])}}
        if "labels" in row
        else row
        for row in rows
    ]
    calibrated, report = calibrate(reward, certain, how=QUICK)
    assert [o.method for o in report.objectives] == ["none", "line", "line"]
    assert "separable" in report.objectives[0].note
    assert "kind: left as it was" in str(report)
    assert torch.equal(calibrated.score(["p"], ["text3"])[:, 0], reward.score(["p"], ["text3"])[:, 0])
    with pytest.raises(InputError, match="'kind' is separable"):
        calibrate(reward, certain, method={"kind": "temperature"}, how=QUICK)
