import math

import pytest
from loss_cases import pairs, value

from moalign.training.losses import BcoPair

LOG_3 = math.log(3)


def test_hand_computed():
    scores = pairs([2 * LOG_3], [2 * LOG_3], scale=0.5)  # both sigmoids 3 / 4
    assert value(BcoPair(), scores, 1) == pytest.approx([math.log(4 / 3) + math.log(4)])
    above = pairs([2 * LOG_3], [-2 * LOG_3], scale=0.5)
    assert value(BcoPair(), above, 1) == pytest.approx([2 * math.log(4 / 3)])
    assert value(BcoPair(), above, 0) == pytest.approx([2 * math.log(4)])
