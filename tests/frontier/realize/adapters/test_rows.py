"""What the layers of a model share of the weights of one context."""

import torch

from frontier.realize.adapters.rows import RowWeights

COLUMNS = ((0, 2, 0.5), (1, 1, 3.0))


def test_layers_of_the_same_ranks_share_a_diagonal_where_no_gradient_flows():
    active = RowWeights(("a", "b"), torch.tensor([[0.25, 1.0], [2.0, -1.0]]))
    like = torch.zeros(1)
    with torch.no_grad():
        found = active.scale(COLUMNS, 2, 3, like)
        assert found.tolist() == [[[0.125, 0.125, 3.0]], [[1.0, 1.0, -3.0]]]
        assert active.scale(COLUMNS, 2, 3, like) is found
        assert active.scale(COLUMNS, 2, 2, like).shape == (2, 3)
        assert active.scale(COLUMNS, 4, 3, like)[:, 0, 2].tolist() == [3.0, 3.0, -3.0, -3.0]
        assert active.scale(COLUMNS, 2, 3, like.double()).dtype == torch.float64
        assert active.scale(COLUMNS[:1], 2, 3, like).shape == (2, 1, 2)


def test_each_recorded_forward_has_its_own():
    active = RowWeights(("a", "b"), torch.tensor([[0.25, 1.0]], requires_grad=True))
    like = torch.zeros(1)
    for _ in range(2):  # a graph serves one backward pass
        active.scale(COLUMNS, 1, 2, like).sum().backward()
    assert active.weights.grad.tolist() == [[2.0, 6.0]]
