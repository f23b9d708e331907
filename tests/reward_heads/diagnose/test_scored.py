from itertools import combinations

import numpy as np
import pytest

from frontier.errors import InputError
from reward_heads.diagnose import score_rows
from reward_heads.diagnose.scored import pairs_within

VALUES = {"good": (2.0, 0.0), "fine": (1.0, np.nan), "bad": (0.0, 5.0)}
ROWS = [
    {"prompt": "p", "completion_a": "good", "completion_b": "bad", "labels": {"x": 1.0}, "user": 7},
    {"prompt": "p", "completion_a": "bad", "completion_b": "fine", "labels": {"y": 0.5}},
    {"prompt": "p", "completion": "good", "scores": {"x": 4.0}, "rater": "r"},
    {"prompt": "q", "completion": "good", "scores": {"x": 2.0}},
]


def test_hand_computed(lookup):
    calls = []

    class Counting(lookup):
        def score(self, prompts, completions):
            calls.append(len(completions))
            return super().score(prompts, completions)

    found = score_rows(Counting(("x", "y"), VALUES), ROWS)
    assert calls == [4]  # good, bad, fine under p, good under q: each once
    assert found.differences[:, 0].tolist() == [2.0, -1.0]
    assert np.isnan(found.differences[1, 1])
    assert found.labels[0].tolist()[0] == 1.0
    assert (found.pair_users, found.rating_users) == (("7", None), ("r", None))
    assert (found.pair_rows, found.rating_rows) == ((0, 1), (2, 3))
    assert found.pair_clusters.tolist() == [0, 0]
    assert found.rating_clusters.tolist() == [0, 1]


def test_documents_are_clusters(lookup):
    rows = [{**row, "document": document} for row, document in zip(ROWS, "abba", strict=True)]
    found = score_rows(lookup(("x", "y"), VALUES), rows)
    assert found.pair_clusters.tolist() == [0, 1]
    assert found.rating_clusters.tolist() == [1, 0]


def test_ratings_imply_pairs_within_a_prompt(lookup):
    rows = [
        {"prompt": "p", "completion": name, "scores": {"x": rating}}
        for name, rating in [("good", 3.0), ("good", 5.0), ("fine", 4.0), ("bad", 1.0)]
    ] + [{"prompt": "q", "completion": "bad", "scores": {"x": 9.0}}]
    found = score_rows(lookup(("x", "y"), VALUES), rows)
    first, second, labels = found.rated_pairs("x")
    pairs = {(found.completions[i], found.completions[j], y) for i, j, y in zip(first, second, labels, strict=True)}
    # good has mean 4, the same as fine: no order between them. q has one text, so nothing to compare.
    assert pairs == {("good", "bad", 1.0), ("fine", "bad", 1.0)}


def test_other_scores_of_the_same_rows(lookup):
    found = score_rows(lookup(("x", "y"), VALUES), ROWS)
    assert found.with_scores(2 * found.scores).differences[0, 0] == 4.0
    with pytest.raises(InputError, match=r"scores must be \[4, 2\]"):
        found.with_scores(np.zeros((1, 2)))


def test_refusals(lookup):
    reward = lookup(("x", "y"), VALUES)
    with pytest.raises(InputError, match="held-out: there are no rows"):
        score_rows(reward, [], what="held-out")
    with pytest.raises(InputError, match="Valid: x, y"):
        score_rows(reward, ROWS).rated_pairs("xx")


@pytest.mark.parametrize("groups", [[0], [0, 0, 0, 0], [3, 1, 3, 1, 1, 2], []])
def test_every_two_of_a_group(groups):
    first, second = pairs_within(np.array(groups, dtype=np.int64), most=100)
    expected = {(i, j) for i, j in combinations(range(len(groups)), 2) if groups[i] == groups[j]}
    assert len(first) == len(expected)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected


def test_a_sample_of_many_pairs_is_fair_and_repeatable():
    groups = np.repeat([0, 1], [3000, 1000])  # nine times as many pairs in the first
    first, second = pairs_within(groups, most=20_000)
    assert len({*zip(first.tolist(), second.tolist(), strict=True)}) == 20_000
    assert ((first < second) & (groups[first] == groups[second])).all()
    assert (groups[first] == 0).mean() == pytest.approx(0.9, abs=0.01)
    assert (pairs_within(groups, most=20_000)[0] == first).all()
    _, last = pairs_within(np.zeros(200_001, dtype=np.int64), most=1000)  # 2 · 10^10 pairs
    assert last.mean() == pytest.approx(2 / 3 * 200_000, rel=0.05)


def test_ratings_imply_at_most_so_many_pairs(lookup):
    rows = [{"prompt": "p", "completion": f"t{i}", "scores": {"x": float(i)}} for i in range(100)]
    scored = score_rows(lookup(("x",), {f"t{i}": (i,) for i in range(100)}), rows)
    assert len(scored.rated_pairs("x")[0]) == 4950
    first, second, labels = scored.rated_pairs("x", most=300)
    assert len(first) == 300
    assert ((scored.scores[first, 0] > scored.scores[second, 0]) == labels).all()


def test_none_and_nan_are_nobody_and_no_document(lookup):
    people = [{"user": None, "rater": "r"}, {"user": np.nan, "rater": np.nan}, {"user": np.float32("nan")}, {"user": 0}]
    rows = [
        {**ROWS[3], "prompt": f"q{i}", "document": document} | who
        for i, (who, document) in enumerate(zip(people, [None, np.nan, np.nan, "d"], strict=True))
    ]
    found = score_rows(lookup(("x", "y"), VALUES), rows)
    assert found.rating_users == ("r", None, None, "0")
    assert found.rating_clusters.tolist() == [0, 1, 2, 3]
