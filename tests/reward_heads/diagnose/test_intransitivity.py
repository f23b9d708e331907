"""Cycles: counted as networkx would, expected as Bradley-Terry makes them, and found when they are planted."""

from itertools import combinations

import numpy as np
import pytest
from scipy.special import expit

from frontier.errors import InputError
from reward_heads.diagnose import Resampling, cycle_report, cycle_test, score_rows

QUICK = Resampling(resamples=200)


def tournaments(prompts, items, votes, seed, spread=1.0, cyclic=0.0):
    """Round robins under Bradley-Terry; in a share of the prompts, item i beats i + 1, i + 2, ... around a circle with probability 0.9."""
    rng = np.random.default_rng(seed)
    rows = []
    for prompt in range(prompts):
        strength = rng.normal(0, spread, items)
        circle = rng.random() < cyclic
        for i, j in combinations(range(items), 2):
            around = 0.9 if (j - i) % items <= items // 2 else 0.1
            p = around if circle else expit(strength[i] - strength[j])
            rows += [(prompt, i, j, float(rng.random() < p)) for _ in range(votes)]
    return [list(column) for column in zip(*rows, strict=True)]


def test_counts_cycles():
    circle = (["p"] * 3, ["a", "b", "c"], ["b", "c", "a"], [1.0, 1.0, 1.0])
    line = (["p"] * 3, ["a", "b", "c"], ["b", "c", "a"], [1.0, 1.0, 0.0])
    assert (cycle_test(*circle, how=QUICK).observed.value, cycle_test(*circle, how=QUICK).triads) == (1.0, 1)
    assert cycle_test(*line, how=QUICK).observed.value == 0.0


def test_the_count_agrees_with_all_triples_of_a_matrix():
    prompts, first, second, labels = tournaments(3, 6, 1, 0)
    beats = np.zeros((3, 6, 6), dtype=bool)
    for p, i, j, y in zip(prompts, first, second, labels, strict=True):
        beats[p, i, j], beats[p, j, i] = y == 1, y == 0
    cycles = sum(
        (b[i, j] and b[j, k] and b[k, i]) or (b[j, i] and b[k, j] and b[i, k])
        for b in beats
        for i, j, k in combinations(range(6), 3)
    )
    found = cycle_test(prompts, first, second, labels, how=QUICK)
    assert found.observed.value == pytest.approx(cycles / 60)
    assert found.triads == 60


def test_expected_among_equals_is_a_quarter():
    prompts, first, second, labels = tournaments(40, 3, 1, 0)
    found = cycle_test(prompts, first, second, labels, strengths=np.zeros(3), how=Resampling(resamples=2000))
    assert found.expected.value == pytest.approx(0.25, abs=0.005)


def test_expected_with_a_head_by_hand():
    prompts, first, second, labels = tournaments(40, 3, 1, 0)
    s = np.array([0.0, 1.0, 3.0])
    ab, bc, ca = 0.8 * expit(s[0] - s[1]) + 0.1, 0.8 * expit(s[1] - s[2]) + 0.1, 0.8 * expit(s[2] - s[0]) + 0.1
    found = cycle_test(prompts, first, second, labels, strengths=s, noise=0.1, how=Resampling(resamples=2000))
    assert found.expected.value == pytest.approx(ab * bc * ca + (1 - ab) * (1 - bc) * (1 - ca), abs=0.004)
    assert (found.null, found.decisive) == ("head", True)


@pytest.mark.parametrize(("items", "votes"), [(4, 3), (4, 1), (10, 2)])
def test_false_alarms_under_bradley_terry_are_rare(items, votes):
    runs = 30 if items == 4 else 12
    n = 40 if items == 4 else 5
    found = [cycle_test(*tournaments(n, items, votes, seed), how=QUICK) for seed in range(runs)]
    assert sum(f.p_value < 0.05 for f in found) <= 0.05 * runs + 2.5  # two standard errors above 5 %
    assert np.mean([f.observed.value for f in found]) == pytest.approx(
        np.mean([f.expected.value for f in found]), rel=0.25
    )


def test_finds_planted_circles():
    found = cycle_test(*tournaments(60, 3, 5, 0, cyclic=0.5), how=QUICK)
    assert found.p_value < 0.01
    assert "general preference model" in found.finding
    assert found.observed.low > found.expected.high


def test_with_one_vote_a_quarter_of_cycles_can_be_noise_and_it_says_so():
    found = cycle_test(*tournaments(60, 4, 1, 0, spread=0.1), how=QUICK)
    assert not found.decisive
    assert "any share up to 25 %" in found.finding


def test_order_within_rows_does_not_matter():
    prompts, first, second, labels = tournaments(20, 4, 2, 0)
    turned = [
        (p, j, i, 1 - y) if n % 2 else (p, i, j, y)
        for n, (p, i, j, y) in enumerate(zip(prompts, first, second, labels, strict=True))
    ]
    one, other = (
        cycle_test(prompts, first, second, labels, how=QUICK),
        cycle_test(*zip(*turned, strict=True), how=QUICK),
    )
    assert other.observed.value == one.observed.value


def test_ties_decide_nothing():
    rows = (["p"] * 4, ["a", "b", "c", "c"], ["b", "c", "a", "a"], [1.0, 1.0, 1.0, 0.0])
    with pytest.raises(InputError, match="without a tie"):
        cycle_test(*rows, how=QUICK)


def test_scored_rows_with_and_without_the_head(lookup):
    values = {"a": (1.0,), "b": (0.5,), "c": (0.0,)}
    rows = [
        {"prompt": "p", "completion_a": i, "completion_b": j, "labels": {"x": 1.0}}
        for i, j in [("a", "b"), ("b", "c"), ("c", "a")]
    ]
    scored = score_rows(lookup(("x",), values), rows)
    assert cycle_report(scored, "x", how=QUICK).observed.value == 1.0
    assert cycle_report(scored, "x", use_head=True, how=QUICK).null == "head"
    assert "triads are cyclic" in str(cycle_report(scored, "x", how=QUICK))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cycle_test(["p"], ["a"], ["b"], [1.0]), "no three completions"),
        (lambda: cycle_test(["p"], ["a"], [], [1.0]), "one pair per label"),
        (lambda: cycle_test(["p"], ["a"], ["b"], [1.0], noise=0.6), r"noise must be in \[0, 0.5\)"),
        (lambda: cycle_test(["p"], ["a"], ["b"], [1.0], how=Resampling(resamples=0)), "resamples must be positive"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_real_answers_were_ranked_and_real_votes_have_no_more_cycles_than_noise(shared_data):
    pairs = list(combinations(range(4), 2))
    answers = [
        (q, i, j, {0: 0.5, 1: 1.0, 2: 0.0}[label])
        for q, row in enumerate(shared_data.qa_feedback())
        for (i, j), label in zip(pairs, row["preference"], strict=True)
    ]
    ranked = cycle_test(*zip(*answers, strict=True), how=QUICK)
    assert ranked.observed.value == 0  # annotators ranked the four answers, so their labels can't go round
    votes = shared_data.crowd_votes()
    labels = [{"left": 1.0, "right": 0.0, "tie": 0.5}[v["winner"]] for v in votes]
    found = cycle_test(
        [v["prompt"] for v in votes], [v["left"] for v in votes], [v["right"] for v in votes], labels, how=QUICK
    )
    assert found.decisive
    assert found.triads > 100
    assert found.p_value > 0.05


def test_what_a_head_does_not_know_is_left_out():
    prompts, first, second, labels = tournaments(40, 3, 1, 0)
    sure = np.array([20.0, 0.0, -20.0])
    # The fourth completion goes round with the first two, but the head can't score it.
    extra = [(p, i, j, 1.0) for p in range(40) for i, j in ((1, 3), (3, 0))]
    more = [
        list(column) + list(rest)
        for column, rest in zip((prompts, first, second, labels), zip(*extra, strict=True), strict=True)
    ]
    known = cycle_test(prompts, first, second, labels, strengths=sure, how=QUICK)
    found = cycle_test(*more, strengths=np.append(sure, np.nan), how=QUICK)
    assert found.expected.value == known.expected.value == pytest.approx(0.0, abs=1e-6)
    assert (found.triads, known.triads) == (40, 40)
    with pytest.raises(InputError, match="and known scores"):
        cycle_test(prompts, first, second, labels, strengths=np.array([0.0, np.nan, 1.0]), how=QUICK)
