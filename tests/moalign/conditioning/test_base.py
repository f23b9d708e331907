import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frontier.errors import InputError
from moalign.conditioning.adapter_mixture import MixtureConditioning
from moalign.conditioning.base import conditioning_from_json
from moalign.conditioning.prompt import PromptConditioning
from moalign.conditioning.unconditioned import Unconditioned

OBJECTIVES = ("helpful", "brief", "warm")
ALL = [
    MixtureConditioning(OBJECTIVES),
    MixtureConditioning(OBJECTIVES, shared=True),
    PromptConditioning(OBJECTIVES),
    PromptConditioning(OBJECTIVES, "dpa"),
    Unconditioned(OBJECTIVES),
]
each = pytest.mark.parametrize("conditioning", ALL, ids=lambda c: json.dumps(c.to_json()))
rows = st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=4)


@each
def test_a_bundle_brings_it_back(conditioning):
    again = conditioning_from_json(json.loads(json.dumps(conditioning.to_json())), OBJECTIVES)
    assert type(again) is type(conditioning)
    assert again.to_json() == conditioning.to_json()
    assert (again.adapters, again.linear) == (conditioning.adapters, conditioning.linear)
    weights = torch.tensor([[0.5, 0.25, 0.25]])
    assert torch.equal(again.mixing(weights), conditioning.mixing(weights))
    assert again.prompts(["Hi"], weights) == conditioning.prompts(["Hi"], weights)


@each
@given(values=rows)
def test_a_zero_row_is_the_reference(conditioning, values):
    weights = torch.tensor([*values, [0.0] * 3])
    mixed = conditioning.mixing(weights)
    assert mixed.shape == (len(weights), len(conditioning.adapters))
    assert mixed.dtype == weights.dtype
    asked = (weights != 0).any(1)
    assert torch.equal((mixed != 0).any(1), asked)
    told = conditioning.prompts(["x"] * len(weights), weights)
    assert all(prompt == "x" for prompt, steered in zip(told, asked, strict=True) if not steered)


def test_bundles_that_say_nothing_are_mixtures():
    assert conditioning_from_json(None, OBJECTIVES).to_json() == MixtureConditioning(OBJECTIVES).to_json()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "promt"}, "unknown conditioning 'promt': did you mean 'prompt'"),
        ({"style": "plain"}, "unknown conditioning 'None'"),
        ({"kind": "none", "style": "plain"}, "conditioning 'none'.*style"),
        ({"kind": "prompt", "style": "palin"}, "did you mean 'plain'"),
    ],
)
def test_refuses_what_it_does_not_know(values, message):
    with pytest.raises(InputError, match=message):
        conditioning_from_json(values, OBJECTIVES)
