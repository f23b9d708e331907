import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier import InputError, non_dominated
from frontier.measure import as_points
from frontier.measure.dominance import dominates, non_dominated_sort


def by_definition(points):
    """The quadratic definition, duplicates judged by the first."""
    keep = []
    for i, p in enumerate(points):
        beaten = any((q >= p).all() and (q > p).any() for q in points)
        repeated = any((q == p).all() for q in points[:i])
        keep.append(not beaten and not repeated)
    return keep


def small_fronts():
    # Few distinct values, so that ties and duplicates are common.
    return st.integers(1, 5).flatmap(
        lambda m: st.integers(1, 25).flatmap(
            lambda n: arrays(np.float64, (n, m), elements=st.integers(-2, 2).map(float))
        )
    )


@settings(deadline=None)
@given(small_fronts())
def test_agrees_with_the_definition(points):
    assert non_dominated(points).tolist() == by_definition(points)


@pytest.mark.parametrize("m", [2, 3, 4, 7])
def test_agrees_with_the_definition_on_many_points(m):
    points = np.random.default_rng(m).integers(0, 6, (400, m)).astype(float)
    assert non_dominated(points).tolist() == by_definition(points)


def test_maximises_and_keeps_the_first_of_equals():
    assert non_dominated([[0, 0], [2, 1], [1, 2], [2, 1]]).tolist() == [False, True, True, False]


def test_negative_zero_equals_zero():
    assert non_dominated([[-0.0, 1.0], [0.0, 1.0]]).tolist() == [True, False]


def test_empty_set():
    assert non_dominated([]).tolist() == []
    assert non_dominated(np.zeros((0, 3))).tolist() == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 2])
def test_refuses_what_is_not_finite_and_names_the_row(bad, row):
    points = np.zeros((4, 2))
    points[row, 1] = bad
    with pytest.raises(InputError, match=f"row {row} of the points is not finite"):
        non_dominated(points)


@pytest.mark.parametrize("bad", [[1.0, 2.0], 3.0, [[1, 2], [3]], [["a", "b"]], np.zeros((2, 2, 2)), np.zeros((3, 0))])
def test_refuses_what_is_no_table(bad):
    with pytest.raises(InputError, match="table"):
        non_dominated(bad)


def test_as_points_counts_columns():
    with pytest.raises(InputError, match="weights must have 3 columns, found 2"):
        as_points([[1, 2]], "weights", 3)


def test_as_points_does_not_alias_its_input():
    given_ = np.zeros((2, 2))
    as_points(given_)[0, 0] = 5.0
    assert given_[0, 0] == 0.0


def test_large_values_are_finite():
    assert as_points([[1e300, -1e300]]).tolist() == [[1e300, -1e300]]  # their squares are not


def test_as_points_gives_rows_side_by_side():
    assert as_points(np.zeros((3, 2), order="F")).flags.c_contiguous  # what the C functions read


@pytest.mark.parametrize("n", [600, 3000])
@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_many_points_with_many_ties(n, m):
    pymoo = pytest.importorskip("pymoo.util.nds.non_dominated_sorting")
    points = np.random.default_rng([n, m]).integers(0, 9, (n, m)).astype(float)
    front = pymoo.NonDominatedSorting().do(-points, only_non_dominated_front=True)
    _, first = np.unique(points[front], axis=0, return_index=True)
    assert np.flatnonzero(non_dominated(points)).tolist() == sorted(np.sort(front)[i] for i in _firsts(points, front))
    assert len(first) == non_dominated(points).sum()


def _firsts(points, front):
    front = np.sort(front)
    return np.unique(points[front], axis=0, return_index=True)[1]


@pytest.mark.parametrize("m", [2, 3, 4])
def test_agrees_with_botorch(m):
    pareto = pytest.importorskip("botorch.utils.multi_objective.pareto")
    torch = pytest.importorskip("torch")
    points = np.random.default_rng(m).integers(0, 8, (300, m)).astype(float)
    mask = pareto.is_non_dominated(torch.from_numpy(points), deduplicate=True).numpy()
    assert non_dominated(points).tolist() == mask.tolist()


# ---- kinds of dominance


@pytest.mark.parametrize(
    ("p", "q", "pareto", "weak", "strict"),
    [
        ([1, 1], [1, 1], False, True, False),
        ([1, 2], [1, 1], True, True, False),
        ([2, 2], [1, 1], True, True, True),
        ([2, 0], [1, 1], False, False, False),
        ([1, 1], [1, 2], False, False, False),
    ],
)
def test_kinds_by_hand(p, q, pareto, weak, strict):
    assert [dominates(p, q, kind) for kind in ("pareto", "weak", "strict")] == [pareto, weak, strict]
    assert dominates(p, q) is pareto


def test_epsilon_dominance_by_hand():
    assert dominates([1, 1], [1.5, 1], "epsilon", epsilon=0.5)
    assert not dominates([1, 1], [1.5, 1], "epsilon", epsilon=0.4)
    assert dominates([1, 1], [1.5, 1], "epsilon", epsilon=[0.5, 0])
    assert not dominates([1, 1], [1.5, 1], "epsilon", epsilon=[0, 0.5])


@settings(deadline=None)
@given(small_fronts())
def test_kinds_imply_each_other(points):
    p, q = points[0], points[-1]
    if dominates(p, q, "strict"):
        assert dominates(p, q)
    if dominates(p, q):
        assert dominates(p, q, "weak")
        assert not dominates(q, p, "weak")
    assert dominates(p, q, "weak") == dominates(p, q, "epsilon", epsilon=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 1], [0, 0], "strickt"), "did you mean 'strict'"),
        (([1, 1], [0, 0], "epsilon"), "epsilon belongs to the kind 'epsilon'"),
        (([1, 1], [0, 0], "weak", 0.1), "epsilon belongs to the kind 'epsilon'"),
        (([1, 1], [0, 0], "epsilon", -0.1), "at least 0"),
        (([1, 1], [0, 0], "epsilon", [0.1]), "one number or 2 numbers"),
        (([1, 1], [0, 0, 0]), "vector q must have 2 columns, found 3"),
        (([1, np.nan], [0, 0]), "vector p is not finite"),
    ],
)
def test_dominates_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        dominates(*arguments)


# ---- thinned by epsilon


def test_of_near_points_the_first_stays():
    points = [[1.0, 0.0], [0.95, 0.05], [0.0, 1.0], [0.05, 0.95]]
    assert non_dominated(points, epsilon=0.1).tolist() == [True, False, True, False]
    assert non_dominated(points[::-1], epsilon=0.1).tolist() == [True, False, True, False]
    assert non_dominated(points, epsilon=0.01).all()


@settings(deadline=None)
@given(small_fronts(), st.floats(0, 3))
def test_thinning_leaves_nothing_further_than_epsilon(points, epsilon):
    front, kept = non_dominated(points), non_dominated(points, epsilon)
    assert (front | ~kept).all()
    assert all(any(dominates(k, p, "epsilon", epsilon) for k in points[kept]) for p in points)
    if epsilon == 0:
        assert (kept == front).all()


@pytest.mark.parametrize("epsilon", [-1, np.nan, [1, 1, 1], [[1, 1]]])
def test_refuses_bad_epsilon(epsilon):
    with pytest.raises(InputError, match="epsilon must be one number or 2 numbers of at least 0"):
        non_dominated([[1, 0], [0, 1]], epsilon)


# ---- sorting


@settings(deadline=None)
@given(small_fronts())
def test_ranks_by_definition(points):
    ranks, left, rank = np.full(len(points), -1), np.arange(len(points)), 0
    while left.size:
        on_front = np.array([not any(dominates(q, p) for q in points[left]) for p in points[left]])
        ranks[left[on_front]] = rank
        left, rank = left[~on_front], rank + 1
    assert non_dominated_sort(points).tolist() == ranks.tolist()
    # Equal points share their rank, and the filter keeps the first of those on the front.
    assert len(np.unique(points[ranks == 0], axis=0)) == non_dominated(points).sum()


@pytest.mark.parametrize("m", [2, 3, 5])
def test_ranks_agree_with_pymoo(m):
    pymoo = pytest.importorskip("pymoo.util.nds.non_dominated_sorting")
    points = np.random.default_rng(m).normal(size=(200, m)).round(1)
    _, ranks = pymoo.NonDominatedSorting().do(-points, return_rank=True)
    assert non_dominated_sort(points).tolist() == ranks.tolist()


def test_ranks_of_nothing():
    assert non_dominated_sort([]).tolist() == []
    with pytest.raises(InputError, match="row 0 of the points is not finite"):
        non_dominated_sort([[np.nan, 1]])


# ---- what is no plain array


def test_torch_tensors_of_any_kind():
    torch = pytest.importorskip("torch")
    for kind in (torch.bfloat16, torch.float16, torch.float32, torch.int64):
        assert as_points(torch.tensor([[1, 2]]).to(kind)).tolist() == [[1.0, 2.0]]
    tracked = torch.ones(2, 2, requires_grad=True)
    for points in (tracked, [tracked[0], tracked[1]]):
        assert as_points(points).tolist() == [[1.0, 1.0]] * 2
    assert dominates(tracked[0], torch.zeros(2, dtype=torch.bfloat16))


def test_what_is_masked_is_not_known():
    masked = np.ma.masked_array([[1, 3], [9, 9]], mask=[[0, 0], [1, 1]])
    for points in (masked, list(masked)):
        with pytest.raises(InputError, match="row 1 of the points is not finite"):
            as_points(points)
    with pytest.raises(InputError, match="vector q is not finite"):
        dominates([1, 1], masked[1])
    assert as_points(masked[:1]).tolist() == [[1.0, 3.0]]


def test_refuses_integers_beyond_floats():
    with pytest.raises(InputError, match="the points must form a table of numbers"):
        as_points([[10**400, 1]])
