import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.margins import MarginScale, drawn, margins, measure_margin_scale, parse_margin_scale, shares

NAN = math.nan


def test_margins_by_hand():
    weights = torch.tensor([[0.5, 0.3, 0.2]])
    got = margins(weights, torch.tensor([[1.0, 2.0, -3.0]]))
    # (0.3*2 - 0.2*3)/0.5, (0.5*1 - 0.2*3)/0.3, (0.5*1 + 0.3*2)/0.2
    assert_close(got, torch.tensor([[0.0, -1 / 3, 5.5]]))


def test_a_reward_that_is_not_known_matters_only_where_it_counts():
    differences = torch.tensor([[1.0, NAN, 4.0]]).expand(2, -1)
    got = margins(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.0, 0.5]]), differences)
    assert got.isnan().tolist() == [[True, False, True], [False, True, False]]
    assert_close(got[0, 1], torch.tensor((0.5 + 1.0) / 0.25))
    assert_close(got[1, [0, 2]], torch.tensor([4.0, 1.0]))


def test_a_vertex_has_no_margin():
    got = margins(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, NAN]]))
    assert got[0, 0] == 0
    assert got[0, 1].isnan()


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**31))
def test_every_objective_asks_for_the_same_log_ratio(k, seed):
    """w_k (Δr_k + m_k) = Σ_j w_j Δr_j: all labels agree on where the optimum is."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(4, k, generator=generator, dtype=torch.float64) + 0.01
    differences = torch.randn(4, k, generator=generator, dtype=torch.float64)
    total = (weights * differences).sum(1, keepdim=True).expand(-1, k)
    assert_close(weights * (differences + margins(weights, differences)), total)


def test_shares_by_hand():
    weights = torch.tensor([[0.6, 0.36, 0.04], [0.6, 0.36, 0.04], [0.0, 0.96, 0.04]])
    labels = torch.tensor([[1.0, 0.0, 1.0], [NAN, 0.3, 1.0], [1.0, NAN, 1.0]])
    got = shares(weights, labels, torch.zeros(3, 3), min_weight=0.05)
    assert_close(got, torch.tensor([[0.625, 0.375, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    unknown = shares(weights[:1], labels[:1], torch.tensor([[NAN, 0.0, 0.0]]), 0.05)
    assert unknown.tolist() == [[0.0, 1.0, 0.0]]


def test_objectives_are_drawn_as_often_as_they_weigh():
    share = torch.tensor([0.7, 0.0, 0.3]).expand(40_000, -1)
    one = drawn(share, torch.rand(len(share), generator=torch.Generator().manual_seed(0)))
    assert torch.equal(one.sum(1), torch.ones(len(share)))
    assert_close(one.mean(0), share[0], atol=0.01, rtol=0)
    assert not drawn(torch.zeros(2, 3), torch.tensor([0.0, 0.9])).any()
    assert torch.equal(drawn(share[:2], torch.tensor([0.0, 1 - 1e-7])), torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]))


def bradley_terry_pairs(scales, n=4000):
    generator = torch.Generator().manual_seed(0)
    differences = torch.randn(n, len(scales), generator=generator)
    return differences, torch.sigmoid(torch.tensor(scales) * differences)


def test_the_scale_of_soft_labels_is_found_exactly():
    differences, labels = bradley_terry_pairs([2.0, 0.25])
    found = measure_margin_scale("bradley_terry", differences, labels, ("helpful", "brief"))
    assert_close(found.tensor(), torch.tensor([2.0, 0.25]), atol=1e-4, rtol=0)
    assert 0 < found.standard_error[1] < 0.1
    assert MarginScale.from_json(found.to_json()) == found
    assert found.metrics()["margin_scale/brief"] == pytest.approx(0.25, abs=1e-4)


def test_scales_may_be_given_or_not_wanted(caplog):
    differences, labels = bradley_terry_pairs([2.0, 0.25])
    assert measure_margin_scale("none", differences, labels, ("helpful", "brief")).value == (1.0, 1.0)
    partly = measure_margin_scale("brief=0.5", differences, labels, ("helpful", "brief"))
    assert_close(partly.tensor(), torch.tensor([2.0, 0.5]), atol=1e-4, rtol=0)
    assert math.isnan(partly.standard_error[1])
    labels[:, 1] = NAN
    assert measure_margin_scale("bradley_terry", differences, labels, ("helpful", "brief")).value[1] == 1.0
    assert "objective 'brief': the scale of its reward cannot be measured (0 pairs" in caplog.text


def test_refuses_labels_that_have_no_scale():
    differences, labels = bradley_terry_pairs([2.0, 0.25])
    names = ("helpful", "brief")
    with pytest.raises(InputError, match=r"'helpful': its labels oppose its reward .*a cost enters as its negative"):
        measure_margin_scale("bradley_terry", -differences, labels, names)
    with pytest.raises(InputError, match=r"'helpful': all 4000 labels follow .* margin_scale helpful=1"):
        measure_margin_scale("bradley_terry", differences, (differences > 0).float(), names)
    with pytest.raises(InputError, match="unknown objective of margin_scale 'breif': did you mean 'brief'"):
        measure_margin_scale("breif=1", differences, labels, names)


@pytest.mark.parametrize(
    "setting", ["bradley-terry", "helpful=", "helpful=0", "helpful=-1", "helpful=inf", "helpful=x"]
)
def test_refuses_settings(setting):
    with pytest.raises(InputError, match="margin_scale"):
        parse_margin_scale(setting)
