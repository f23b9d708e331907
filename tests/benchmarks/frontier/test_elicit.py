import numpy as np
import pytest

from benchmarks.frontier import elicit


@pytest.mark.parametrize("kind", sorted(set(elicit.KINDS)))
def test_utilities_run_from_the_worst_point_to_the_best_and_begin_below(kind):
    rng = np.random.default_rng(1)
    points, _ = elicit._front(rng, 3)
    utility, nothing = elicit._utility(rng, kind, points)
    assert (utility.min(), utility.max()) == pytest.approx((0.0, 1.0))
    assert nothing <= 1e-12  # the worst of every objective is no better than the worst point of the front


def test_a_linear_utility_by_hand(monkeypatch):
    class Half:
        dirichlet = staticmethod(lambda alpha: np.array([0.5, 0.5]))
        uniform = staticmethod(lambda low, high: 0.1)

    utility, nothing = elicit._utility(Half(), "linear", np.array([[0.0, 1.0], [0.8, 0.8], [0.9, 0.0]]))
    # 0.5, 0.8 and 0.45; the worst of both objectives has 0.
    np.testing.assert_allclose(utility, [0.05 / 0.35, 1.0, 0.0])
    assert nothing == pytest.approx(-0.45 / 0.35)


@pytest.mark.parametrize(
    ("regrets", "questions"),
    [([0.0, 0.0], 0), ([0.5, 0.01, 0.0], 1), ([0.5, 0.01, 0.1, 0.0], 3), ([0.5, 0.0, 0.3], 13)],
)
def test_settled_counts_until_the_choice_is_good_for_good(regrets, questions):
    assert elicit.settled({"regrets": regrets}) == questions


def test_a_person_is_asked_and_the_choice_is_judged_by_the_best_utility():
    found = elicit.person(0, "choice", max_questions=3, samples=512)
    assert len(found["regrets"]) <= 4
    assert all(0 <= regret <= 1 for regret in found["regrets"])
    assert found["regrets"][-1] <= found["of_range"] + 1e-12  # a share of the best utility is the milder measure


def test_rows_tell_both_measures():
    good = {"kind": "linear", "points": 11, "regrets": [0.3, 0.01], "of_range": 0.03, "probability": 0.9}
    bad = {"kind": "CES", "points": 66, "regrets": [0.3, 0.2], "of_range": 0.4, "probability": 0.5}
    rows = {row.id: row for row in elicit._rows([good] * 9 + [bad], [bad] * 10, [])}
    assert (rows["elicit.good.share"].value, rows["elicit.good.share"].holds) == (0.9, True)
    assert (rows["elicit.questions.p90"].value, rows["elicit.questions.p90"].peer_value) == (1.0, 13.0)
    assert rows["elicit.regret.p90"].value == 0.01
    assert rows["elicit.good.share.of_range"].value == 0.0
    assert rows["elicit.good.share.of_range"].holds is None
