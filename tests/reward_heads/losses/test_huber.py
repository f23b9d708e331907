import torch
from torch.testing import assert_close

from reward_heads.losses.huber import huber
from reward_heads.losses.squared import squared


def test_by_hand():
    got = huber(torch.tensor([0.5, -1.0, 3.0]), torch.zeros(3), delta=1.0)
    assert_close(got, torch.tensor([0.25, 1.0, 5.0]))  # 2 · 3 - 1 beyond a standard deviation


def test_is_squared_where_delta_is_large_and_pulls_less_elsewhere():
    scores = torch.tensor([0.5, -4.0], requires_grad=True)
    assert_close(huber(scores, torch.ones(2), delta=100.0), squared(scores, torch.ones(2)))
    huber(scores, torch.ones(2), delta=1.5).sum().backward()
    assert_close(scores.grad, torch.tensor([-1.0, -3.0]))
