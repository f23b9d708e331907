import math

import numpy as np
import pytest
from scipy.special import expit

from reward_heads.diagnose import disagreement_report, score_rows
from reward_heads.diagnose.disagreement import head_conflicts, surprise_of_pairs, surprise_of_ratings


def test_conflict_by_hand():
    # In units of each head's rms (√2.5 and √10): only the first and the last pair point in opposite ways.
    d = np.array([[1.0, -2.0], [2.0, 4.0], [1.0, np.nan], [2.0, -4.0]])
    amounts, which, shares = head_conflicts(d, ("x", "y"))
    assert amounts == pytest.approx(
        [min(1 / math.sqrt(2.5), 2 / math.sqrt(12)), 0, 0, min(2 / math.sqrt(2.5), 4 / math.sqrt(12))]
    )
    assert which[3] == (0, 1)
    assert shares == {"x ~ y": pytest.approx(2 / 3)}


def test_surprise_by_hand():
    found = surprise_of_pairs(
        np.array([[2.0], [-2.0], [0.0], [1.0], [900.0]]), np.array([[1.0], [1.0], [0.5], [0.5], [0.0]])
    )
    q = expit(1.0)
    expected = [-math.log(expit(2.0)), -math.log(expit(-2.0)), 0.0, -math.log(2) - 0.5 * math.log(q * (1 - q)), 900.0]
    assert found[:, 0] == pytest.approx(expected)
    assert np.isnan(surprise_of_pairs(np.array([[np.nan]]), np.array([[1.0]]))).all()


def test_surprise_of_ratings_by_hand():
    # Ratings 1, 2, 6 of scores 0, 1, 2: the line 0.5 + 2.5 s leaves 0.5, −1, 0.5, with mean square 0.5.
    found = surprise_of_ratings(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [2.0], [6.0]]))
    assert found[:, 0] == pytest.approx([0.25, 1.0, 0.25])


def test_the_worst_rows_come_first_with_their_texts(lookup):
    values = {"good": (3.0, -3.0), "bad": (0.0, 0.0), "odd": (0.1, 0.1)}
    rows = [
        {"prompt": "p", "completion_a": "odd", "completion_b": "bad", "labels": {"x": 1.0}},
        {"prompt": "p", "completion_a": "good", "completion_b": "bad", "labels": {"x": 0.0, "y": None}, "user": "u"},
        {"prompt": "p", "completion_a": "bad", "completion_b": "good", "labels": {"x": 1.0}},
    ]
    report = disagreement_report(score_rows(lookup(("x", "y"), values), rows), top=5)
    first = report.surprises[0]
    assert (first.row, first.objectives, first.completion, first.other, first.user) == (1, ("x",), "good", "bad", "u")
    assert first.amount == pytest.approx(math.log1p(math.exp(3)), rel=1e-6)
    assert first.labels == {"x": 0.0}
    assert first.other_scores == {"x": 0.0, "y": 0.0}
    assert [c.row for c in report.conflicts] == [1]  # the same two texts, turned round, are one conflict
    assert "good | bad" in str(report)
    assert report.to_json()["surprises"][0]["row"] == 1


def test_top_and_ratings(lookup):
    values = {f"t{i}": (float(i),) for i in range(20)}
    rows = [
        {"prompt": "p", "completion": t, "scores": {"x": v[0] + (9.0 if t == "t7" else 0.0)}} for t, v in values.items()
    ]
    report = disagreement_report(score_rows(lookup(("x",), values), rows), top=3)
    assert len(report.surprises) == 3
    assert report.surprises[0].completion == "t7"
    assert report.conflicts == ()
