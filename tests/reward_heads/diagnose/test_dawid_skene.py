import math

import numpy as np
import pytest
from scipy.special import expit

from frontier.errors import InputError
from reward_heads.diagnose import dawid_skene_report, fit_dawid_skene, score_rows

RATES = np.array([0.05, 0.1, 0.1, 0.2, 0.3, 0.4])


def votes(n_units=400, per_unit=4, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n_units) < 0.5
    units, users, labels = [], [], []
    for u in range(n_units):
        for h in rng.choice(len(RATES), per_unit, replace=False):
            units.append(u)
            users.append(f"u{h}")
            labels.append(float(truth[u] ^ (rng.random() < RATES[h])))
    return truth, units, users, np.array(labels)


def test_recovers_planted_rates_and_truth():
    truth, units, users, labels = votes()
    found = fit_dawid_skene(units, users, labels)
    by_user = {a.user: a.rate for a in found.annotators}
    assert [a.user for a in found.annotators][:2] == ["u5", "u4"]
    for h, rate in enumerate(RATES):
        assert by_user[f"u{h}"].value == pytest.approx(rate, abs=0.06)
    majority = np.array([labels[np.array(units) == u].mean() for u in range(400)])
    right = ((np.array(found.probabilities) > 0.5) == truth).mean()
    assert right > ((majority > 0.5) == truth).mean() + 0.02  # ties of the majority are decided by who is reliable
    assert found.identifiable


def test_turning_a_pair_round_turns_its_probability():
    _, units, users, labels = votes(100)
    turn = (np.arange(100) % 3 == 0)[units]
    one, other = (fit_dawid_skene(units, users, y) for y in (labels, np.where(turn, 1 - labels, labels)))
    p, q = np.array(one.probabilities), np.array(other.probabilities)
    assert np.where(np.arange(100) % 3 == 0, 1 - q, q) == pytest.approx(p, abs=1e-6)
    assert other.rate == pytest.approx(one.rate)


def test_a_prior_counts_as_one_more_annotator():
    # One label with error rate ε against a prior of 0.9: odds 9 · ε / (1 − ε).
    found = fit_dawid_skene([0], ["u"], [0.0], prior=np.array([0.9]))
    rate = found.rate
    assert found.probabilities[0] == pytest.approx(
        rate, abs=1e-3
    )  # with one label, "wrong" and "a is better" are one event


def test_two_labels_per_pair_are_not_enough():
    _, units, users, labels = votes(100, per_unit=2)
    found = fit_dawid_skene(units, users, labels)
    assert not found.identifiable
    assert "not identified" in str(found)


def test_rows_in_any_order_and_the_head(lookup):
    values = {"g": (2.0,), "b": (0.0,)}
    pair = {"prompt": "p", "completion_a": "g", "completion_b": "b"}
    turned = {"prompt": "p", "completion_a": "b", "completion_b": "g"}
    rows = [
        {**pair, "labels": {"x": 1.0}, "user": "one"},
        {**turned, "labels": {"x": 0.0}, "user": "two"},
        {**turned, "labels": {"x": 0.5}, "user": "three"},
        {**pair, "labels": {"x": 0.0}},
    ]
    scored = score_rows(lookup(("x",), values), rows)
    alone, helped = dawid_skene_report(scored, "x"), dawid_skene_report(scored, "x", use_head=True)
    assert alone.n == 2  # ties and labels of nobody are left out
    assert alone.probabilities[0] > 0.5
    assert helped.probabilities[0] > expit(2.0)


def test_real_votes(shared_data):
    rows = [r for r in shared_data.crowd_votes() if r["winner"] != "tie"]
    found = fit_dawid_skene(
        [r["pair"] for r in rows], [r["user"] for r in rows], [float(r["winner"] == "left") for r in rows]
    )
    assert 0.05 < found.rate < 0.4
    assert found.annotators[0].rate.value > found.annotators[-1].rate.value + 0.1


def test_refusals():
    with pytest.raises(InputError, match="no label takes a side"):
        fit_dawid_skene([0], ["u"], [0.5])
    with pytest.raises(InputError, match="one user per label"):
        fit_dawid_skene([0], [], [1.0])
    with pytest.raises(InputError, match=r"prior must be \[1\]"):
        fit_dawid_skene([0], ["u"], [1.0], prior=np.array([0.5, 0.5]))
    assert math.isfinite(fit_dawid_skene([0], ["u"], [1.0]).rate)
