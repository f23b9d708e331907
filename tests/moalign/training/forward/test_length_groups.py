from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from moalign.training.forward.length_groups import length_groups


def paid(groups, lengths, overhead):
    return sum(len(group) * max(lengths[i] for i in group) + overhead for group in groups)


def test_by_hand():
    assert length_groups([9, 2, 8, 2], float, 3.0) == [[0, 2], [1, 3]]  # 18 + 4 + 6, where one forward costs 36 + 3
    assert length_groups([9, 2, 8, 2], float, 100.0) == [[0, 1, 2, 3]]
    assert length_groups([], float, 1.0) == []
    assert length_groups([5, 5, 5], float, 1e-9) == [[0, 1, 2]]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.floats(0.5, 30))
def test_no_split_costs_less(lengths, overhead):
    groups = length_groups(lengths, float, overhead)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    best = paid(groups, lengths, overhead)
    for colours in product(range(3), repeat=len(lengths)):
        other = [[i for i, c in enumerate(colours) if c == colour] for colour in set(colours)]
        assert best <= paid(other, lengths, overhead) + 1e-9


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 8))
def test_as_many_as_were_agreed(lengths, exactly):
    groups = length_groups(lengths, float, 5.0, exactly)
    assert len(groups) == min(exactly, len(lengths))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
