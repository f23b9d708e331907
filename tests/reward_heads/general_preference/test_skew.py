import torch
from hypothesis import given
from hypothesis import strategies as st

from reward_heads.general_preference.skew import skew_score, win_probability

NUMBERS = st.floats(-1e3, 1e3, width=32)
EMBEDDINGS = st.integers(1, 4).flatmap(lambda k: st.lists(st.tuples(*[NUMBERS] * 5), min_size=2 * k, max_size=2 * k))


def test_hand_computed():
    a, b = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([5.0, 6.0, 7.0, 8.0])
    # blocks: 1·6 − 2·5 = −4 and 3·8 − 4·7 = −4
    assert skew_score(a, b).item() == -8.0
    assert skew_score(a, b, torch.tensor([0.5, 2.0])).item() == -10.0


def test_is_the_bilinear_form_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 7, 6, generator=generator)
    scales = torch.rand(3, generator=generator)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    r = torch.block_diag(*(scale * turn for scale in scales))
    assert torch.equal(r, -r.T)
    assert torch.allclose(skew_score(a, b, scales), torch.einsum("ni,ij,nj->n", a, r, b), atol=1e-5)


@given(EMBEDDINGS)
def test_swapping_changes_the_sign_and_nothing_else(rows):
    table = torch.tensor(rows).T
    a, b = table[0], table[1]
    scales = table[2][::2].abs()
    assert torch.equal(skew_score(a, b, scales), -skew_score(b, a, scales))
    assert skew_score(a, a).item() == 0.0
    p = win_probability(skew_score(a, b, scales))
    assert (p + win_probability(skew_score(b, a, scales))).item() == 1.0
    assert 0 <= p <= 1


@given(st.floats(-50, 50, width=32))
def test_probability_is_the_sigmoid(score):
    s = torch.tensor(score)
    assert torch.isclose(win_probability(s), torch.sigmoid(s), atol=1e-7)
    assert (win_probability(s) + win_probability(-s)).item() == 1.0
