import pytest
import torch

from frontier.errors import InputError
from reward_heads.general_preference.game import nash_weights


def test_hand_computed_biased_rock_paper_scissors():
    # Pay-offs a (rock over scissors) 0.4, b (paper over rock) 0.2, c (scissors over paper) 0.1: the equilibrium is (c, a, b) / sum.
    wins = torch.full((3, 3), 0.5)
    for i, j, edge in ((0, 2, 0.4), (1, 0, 0.2), (2, 1, 0.1)):
        wins[i, j], wins[j, i] = 0.5 + edge, 0.5 - edge
    assert torch.allclose(nash_weights(wins), torch.tensor([1.0, 4.0, 2.0]).double() / 7, atol=1e-6)


def test_one_that_beats_all_gets_everything():
    p = torch.tensor([[0.5, 0.6, 0.9], [0.4, 0.5, 0.8], [0.1, 0.2, 0.5]])
    assert torch.allclose(nash_weights(p), torch.tensor([1.0, 0.0, 0.0]).double())


def test_nothing_beats_the_mixture():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        s = torch.randn(7, 7, generator=generator)
        p = torch.sigmoid(s - s.T)
        w = nash_weights(p)
        assert (w >= 0).all()
        assert abs(w.sum() - 1) < 1e-9
        assert (w @ p.double()).min() >= 0.5 - 1e-6


@pytest.mark.parametrize(
    "bad", [torch.zeros(2, 3), torch.full((2, 2), 0.6), torch.full((2, 2), float("nan")), torch.zeros(0, 0)]
)
def test_refuses_what_is_no_preference(bad):
    with pytest.raises(InputError, match="probabilities must be"):
        nash_weights(bad)
