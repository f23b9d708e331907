import numpy as np
import pytest
import torch
from tiny_checkpoints import load_tensors
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from frontier.realize.merging import merge_state_dicts


def test_into_a_loaded_model(llamas):
    model = AutoModelForCausalLM.from_pretrained(llamas["base"], dtype=torch.bfloat16)
    held = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    dicts = [load_tensors(llamas[name]) for name in ("one", "two")]
    expected = merge_state_dicts(dicts, "linear", {"weight": [0.3, 0.7]})
    found = merge_state_dicts(dicts, "linear", {"weight": [0.3, 0.7]}, into=model.state_dict())
    state = model.state_dict()
    assert {name: tensor.data_ptr() for name, tensor in state.items()} == held
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor.bfloat16())
        assert torch.equal(found[name], state[name])
    dicts[0] = {name: tensor.clone() for name, tensor in dicts[0].items()}
    merge_state_dicts(dicts, "linear", {"weight": [0.3, 0.7]}, into=dicts[0])  # one of the models itself
    assert all(torch.equal(dicts[0][name], tensor) for name, tensor in expected.items())


def test_refuses_to_merge_into_another_model():
    one = {"x": torch.zeros(2, 3)}
    with pytest.raises(InputError, match="into: tensor 'x' is missing"):
        merge_state_dicts([one], "linear", {"weight": 1}, into={})
    with pytest.raises(InputError, match=r"into: tensor 'x' is \[3, 2\], the merge of it is \[2, 3\]"):
        merge_state_dicts([one], "linear", {"weight": 1}, into={"x": torch.zeros(3, 2)})
    with pytest.raises(InputError, match="'x' is not contiguous"):
        merge_state_dicts([one], "linear", {"weight": 1}, into={"x": torch.zeros(3, 2).T})


class TestInMemory:
    def test_ties_are_kept(self):
        shared = torch.ones(3)
        made = merge_state_dicts([{"a": shared, "b": shared}] * 2, "linear", {"weight": [1, 2]})
        assert made["a"] is made["b"]
        other = {"a": torch.zeros(3), "b": torch.ones(3)}
        made = merge_state_dicts([{"a": shared, "b": shared}, other], "linear", {"weight": 1})
        assert (made["a"].tolist(), made["b"].tolist()) == ([0.5] * 3, [1.0] * 3)

    def test_a_list_is_a_value_for_each_model_and_settings_are_left_alone(self):
        states = [
            {"layers.0.w": torch.ones(2), "layers.1.w": torch.ones(2)},
            {"layers.0.w": torch.zeros(2), "layers.1.w": torch.zeros(2)},
        ]
        made = merge_state_dicts(states, "linear", {"weight": (0.25, 0.75)}, out_dtype=torch.float16)
        assert made["layers.0.w"].tolist() == made["layers.1.w"].tolist() == [0.25, 0.25]
        assert made["layers.0.w"].dtype == torch.float16
        assert states[0]["layers.0.w"].tolist() == [1, 1]

    def test_refusals(self):
        states = [{"w": torch.ones(2)}] * 2
        with pytest.raises(InputError, match="weight has 3 values for 2 models"):
            merge_state_dicts(states, "linear", {"weight": [1, 2, 3]})
        with pytest.raises(InputError, match="unknown merge_method 'liner': did you mean 'linear'"):
            merge_state_dicts(states, "liner")
        with pytest.raises(InputError, match="unknown parameter of merge_method linear in parameters 'wieght'"):
            merge_state_dicts(states, "linear", {"wieght": 1})
        with pytest.raises(InputError, match="tensor 'w' in model 1 has NaN values"):
            merge_state_dicts([states[0], {"w": torch.full((2,), torch.nan)}], "linear", {"weight": 1})

    @pytest.mark.parametrize(
        "weight",
        [
            np.array([0.25, 0.75]),
            torch.tensor([0.25, 0.75]),
            [np.float32(0.25), np.float64(0.75)],
            (torch.tensor(0.25), 0.75),
        ],
    )
    def test_weights_of_numpy_and_torch(self, weight):
        made = merge_state_dicts([{"w": torch.ones(2)}, {"w": torch.zeros(2)}], "linear", {"weight": weight})
        assert made["w"].tolist() == [0.25, 0.25]

    def test_one_name_that_is_tied_to_two(self):
        a, b = torch.ones(2), torch.full((2,), 3.0)
        models = [{"x": a, "y": b, "head": a}, {"x": a, "y": b, "head": b}]
        made = merge_state_dicts(models, "linear", {"weight": 1.0})
        assert {name: value.tolist() for name, value in made.items()} == {"x": [1, 1], "y": [3, 3], "head": [2, 2]}


def full(value):
    return torch.full((3, 2), float(value))


class TestIntoAModelThatTiesOtherNames:
    def tied(self, value):
        shared = full(value)
        return {"embed": shared, "head": shared}

    def test_what_only_the_models_tie_is_written_twice(self):
        into = {"embed": full(9), "head": full(8), "more": full(7)}
        made = merge_state_dicts([self.tied(1), self.tied(3)], "linear", {"weight": 1.0}, into=into)
        assert torch.equal(into["embed"], full(2))
        assert torch.equal(into["head"], full(2))
        assert made["head"].data_ptr() == into["head"].data_ptr() != into["embed"].data_ptr()
        assert torch.equal(into["more"], full(7))

    def test_what_all_tie_is_written_once(self):
        into = self.tied(9)
        made = merge_state_dicts([self.tied(1), self.tied(3)], "linear", {"weight": 1.0}, into=into)
        assert made["head"].data_ptr() == into["embed"].data_ptr()
        assert torch.equal(into["head"], full(2))

    def test_copies_of_one_tensor_may_be_one(self):
        shared, other = full(1), full(8)
        into = {"embed": full(9), "head": other, "second": other}
        merge_state_dicts([{"embed": shared, "head": shared, "second": shared}], "linear", {"weight": 1.0}, into=into)
        assert torch.equal(other, full(1))

    def test_what_only_the_loaded_model_ties_is_refused(self):
        into, models = self.tied(9), [{"embed": full(1), "head": full(10)}, {"embed": full(3), "head": full(30)}]
        with pytest.raises(InputError, match="'embed' and 'head' lie in the same memory, and the merge has different"):
            merge_state_dicts(models, "linear", {"weight": 1.0}, into=into)
        assert torch.equal(into["embed"], full(9))
        assert torch.equal(merge_state_dicts(models, "linear", {"weight": 1.0})["head"], full(20))

    def test_views_that_overlap_are_refused_and_parts_of_one_buffer_are_not(self):
        buffer, models = torch.zeros(12), [{"a": torch.ones(6), "b": torch.full((6,), 2.0)}]
        merge_state_dicts(models, "linear", {"weight": 1.0}, into={"a": buffer[:6], "b": buffer[6:]})
        assert buffer.tolist() == [1.0] * 6 + [2.0] * 6
        with pytest.raises(InputError, match="lie in the same memory"):
            merge_state_dicts(models, "linear", {"weight": 1.0}, into={"a": buffer[:6], "b": buffer[5:11]})

    def test_whole_numbers_are_no_place_for_weights(self):
        with pytest.raises(InputError, match=r"tensor 'a' is torch\.int64"):
            merge_state_dicts([{"a": torch.ones(2)}], "linear", {"weight": 1}, into={"a": torch.ones(2).long()})
