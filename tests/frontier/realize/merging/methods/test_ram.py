import torch
from torch.testing import assert_close

BASE = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
FIRST = BASE + torch.tensor([1.0, 1.0, 0.0, 5e-6, 0.25])
SECOND = BASE + torch.tensor([0.0, 3.0, 0.0, 0.0, 0.25])


def test_by_hand(merge):
    # Alone: as it is. Both: the mean. Not above epsilon: the base.
    assert_close(merge("ram", [FIRST, SECOND], BASE), BASE + torch.tensor([1.0, 2.0, 0.0, 0.0, 0.25]), rtol=0, atol=0)


def test_epsilon(merge):
    got = merge("ram", [FIRST, SECOND], BASE, epsilon=0.5)
    assert_close(got, BASE + torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0]), rtol=0, atol=0)


def test_agents_that_changed_different_entries_are_all_there(merge):
    torch.manual_seed(0)
    base, owner = torch.randn(70_001), torch.randint(0, 3, (70_001,))
    tensors = [torch.where(owner == i, base + 1, base) for i in range(3)]
    assert_close(merge("ram", tensors, base), base + 1)
    assert_close(merge("linear", tensors, weight=1), base + 1 / 3)  # what the average makes of them
