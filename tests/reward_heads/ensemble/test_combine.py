import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.ensemble import combine_members, member_std

NAN = math.nan
SCORES = torch.tensor([[1.0, 5.0], [2.0, NAN], [6.0, 7.0]])  # three members, two completions


def test_hand_computed():
    assert combine_members(SCORES, "mean").tolist() == [3.0, 6.0]
    assert combine_members(SCORES, "worst").tolist() == [1.0, 5.0]
    # Variances (4 + 1 + 9) / 3 and (1 + 1) / 2.
    assert_close(combine_members(SCORES, "uncertainty_weighted", 0.3), torch.tensor([3 - 1.4, 6 - 0.3]))
    assert_close(member_std(SCORES), torch.tensor([math.sqrt(7), math.sqrt(2)]))


def test_what_no_member_knows_is_unknown_and_one_alone_has_no_spread():
    scores = torch.tensor([[NAN, 2.0], [NAN, NAN]])
    for how in ("mean", "worst", "uncertainty_weighted"):
        assert combine_members(scores, how, 5.0)[0].isnan()
        assert combine_members(scores, how, 5.0)[1] == 2.0
    assert member_std(scores).isnan().all()


@given(
    st.lists(st.lists(st.floats(-100, 100, width=32) | st.just(NAN), min_size=3, max_size=3), min_size=1, max_size=6),
    st.floats(0, 10),
)
def test_limits(rows, penalty):
    scores = torch.tensor(rows)
    mean, worst = combine_members(scores), combine_members(scores, "worst")
    weighted = combine_members(scores, "uncertainty_weighted", penalty)
    known = ~mean.isnan()
    assert torch.equal(known, (~scores.isnan()).any(dim=0))
    assert (worst[known] <= mean[known] + 1e-4).all()
    assert (weighted[known] <= mean[known] + 1e-4).all()
    assert_close(combine_members(scores, "uncertainty_weighted", 0.0), mean, equal_nan=True)
    assert_close(combine_members(scores[:1], "worst"), scores[0], equal_nan=True)
    assert_close(combine_members(scores.flip(0), "uncertainty_weighted", penalty), weighted, equal_nan=True)


def test_variance_of_large_scores_survives():
    scores = torch.tensor([[8_000_000.0], [8_000_001.0]])  # float32 squares would lose the difference
    assert_close(member_std(scores), torch.tensor([math.sqrt(0.5)]))
    assert_close(combine_members(scores, "uncertainty_weighted", 2.0), torch.tensor([8_000_000.0]))


@pytest.mark.parametrize(
    ("how", "penalty", "message"),
    [("wost", 1.0, "did you mean 'worst'"), ("mean", -1.0, "not negative, found -1"), ("mean", NAN, "finite number"), ("mean", math.inf, "finite number")],
)  # fmt: skip
def test_refuses(how, penalty, message):
    with pytest.raises(InputError, match=message):
        combine_members(SCORES, how, penalty)
