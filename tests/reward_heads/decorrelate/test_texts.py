import math

import torch

from reward_heads.decorrelate.texts import read_texts, usable_folds


def ratings(n, prompt="p", score=float):
    return [{"prompt": prompt, "completion": f"text {i}", "scores": {"a": score(i), "b": None}} for i in range(n)]


def test_pairs_and_ratings_by_hand():
    pair = {"prompt": "q", "completion_a": "x", "completion_b": "y", "labels": {"b": 0.75}}
    found = read_texts([*ratings(2), {**ratings(1)[0], "completion": "text 2", "scores": {"a": 0.0}}, pair], ["a", "b"])
    assert found.completions == ["text 0", "text 1", "text 2", "x", "y"]
    assert (found.a, found.b) == ([3, 0, 0, 1], [4, 1, 2, 2])
    nan = math.nan
    expected = torch.tensor([[nan, 0.75], [0.0, nan], [0.5, nan], [1.0, nan]])
    assert torch.equal(found.labels.nan_to_num(-1), expected.nan_to_num(-1))
    assert found.labels.dtype == torch.float32


def test_fifty_ratings_are_all_compared_more_in_proportion_to_their_number():
    assert len(read_texts(ratings(50), ["a", "b"]).a) == 50 * 49 / 2
    for n in (100, 800):
        found = read_texts(ratings(n), ["a", "b"])
        assert 10 * n <= len(found.a) <= 20 * n
        assert len(set(zip(found.a, found.b, strict=True))) == len(found.a)
        assert all(a < b for a, b in zip(found.a, found.b, strict=True))
        assert (found.labels[:, 0] == 0).all()  # the later text has the higher rating
        degree = torch.bincount(torch.tensor(found.a + found.b), minlength=n)
        assert degree.min() >= 20
        assert read_texts(ratings(n), ["a", "b"]).a == found.a


def test_ratings_without_a_label_compare_nothing():
    found = read_texts(ratings(60, score=lambda i: None), ["a", "b"])
    assert len(found.completions) == 60
    assert (found.a, found.b, found.labels.shape) == ([], [], (0, 2))


def test_folds_of_one_group_are_parted_by_row():
    assert usable_folds(torch.tensor([3, 3, 3, 3]), 3).tolist() == [0, 1, 2, 0]
    assert usable_folds(torch.tensor([3, 3, 1]), 3).tolist() == [3, 3, 1]
