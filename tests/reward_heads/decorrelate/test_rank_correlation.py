import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from frontier.errors import InputError
from reward_heads.decorrelate.rank_correlation import RankCorrelation, ranks, spearman, standard_error


def test_hand_computed():
    # ranks 1 2 3 4 and 1 4 2 3: 1 − 6 · (0 + 4 + 1 + 1) / (4 · 15)
    assert spearman(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, 40.0, 20.0, 30.0])) == 0.4


def test_ties_share_their_mean_rank():
    assert ranks(torch.tensor([5.0, 1.0, 5.0, 7.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


@given(st.lists(st.tuples(st.integers(-4, 4), st.floats(-1e6, 1e6)), min_size=3, max_size=40))
def test_agrees_with_scipy(rows):
    x, y = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    if len(x.unique()) == 1 or len(y.unique()) == 1:
        assert spearman(x, y) == 0.0
        return
    expected = stats.spearmanr(x.numpy(), y.numpy()).statistic
    assert math.isclose(spearman(x, y), expected, abs_tol=1e-9)
    assert RankCorrelation(y)(x) == spearman(x, y)


def test_rows_that_are_not_known_are_left_out():
    nan = math.nan
    x, y = torch.tensor([1.0, nan, 2.0, 3.0]), torch.tensor([3.0, 9.0, 2.0, nan])
    assert spearman(x, y) == -1.0


def test_a_constant_follows_nothing():
    assert spearman(torch.ones(4), torch.arange(4.0)) == 0.0
    assert spearman(torch.zeros(0), torch.zeros(0)) == 0.0


def test_standard_error_is_that_of_independent_rows():
    generator = torch.Generator().manual_seed(0)
    against = RankCorrelation(torch.arange(50.0))
    draws = torch.tensor([against(torch.rand(50, generator=generator)) for _ in range(2000)])
    assert (
        abs(draws.std().item() / standard_error(50) - 1) < 0.05
    )  # 1/√49; three standard errors of a standard deviation
    assert standard_error(1) == math.inf


def test_refuses_other_shapes():
    with pytest.raises(InputError, match=r"both must be \[N\]"):
        spearman(torch.zeros(3), torch.zeros(4))
