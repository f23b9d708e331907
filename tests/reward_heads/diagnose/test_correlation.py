import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LinearRegression

from frontier.errors import InputError
from reward_heads.diagnose import Resampling, correlation_report, effective_number, reliability_of_flips, score_rows

QUICK = Resampling(resamples=60)


def scored_of(lookup, columns, per_prompt=4):
    names = tuple("abcdef"[: columns.shape[1]])
    values = {f"t{i}": row for i, row in enumerate(columns)}
    rows = [{"prompt": f"p{i // per_prompt}", "completion": t, "scores": {"a": 1.0}} for i, t in enumerate(values)]
    return score_rows(lookup(names, values), rows)


def test_within_and_between_prompts_are_told_apart(lookup):
    rng = np.random.default_rng(0)
    prompt = np.repeat(rng.normal(0, 3, 100), 4)  # easy prompts score high on both
    inner = rng.normal(size=(400, 1))
    x = prompt[:, None] + np.hstack([inner, -inner]) + 0.1 * rng.normal(size=(400, 2))
    found = correlation_report(scored_of(lookup, x), how=QUICK).pairs[0]
    assert found.between.value > 0.9
    assert found.within.value < -0.9
    assert found.spearman.value > 0.5
    assert "pull against each other" in found.finding


def test_agrees_with_scipy_and_scikit_learn(lookup):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3))
    report = correlation_report(scored_of(lookup, x, per_prompt=1), how=QUICK)
    x = x.astype(np.float32).astype(float)
    assert report.basis == "all"
    assert np.array(report.matrix) == pytest.approx(np.corrcoef(x.T))
    by_name = {(p.first, p.second): p for p in report.pairs}
    assert by_name["a", "b"].spearman.value == pytest.approx(stats.spearmanr(x[:, 0], x[:, 1]).statistic)
    for k, found in enumerate(report.redundancy):
        others = np.delete(x, k, axis=1)
        r2 = LinearRegression().fit(others, x[:, k]).score(others, x[:, k])
        assert found.r2.value == pytest.approx(r2)
        assert found.vif == pytest.approx(1 / (1 - r2))


@given(st.permutations(range(4)), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_permuting_objectives_permutes_the_report(lookup, order, seed):
    x = np.random.default_rng(seed).normal(size=(40, 4)).astype(np.float32)
    none = Resampling(resamples=0)
    one = correlation_report(scored_of(lookup, x), how=none)
    other = correlation_report(scored_of(lookup, x[:, list(order)]), how=none)
    assert other.effective.value == pytest.approx(one.effective.value)
    assert [r.r2.value for r in other.redundancy] == pytest.approx([one.redundancy[k].r2.value for k in order])


def test_copies_and_mixtures_are_redundant(lookup):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 2))
    report = correlation_report(scored_of(lookup, np.hstack([x, x.sum(1, keepdims=True)])), how=QUICK)
    assert [r.r2.value for r in report.redundancy] == pytest.approx([1.0] * 3)
    assert report.redundancy[0].vif > 1e6
    assert report.effective.value < 2.01
    copies = correlation_report(scored_of(lookup, np.hstack([x[:, :1], 2 * x[:, :1]])), how=QUICK)
    assert copies.effective.value == pytest.approx(1.0, abs=1e-5)
    assert "steering between them will do almost nothing" in copies.pairs[0].finding


def test_effective_number_by_hand():
    # Eigenvalues 1 ± 0.6: shares 0.8 and 0.2.
    expected = math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert effective_number(np.array([[1, 0.6], [0.6, 1]])) == pytest.approx(expected)


def test_noise_that_is_planted_in_labels_is_taken_out_again(lookup):
    rng = np.random.default_rng(3)
    truth = rng.random(20_000) < 0.5
    same = rng.random(20_000) < 0.85  # correlation 0.7 between the two objectives
    labels = np.stack([truth, np.where(same, truth, ~truth)], axis=1)
    flips = rng.random(labels.shape) < [0.1, 0.2]
    noisy = (labels ^ flips).astype(float)
    rows = [
        {"prompt": str(i % 500), "completion_a": "t0", "completion_b": "t1", "labels": {"a": p, "b": q}}
        for i, (p, q) in enumerate(noisy)
    ]
    scored = score_rows(lookup(("a", "b"), {"t0": (1, 0), "t1": (0, 1)}), rows)
    reliability = {"a": reliability_of_flips(0.1), "b": reliability_of_flips(0.2)}
    found = correlation_report(scored, reliability=reliability, how=QUICK).pairs[0]
    assert found.labels.value == pytest.approx(0.7 * 0.8 * 0.6, abs=0.03)
    assert found.disattenuated == pytest.approx(0.7, abs=0.05)


def test_heads_that_blur_what_labels_tell_apart(world):
    found = correlation_report(world(400, correlation=0.98), how=QUICK).pairs[0]
    assert found.within.value > 0.9
    assert found.labels.value < 0.5
    assert "blur a distinction" in found.finding


def test_a_constant_head_is_said_to_be_constant(lookup):
    report = correlation_report(
        scored_of(lookup, np.hstack([np.random.default_rng(0).normal(size=(40, 1)), np.full((40, 1), 0.1)])), how=QUICK
    )
    assert "can't be compared" in report.pairs[0].finding
    assert report.left_out == ("b",)
    assert report.effective.value == pytest.approx(1.0)
    assert "effective number of objectives: 1.000" in str(report)
    assert "never known: b" in str(report)


def test_one_head_alone(lookup):
    report = correlation_report(scored_of(lookup, np.random.default_rng(0).normal(size=(40, 1))), how=QUICK)
    assert report.pairs == ()
    assert report.effective.value == pytest.approx(1.0)


def test_refusals(world):
    with pytest.raises(InputError, match="objective in reliability 'z'"):
        correlation_report(world(10), reliability={"z": 0.5})
    with pytest.raises(InputError, match=r"in \(0, 1\], found 0"):
        correlation_report(world(10), reliability={"x": 0.0})
    with pytest.raises(InputError, match=r"in \[0, 0.5\)"):
        reliability_of_flips(0.5)


def test_real_ratings_of_dialogues_are_collinear(shared_data, lookup):
    found = shared_data.topical_chat()
    names = tuple(found[0]["scores"])
    values = {f"t{i}": [r["scores"][n] for n in names] for i, r in enumerate(found)}
    rows = [{"prompt": r["source"], "completion": f"t{i}", "scores": r["scores"]} for i, r in enumerate(found)]
    report = correlation_report(score_rows(lookup(names, values), rows), how=QUICK)
    assert report.effective.value < 4.5  # six names, far fewer opinions
    assert {report.pairs[0].first, report.pairs[0].second} & {"overall", "naturalness", "coherence", "engagingness"}


@pytest.mark.parametrize("silent", [0.1, np.nan], ids=["constant", "unknown"])
def test_a_head_that_says_nothing_does_not_silence_the_others(lookup, silent):
    x = np.random.default_rng(0).normal(size=(80, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    alone = correlation_report(scored_of(lookup, x), how=QUICK)
    found = correlation_report(scored_of(lookup, np.insert(x, 1, silent, axis=1)), how=QUICK)
    assert found.left_out == ("b",)
    assert (found.n, found.n_used) == (80, 3)
    assert found.effective == alone.effective
    assert [found.redundancy[k].r2 for k in (0, 2, 3)] == [r.r2 for r in alone.redundancy]
    assert math.isnan(found.redundancy[1].r2.value)
    assert np.array(found.matrix)[np.ix_([0, 2, 3], [0, 2, 3])] == pytest.approx(np.array(alone.matrix))


def test_heads_that_say_nothing_at_all(lookup):
    report = correlation_report(scored_of(lookup, np.full((12, 2), 1.0)), how=QUICK)
    assert report.left_out == ("a", "b")
    assert math.isnan(report.effective.value)
    assert "–" in str(report)


def test_only_labels_of_pairs_are_disattenuated_and_never_beyond_one(lookup, world):
    low = {"x": 0.05, "y": 0.05}
    values = {f"t{i}": (i, i) for i in range(12)}
    rows = [
        {"prompt": f"p{i // 3}", "completion": f"t{i}", "scores": {"x": float(i), "y": float(i % 5)}} for i in range(12)
    ]
    rated = correlation_report(score_rows(lookup(("x", "y"), values), rows), reliability=low, how=QUICK).pairs[0]
    assert rated.labels.value > 0
    assert math.isnan(rated.disattenuated)
    compared = correlation_report(world(300, correlation=0.9), reliability=low, how=QUICK).pairs[0]
    assert compared.labels.value > 0.05
    assert compared.disattenuated == 1.0
