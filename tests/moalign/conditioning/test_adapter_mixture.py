import warnings

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture
from moalign.conditioning.adapter_mixture import MixtureConditioning, add_adapters, check_objective_names
from moalign.loading import load_base

IDS = torch.tensor([[1, 5, 6, 7]])


def build(tiny_base, seed=0):
    config = LoraConfig(r=4, target_modules="all-linear")
    return add_adapters(load_base(tiny_base), dict.fromkeys(["helpful", "brief"], config), seed)


def test_starts_as_the_reference_at_every_preference(tiny_base):
    base = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    mixture = AdapterMixture(build(tiny_base).eval(), ["helpful", "brief"])
    with torch.no_grad():
        for weights in ([1.0, 0.0], [0.3, 0.7]):
            with mixture.steer(torch.tensor(weights)):
                assert torch.equal(mixture.model(IDS).logits, base(IDS).logits)


def test_adapters_are_independent_and_follow_the_seed(tiny_base):
    one, again, other = (AdapterMixture(build(tiny_base, seed), ["helpful", "brief"]) for seed in (0, 0, 1))
    first = one.parameters("helpful")[0]
    assert torch.equal(first, again.parameters("helpful")[0])
    assert not torch.equal(first, other.parameters("helpful")[0])
    assert not torch.equal(first, one.parameters("brief")[0])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "at least one"),
        (["a.b"], "'a.b' cannot name an adapter"),
        (["default"], "'default'"),
        (["ref"], "'ref'"),
        (["lora_A"], "lora_"),
        (["a", "b", "a"], "'a' is named twice"),
    ],
)
def test_refuses_names_that_cannot_be_adapters(names, message):
    with pytest.raises(InputError, match=message):
        check_objective_names(names)


def test_a_base_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot load the base model"):
        load_base(tmp_path / "nothing")


def test_a_shared_adapter_counts_with_the_sum_of_the_weights():
    conditioning = MixtureConditioning(("helpful", "brief"), shared=True)
    assert conditioning.adapters == ("helpful", "brief", "shared")
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.125, 0.375], [0.0, 0.0]])
    assert conditioning.mixing(weights).tolist() == [[0.25, 0.75, 1], [1, 0, 1], [0.125, 0.375, 0.5], [0, 0, 0]]
    assert torch.equal(MixtureConditioning(("helpful", "brief")).mixing(weights), weights)


def test_an_objective_cannot_be_called_like_the_shared_adapter():
    with pytest.raises(InputError, match="objective 'shared' has the name of the shared adapter"):
        MixtureConditioning(("shared", "brief"), shared=True)
    assert MixtureConditioning(("shared", "brief")).adapters == ("shared", "brief")


def test_an_adapter_on_a_tied_output_layer_is_no_cause_for_alarm(tiny_base):
    config = LoraConfig(r=1, target_modules=["lm_head"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        add_adapters(load_base(tiny_base), dict.fromkeys(["helpful", "brief"], config))
    assert not [w for w in caught if "tie" in str(w.message)]
