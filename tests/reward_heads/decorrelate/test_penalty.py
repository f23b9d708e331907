import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reward_heads.decorrelate.penalty import smallest_penalty, smallest_strength


def correlation(r, v):
    if len(set(r.tolist())) == 1:
        return 0.0
    return stats.spearmanr(r.numpy(), v.numpy()).statistic


def world(n=400, slope=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    v, noise = torch.randn(2, n, generator=generator, dtype=torch.float64)
    return slope * v + noise, v


def test_hand_computed():
    # r = 2 5 5 8 against 1 2 3 4 keeps its order up to λ = 1.5, where 1 meets 3 and 2 meets 4 (Spearman 0.447), and turns there.
    r, v = torch.tensor([2.0, 5.0, 5.0, 8.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert abs(smallest_penalty(r, v, 0.5) - 1.5) < 1e-9


@pytest.mark.parametrize("slope", [2.0, -2.0])
@pytest.mark.parametrize("threshold", [0.0, 0.03, 0.3])
def test_meets_the_threshold_from_both_sides_and_no_smaller_one_does(slope, threshold):
    r, v = world(slope=slope)
    found = smallest_penalty(r, v, threshold)
    assert found * slope > 0
    assert abs(correlation(r - found * v, v)) <= threshold + 1e-4  # with 400 rows a step is at most 1e-4 wide
    assert abs(correlation(r - (found - 0.01 * slope) * v, v)) > threshold


def test_what_meets_it_already_is_left_alone():
    r, v = world(slope=0.0)
    assert smallest_penalty(r, v, 0.2) == 0.0


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=4, max_size=9), st.floats(0, 0.9))
def test_agrees_with_every_place_where_two_rows_meet(rows, threshold):
    r, v = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    if len(v.unique()) == 1 or len(r.unique()) == 1:
        return
    found = smallest_penalty(r, v, threshold)
    slopes = {0.0} | {
        ((a - b) / (c - d)).item() for (a, c), (b, d) in itertools.combinations(zip(r, v, strict=True), 2) if c != d
    }
    ordered = sorted(slopes)
    # Between two meetings nothing changes: the meetings and one place in each gap stand for all penalties.
    places = ordered + [(a + b) / 2 for a, b in itertools.pairwise(ordered)] + [ordered[0] - 1, ordered[-1] + 1]
    reached = [abs(place) for place in places if abs(correlation(r - place * v, v)) <= threshold]
    if not reached:
        return
    assert any(abs(abs(found) - size) < 1e-6 or abs(found) < size for size in [min(reached)])


def test_correlation_never_rises_with_the_penalty():
    r, v = world(n=60)
    values = [correlation(r - step * 0.1 * v, v) for step in range(-50, 60)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(values))
    assert values[0] > 0.9
    assert values[-1] < -0.9


def test_strength_is_found_where_the_correlation_need_not_fall_steadily():
    bumpy = lambda s: 0.5 + 0.2 * (s > 0.3) - 0.4 * s  # noqa: E731
    assert abs(smallest_strength(bumpy, 2.0, 0.1) - 1.5) < 1e-9  # 0.7 − 0.4 s = 0.1
    assert abs(smallest_strength(lambda s: -bumpy(s), 2.0, 0.1) - 1.5) < 1e-9
    assert smallest_strength(lambda s: 0.05, 2.0, 0.1) == 0.0


def test_without_any_such_strength_the_best_one():
    assert smallest_strength(lambda s: 0.2 + (s - 1) ** 2, 2.0, 0.1) == 1.0
    assert smallest_strength(lambda s: 0.3 + s, 2.0, 0.1) == 0.0
