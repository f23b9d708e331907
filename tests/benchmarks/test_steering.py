import math

import pytest
import torch
from torch.testing import assert_close

from benchmarks.steering import gpu
from benchmarks.steering.cpu import MergedTask, Task, rows, same
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


class Given:
    def __init__(self, *rows):
        self.logits = torch.tensor(rows)

    def prefill(self):
        return self.logits

    decode = prefill


def test_agreement_is_of_the_worst_row_and_steering_of_the_least_steered():
    ours, base = Given([3.0, 4.0], [0.0, 2.0]), Given([3.0, 4.0], [0.0, 1.0])
    error, steered = same("qv", ours, base, {"one": ours, "other": Given([3.0, 4.0], [0.0, 2.2])})
    assert (error.id, error.value, error.holds) == ("qv.same.error", pytest.approx(0.1), False)
    assert (steered.id, steered.value, steered.holds) == ("qv.steered.difference", 0, False)
    error, steered = same("qv", ours, Given([3.0, 5.0], [0.0, 1.0]), {"one": ours})
    assert error.holds
    assert (steered.value, steered.holds) == (pytest.approx(0.2), True)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_logits_that_are_not_finite_agree_with_none(broken):
    good, bad = Given([1.0, 2.0]), Given([1.0, broken])
    for ours, peers in ((bad, [good]), (good, [good, bad]), (good, [bad, good]), (bad, [bad]), (good, [])):
        error, _ = same("qv", ours, good, {str(i): peer for i, peer in enumerate(peers)})
        assert error.value == math.inf
        assert not error.holds
    assert not same("qv", good, bad, {"one": good})[1].holds


def test_a_quick_run_checks_all_but_time(monkeypatch):
    monkeypatch.setattr(
        "benchmarks.steering.cpu.in_turn", lambda contenders, *_, **__: {key: [1.0] for key in contenders}
    )
    found = {row.id: row for row in rows(quick=True)}
    for name in TARGETS:
        assert found[f"{name}.same.error"].holds
        assert found[f"{name}.steered.difference"].holds
        assert found[f"{name}.decode.ratio"].bar is None


@torch.no_grad()
def test_rows_merged_by_hand_are_what_a_gpu_is_compared_with():
    torch.manual_seed(0)
    base, targets = make_base(Size(64, 1, 2, 4), "cpu", torch.float32), TARGETS["qv"]
    ids, weights = torch.randint(3, 32000, (2, 4)), torch.tensor([[0.7, -0.3, 1.5], [0.2, 1.0, 0.5]])
    ours = mixture(base, targets)
    by_hand, plain = gpu.MergedRows(MergePerRequest(base, targets), ids, weights), gpu.Task(base, ids, False)
    with ours.frozen(), ours.steer(weights):
        task = gpu.Task(ours.model.get_base_model(), ids, False)
        assert all(row.holds for row in same("gpu.qv", task, plain, {"merged rows": by_hand}, (1e-4, 1e-3)))
        assert not same("gpu.qv", plain, plain, {"merged rows": by_hand}, (1e-4, 1e-3))[0].holds
