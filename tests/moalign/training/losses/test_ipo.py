import pytest
from loss_cases import pairs, tensor, value

from moalign.training.losses import Ipo, Sigmoid


def test_hand_computed():
    # sums: 3 - 1 / (2 * 0.25) = 1; averages: 4 / 2 - 1 / 4 - 2 = -0.25
    scores = pairs([4.0], [1.0], scale=0.25, length_a=tensor(2.0), length_b=tensor(4.0))
    assert value(Ipo(per_token=False), scores, 1) == pytest.approx([1.0])
    assert value(Ipo(), scores, 1) == pytest.approx([0.0625])
    assert value(Ipo(), scores, 0) == pytest.approx([3.75**2])


def test_the_margin_moves_the_target():
    scores = pairs([6.0], [0.0], scale=0.25, margin=tensor(1.0))  # the target is (1/2 + 1) / 0.25 = 6
    assert value(Ipo(per_token=False), scores, 1) == pytest.approx([0.0])
    assert value(Sigmoid(), scores, 1)[0] > 0.4  # DPO goes on


def test_a_tie_with_a_margin_is_settled_at_the_margin():
    lowest = min((value(Ipo(False), pairs([h], [0.0], scale=0.5, margin=tensor(1.0)), 0.5)[0], h) for h in range(-5, 6))
    assert lowest[1] == 2  # 1 / 0.5
