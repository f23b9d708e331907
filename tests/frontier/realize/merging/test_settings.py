import numpy as np
import pytest
import torch

from frontier.errors import InputError
from frontier.realize.merging.settings import check_setting, plain, value_of

MLP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(("t", "expected"), [(0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (0.75, 2.0), (1.0, 4.0)])
def test_a_gradient_is_piecewise_linear(t, expected):
    assert value_of([1.0, 0.0, 4.0], float, MLP, t) == pytest.approx(expected)


def test_one_value_is_constant():
    assert [value_of([0.3], float, MLP, t) for t in (0, 0.5, 1)] == [0.3] * 3
    assert value_of(0.3, float, MLP, 0.7) == 0.3


def test_truth_values_step():
    assert [value_of([True, False], bool, MLP, t) for t in (0, 0.5, 0.99, 1)] == [True, True, True, False]


def test_the_first_filter_that_fits_counts():
    conditions = [{"filter": "self_attn", "value": 0.1}, {"filter": "mlp", "value": [0.0, 1.0]}, {"value": 9}]
    assert value_of(conditions, float, "model.layers.1.self_attn.q_proj.weight", 0.5) == 0.1
    assert value_of(conditions, float, MLP, 0.25) == 0.25
    assert value_of(conditions, float, "lm_head.weight", 1) == 9
    assert value_of([{"filter": "*", "value": 5}], float, "lm_head.weight", 1) == 5
    assert value_of(conditions[:2], float, "lm_head.weight", 1) is None
    assert value_of({"filter": "mlp", "value": 2}, float, MLP, 0) == 2


def test_a_list_of_numbers_that_is_no_gradient():
    assert value_of([0.2, 0.8], tuple, MLP, 0.5) == [0.2, 0.8]


def test_numbers_of_numpy_and_torch_are_plain_ones():
    given = {"value": [np.float32(0.5), torch.tensor(2.0), (np.arange(2), torch.ones(1, dtype=torch.bool))], "x": "mlp"}
    assert plain(given) == {"value": [0.5, 2.0, [[0, 1], [True]]], "x": "mlp"}
    assert type(plain(np.float64(0.1))) is float


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ([], "is an empty list"),
        (None, "has no value"),
        ([0.5, {"value": 1}], "mixes values and filters"),
        ([{"fliter": "mlp", "value": 1}], "'fliter': did you mean 'filter'"),
        ([{"filter": 0, "value": 1}, {"value": 0.5}], "filter must be a part of a tensor's name, or left out, found 0"),
        ([{"filter": "mlp"}], "every filter needs a plain value"),
        ([{"value": {"value": 1}}], "every filter needs a plain value"),
        ([{"value": [0.1, "high"]}], "must be a number or a list of numbers"),
        ("high", "must be a number"),
        (True, "must be a number"),
        ([0.1, "high"], "must be a number or a list of numbers"),
    ],
)
def test_refuses(setting, message):
    with pytest.raises(InputError, match=message):
        check_setting("weight", setting, float)
