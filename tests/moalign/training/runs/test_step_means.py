import pytest
import torch

from moalign.training.runs.step_means import StepMeans


def test_each_step_counts_the_same_and_what_was_not_counted_is_left_out():
    means = StepMeans(torch.device("cpu"))
    means.add({"a": (torch.tensor(6.0), 3), "b": (1.0, torch.tensor(0))})
    means.add({"a": (torch.tensor(8.0), 2), "c": (True, 4.0)})
    found = means.take()
    assert found == {"a": pytest.approx(3.0), "c": pytest.approx(0.25)}  # (6 / 3 + 8 / 2) / 2
    assert means.take() == {}
    means.add({"a": (1.0, 1.0)})
    means.clear()
    assert means.take() == {}
