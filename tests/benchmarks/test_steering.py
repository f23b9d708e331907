import pytest
import torch
from torch.testing import assert_close

from benchmarks.steering.cpu import MergedTask, Task
from benchmarks.steering.models import (
    TARGETS,
    MergePerRequest,
    Size,
    make_base,
    mixture,
    with_one_adapter_a_row,
    with_tensor_scalings,
)
from benchmarks.steering.timing import in_turn, ratio

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_all_contenders_compute_the_same_twice():
    torch.manual_seed(0)
    base, targets = make_base(Size(64, 1, 2, 4), "cpu", torch.float32), TARGETS["all"]
    ids, weights = torch.randint(3, 32000, (2, 4)), torch.tensor([[0.7, -0.3, 1.5], [0.0, 1.0, 0.0]])
    with torch.no_grad():
        ours = mixture(base, targets)
        mixed, names = with_one_adapter_a_row(base, targets, weights)
        with ours.steer(weights):
            own = Task(ours.model, ids)
            peers = [
                Task(with_tensor_scalings(base, targets, weights), ids),
                Task(mixed, ids, adapter_names=names),
                MergedTask(MergePerRequest(base, targets), ids, weights),
            ]
            for _ in range(2):  # a decode leaves its cache as it was
                for peer in peers:
                    assert_close(peer.prefill(), own.prefill(), atol=1e-4, rtol=1e-4)
                    assert_close(peer.decode(), own.decode(), atol=1e-4, rtol=1e-4)
            assert not torch.allclose(own.prefill(), Task(base, ids).prefill(), atol=1e-2)


def test_contenders_take_turns_and_warm_up_is_not_counted():
    calls = []
    seconds = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, warm_up=1)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}


def test_ratio_is_the_median_of_the_rounds():
    value, (low, high) = ratio({"a": [1.0, 4.0, 9.0], "b": [1.0, 2.0, 3.0]}, "a", "b")
    assert value == 2.0
    assert low <= 2.0 <= high
