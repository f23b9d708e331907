import json
from dataclasses import replace

import numpy as np
import pytest

from frontier.errors import InputError
from reward_heads.diagnose import Resampling, diagnose

QUICK = Resampling(resamples=30)


def test_every_part_and_reasons_for_what_is_left_out(world):
    found = diagnose(world(120, users=3), how=QUICK, top=4)
    assert (found.n_pairs, found.n_ratings, found.n_texts) == (120, 0, 240)
    assert [p.objective for p in found.accuracy.pairs] == ["x", "y"]
    assert len(found.calibration) == 2
    assert len(found.agreement) == 2
    assert len(found.disagreement.surprises) == 4
    assert found.intransitivity == ()
    assert "no three completions" in found.left_out["cycles of x"]
    text = str(found)
    for title in ("Accuracy", "Calibration", "Correlation", "Label noise", "Annotators", "Disagreement", "Left out"):
        assert f"{title}\n===" in text
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["correlation"]["basis"] == "within"


def test_ratings_alone(lookup):
    rows = [{"prompt": f"p{i // 3}", "completion": f"t{i}", "scores": {"x": float(i % 5)}} for i in range(30)]
    found = diagnose(lookup(("x",), {f"t{i}": (float(i % 7),) for i in range(30)}), rows, how=QUICK)
    assert found.noise is None
    assert "there are none" in found.left_out["noise"]
    assert found.accuracy.ratings[0].n == 30


def test_refuses_unknown_flags(world):
    with pytest.raises(InputError, match="unknown objective 'z'"):
        diagnose(world(10), binary=["z"])


def test_noise_of_one_objective_that_can_not_be_told_leaves_the_others(world):
    scored = world(150)
    turned = replace(scored, labels=np.stack([scored.labels[:, 0], (scored.differences[:, 1] < 0) * 1.0], axis=1))
    found = diagnose(turned, how=QUICK)
    assert [o.objective for o in found.noise.objectives] == ["x"]
    assert "check the sign" in found.left_out["noise of y"]


def test_flags_and_nats_have_no_squared_error(lookup):
    rows = [
        {"prompt": f"p{i}", "completion": f"t{i}", "scores": {"x": float(i % 2), "y": float(i % 5)}} for i in range(30)
    ]
    scored = lookup(("x", "y"), {f"t{i}": (i % 3 - 1, i % 4) for i in range(30)})
    found = diagnose(scored, rows, binary=["x"], in_nats=["y"], how=QUICK)
    assert np.isnan([r.mse.value for r in found.accuracy.ratings]).all()
    assert [(e.objective, e.kind) for e in found.calibration] == [("x", "binary")]
