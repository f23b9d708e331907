import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mean_squared_error, r2_score

from frontier.errors import InputError
from reward_heads import pairwise_accuracy
from reward_heads.diagnose import Resampling, accuracy_report, pair_accuracy, score_rows
from reward_heads.diagnose.accuracy import pearson

QUICK = Resampling(resamples=100)


def test_hand_computed():
    found = pair_accuracy([1.0, 2.0, -1.0, 0.0, 3.0], [1.0, 0.9, 1.0, 0.0, 0.5], objective="kind")
    assert found.accuracy.value == 0.625  # right, right, wrong, undecided; the tie says nothing
    assert (found.n, found.tied, found.majority) == (4, 1, 0.75)
    assert found.wilson[0] < 0.625 < found.wilson[1]


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30)
)
@settings(deadline=None, max_examples=40)
def test_swapping_a_and_b_changes_nothing(rows):
    d, y = (np.array([row[i] for row in rows]) for i in range(2))
    turn = np.array([row[2] for row in rows])
    one = pair_accuracy(d, y, how=QUICK)
    other = pair_accuracy(np.where(turn, -d, d), np.where(turn, 1 - y, y), how=QUICK)
    assert other.accuracy.value == pytest.approx(one.accuracy.value, nan_ok=True)
    assert other.accuracy.low == pytest.approx(one.accuracy.low, nan_ok=True)


def test_is_the_accuracy_of_the_package(lookup):
    rng = np.random.default_rng(0)
    values = {f"t{i}": (rng.normal(),) for i in range(60)}
    rows = [
        {
            "prompt": f"p{i}",
            "completion_a": f"t{2 * i}",
            "completion_b": f"t{2 * i + 1}",
            "labels": {"x": float(rng.random() < 0.6)},
        }
        for i in range(30)
    ]
    reward = lookup(("x",), values)
    found = accuracy_report(score_rows(reward, rows), QUICK).pairs[0]
    assert (found.accuracy.value, found.n) == pytest.approx(pairwise_accuracy(reward, rows)["x"])


def test_copies_of_a_pair_do_not_narrow_the_cluster_interval():
    rng = np.random.default_rng(0)
    d = rng.normal(size=100)
    y = (rng.random(100) < 0.7 * (d > 0) + 0.3 * (d < 0)).astype(float)
    once = pair_accuracy(d, y, np.arange(100))
    copied = pair_accuracy(np.repeat(d, 10), np.repeat(y, 10), np.repeat(np.arange(100), 10))
    assert (copied.accuracy.low, copied.accuracy.high) == pytest.approx((once.accuracy.low, once.accuracy.high))
    assert copied.wilson[1] - copied.wilson[0] < 0.5 * (copied.accuracy.high - copied.accuracy.low)


def test_above_the_majority_or_above_chance_where_the_better_comes_first():
    first = pair_accuracy([1.0] * 90 + [-1.0] * 10, [1.0] * 100)
    assert (first.majority, first.above_majority) == (1.0, True)
    lopsided = pair_accuracy([1.0] * 100, [1.0] * 90 + [0.0] * 10)  # always "a" is all that this head knows
    assert (lopsided.majority, lopsided.above_majority) == (0.9, False)


def rated(lookup, n=80):
    rng = np.random.default_rng(0)
    values = {f"t{i}": (rng.normal(),) for i in range(n)}
    rows = [
        {
            "prompt": f"p{i // 4}",
            "completion": f"t{i}",
            "scores": {"x": float(np.round(values[f"t{i}"][0] + rng.normal()))},
        }
        for i in range(n)
    ]
    return score_rows(lookup(("x",), values), rows)


def test_ratings_agree_with_scipy_and_scikit_learn(lookup):
    scored = rated(lookup)
    found = accuracy_report(scored, QUICK).ratings[0]
    s, y = scored.scores[scored.text, 0], scored.ratings[:, 0]
    assert found.pearson.value == pytest.approx(stats.pearsonr(s, y).statistic)
    assert found.spearman.value == pytest.approx(stats.spearmanr(s, y).statistic)
    assert found.kendall.value == pytest.approx(stats.kendalltau(s, y).statistic)
    assert found.mse.value == pytest.approx(mean_squared_error(y, s))
    assert found.r2.value == pytest.approx(r2_score(y, s))
    for one in (found.pearson, found.spearman, found.kendall, found.r2):
        assert one.low < one.value < one.high
    assert (found.n, found.clusters) == (80, 20)
    right = [(s[i] > s[j]) == (y[i] > y[j]) for i in range(80) for j in range(i) if i // 4 == j // 4 and y[i] != y[j]]
    assert found.within.accuracy.value == pytest.approx(np.mean(right))
    assert found.within.n == len(right)


def test_a_constant_has_no_correlation():
    assert np.isnan(pearson(np.full(3, 0.1), np.arange(3.0)))


def test_report(lookup, world):
    assert "majority" in str(accuracy_report(world(30), QUICK))
    assert "Spearman" in str(accuracy_report(rated(lookup), QUICK))
    assert accuracy_report(world(30), QUICK).to_json()["pairs"][1]["objective"] == "y"


def test_refuses_lengths_that_differ():
    with pytest.raises(InputError, match=r"labels must be \[2\]"):
        pair_accuracy([1.0, 2.0], [1.0])


def test_nothing_labelled():
    assert np.isnan(pair_accuracy([1.0], [0.5]).accuracy.value)


def test_comparisons_of_ratings_are_held_against_a_coin_in_any_order(lookup):
    values = {f"t{i}": (float(i if i % 10 else -i),) for i in range(40)}
    rows = [{"prompt": f"p{i // 4}", "completion": f"t{i}", "scores": {"x": float(i)}} for i in range(40)]
    mixed = [rows[i] for i in np.random.default_rng(0).permutation(40)]
    found = [accuracy_report(score_rows(lookup(("x",), values), r), QUICK).ratings[0].within for r in (rows, mixed)]
    assert [w.majority for w in found] == [0.5, 0.5]
    assert [w.above_majority for w in found] == [True, True]


def test_log_odds_have_no_squared_error(lookup):
    found = accuracy_report(rated(lookup), QUICK, in_nats=["x"]).ratings[0]
    assert np.isnan([found.mse.value, found.r2.value]).all()
    assert found.pearson.value > 0.3
    with pytest.raises(InputError, match="unknown objective 'z'"):
        accuracy_report(rated(lookup), QUICK, in_nats=["z"])
