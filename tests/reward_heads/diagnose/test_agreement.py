import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from frontier.errors import InputError
from reward_heads.diagnose import Resampling, agreement_report, krippendorff_alpha, score_rows
from reward_heads.diagnose.agreement import lower_tail

QUICK = Resampling(resamples=50)


def brute_alpha(units, labels):
    groups = [[v for u, v in zip(units, labels, strict=True) if u == unit] for unit in dict.fromkeys(units)]
    groups = [g for g in groups if len(g) > 1]
    everything = [v for g in groups for v in g]
    n = len(everything)
    observed = sum(sum((a - b) ** 2 for a in g for b in g) / (len(g) - 1) for g in groups) / n
    return 1 - observed / (sum((a - b) ** 2 for a in everything for b in everything) / (n * (n - 1)))


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0])), min_size=6, max_size=25))
@settings(max_examples=60)
def test_alpha_agrees_with_its_definition(rows):
    units, labels = zip(*rows, strict=True)
    found = krippendorff_alpha(units, np.array(labels))
    paired = [v for u, v in rows if units.count(u) > 1]
    if len(set(paired)) > 1:
        assert found == pytest.approx(brute_alpha(units, labels))
    else:
        assert np.isnan(found)


def test_alpha_of_pairs_does_not_depend_on_the_order_within_a_pair():
    rng = np.random.default_rng(0)
    units, labels = np.repeat(np.arange(50), 3), (rng.random(150) < 0.8).astype(float)
    turn = (np.arange(50) % 2 == 0)[units]
    turned = np.where(turn, 1 - labels, labels)
    assert krippendorff_alpha(units, labels, symmetric=True) == pytest.approx(
        krippendorff_alpha(units, turned, symmetric=True)
    )
    assert krippendorff_alpha(units, labels) != pytest.approx(krippendorff_alpha(units, turned), abs=0.05)
    assert krippendorff_alpha(units, np.repeat(rng.integers(0, 2, 50), 3).astype(float), symmetric=True) == 1.0


def test_lower_tail_is_binomial_for_equal_coins_and_normal_for_very_many():
    assert lower_tail(np.full(30, 0.7), 15) == pytest.approx(binom.cdf(15, 30, 0.7))
    assert lower_tail(np.full(5000, 0.7), 3450) == pytest.approx(binom.cdf(3450, 5000, 0.7), rel=0.02)
    assert lower_tail(np.array([0.5, 1.0]), 0) == 0


def annotated(lookup, odd=(), n=60, users=20, seed=0):
    rng = np.random.default_rng(seed)
    values, rows = {}, []
    for i in range(n * users):
        a, b = rng.normal(0, 2, 2)
        values[f"a{i}"], values[f"b{i}"] = (a,), (b,)
        user = f"u{i % users}"
        chance = 1 / (1 + np.exp(b - a))
        chance = 0.5 if user in odd else chance
        rows.append(
            {
                "prompt": f"p{i}",
                "completion_a": f"a{i}",
                "completion_b": f"b{i}",
                "labels": {"x": float(rng.random() < chance)},
                "user": user,
            }
        )
    return score_rows(lookup(("x",), values), rows)


def test_finds_the_annotators_who_answer_at_random(lookup):
    report = agreement_report(annotated(lookup, odd=("u3", "u11")), "x", how=QUICK)
    assert {a.user for a in report.annotators if a.flagged} == {"u3", "u11"}
    assert report.annotators[0].p_value < 1e-3
    assert all(abs(a.agreement - a.expected) < 0.2 for a in report.annotators if not a.flagged)


def test_flags_nobody_by_chance(lookup):
    flagged = [
        sum(a.flagged for a in agreement_report(annotated(lookup, n=15, seed=s), "x", how=QUICK).annotators)
        for s in range(25)
    ]
    assert sum(count > 0 for count in flagged) <= 4  # 5 % of reports, not 5 % of 500 annotators


def test_agreement_with_others_by_hand(lookup):
    values = {"g": (1.0,), "b": (0.0,)}
    pair = {"prompt": "p", "completion_a": "g", "completion_b": "b", "labels": {"x": 1.0}}
    turned = {**pair, "completion_a": "b", "completion_b": "g", "labels": {"x": 0.0}}
    rows = [{**pair, "user": "one"}, {**turned, "user": "two"}, {**turned, "labels": {"x": 1.0}, "user": "three"}]
    report = agreement_report(score_rows(lookup(("x",), values), rows), "x", how=QUICK)
    by_user = {a.user: a for a in report.annotators}
    assert (by_user["three"].others, by_user["three"].n_others, by_user["three"].agreement) == (0.0, 1, 0.0)
    assert by_user["one"].n_others == 0  # the other two disagree: no majority
    assert by_user["two"].kappa == 1.0


def test_refusals_and_report(world):
    with pytest.raises(InputError, match="unknown objective 'z'"):
        agreement_report(world(10), "z")
    with pytest.raises(InputError, match=r"fdr must be in \(0, 1\)"):
        agreement_report(world(10), "x", fdr=0)
    report = agreement_report(world(40, users=4), "x", how=QUICK)
    assert "0 of 4 disagree beyond chance" in str(report)
    assert report.to_json()["alpha_pairs"]["value"] is None  # nobody labelled the same pair


def test_real_raters_of_politeness_agree_in_part(shared_data):
    rows = shared_data.politeness("wikipedia")
    names = [name for name in rows[0] if name.lower().startswith("score")][:5]
    labels = [[float(row[name]) for name in names] for row in rows[:500]]
    alpha = krippendorff_alpha(np.repeat(np.arange(500), 5), np.array(labels).ravel())
    assert 0.05 < alpha < 0.8
