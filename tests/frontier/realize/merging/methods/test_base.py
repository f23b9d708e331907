import math

import pytest
import torch

from frontier.errors import InputError
from frontier.realize.merging.methods import METHODS, method
from frontier.realize.merging.methods import base as module
from frontier.realize.merging.methods.base import weighted_sum

A, B = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
# What each method needs besides weights.
OTHERS = {
    "slerp": {"t": 0.3},
    "karcher": {},
    "model_stock": {},
    "layerwise": {"ratios": [0.5]},
    "salsa": {},
    "balanced_actor": {},
    "bone_soup": {"preference": [0.3, 0.7]},
    "sce": {},
    "ram": {},
    "ramplus_tl": {},
    "nearswap": {"t": 10.0},
    "arcee_fusion": {},
    "passthrough": {},
}


def as_many(name, tensors):
    """No more models than the method takes."""
    return list(tensors)[: METHODS[name].most_models]


def given(name):
    return OTHERS.get(name, {"weight": [0.25, 0.75]})


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_pure_and_gives_float32(merge, name):
    tensors = as_many(name, [torch.randn(5, 7).bfloat16(), torch.randn(5, 7)])
    base = torch.randn(5, 7).half() if METHODS[name].needs_base else None
    before = [t.clone() for t in tensors], None if base is None else base.clone()
    got = merge(name, tensors, base, **given(name))
    assert got.shape == (5, 7)
    assert got.dtype == torch.float32
    assert all(torch.equal(t, b) for t, b in zip(tensors, before[0], strict=True))
    assert base is None or torch.equal(base, before[1])
    assert all(got.data_ptr() != t.data_ptr() for t in tensors)
    assert torch.equal(got, merge(name, tensors, base, **given(name)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_any_shape(merge, name):
    for shape in [(), (0,), (1,), (3, 0), (2, 3, 4), (1, 1)]:
        tensors = as_many(name, [torch.rand(shape) for _ in range(2)])
        base = torch.rand(shape) if METHODS[name].needs_base else None
        assert merge(name, tensors, base, **given(name)).shape == torch.Size(shape)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.elementwise])
def test_elementwise_methods_may_be_cut(merge, name, models):
    tensors, base = as_many(name, models[0][:2]), models[1] if METHODS[name].needs_base else None
    whole = merge(name, tensors, base, **given(name)).view(-1)
    parts = [
        merge(name, [t.view(-1)[i] for t in tensors], None if base is None else base.view(-1)[i], **given(name))
        for i in (slice(0, 700), slice(700, None))
    ]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("name", METHODS)
def test_equal_models_give_that_model(merge, name):
    """Every average of one thing is that thing, with nothing thinned out and nothing pulled back."""
    model = torch.randn(6, 9)
    base = torch.randn(6, 9) if METHODS[name].needs_base else None
    # These keep a share of the base, and PEFT divides by a number instead of the weights.
    base = model if name == "balanced_actor" else base
    settings = {"weight": 1} if name == "ties_peft" else given(name)
    if name == "arcee_fusion":  # takes only the most important entries of another model
        base = model
    got = merge(name, as_many(name, [model, model]), base, **settings)
    torch.testing.assert_close(got, model, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_refusals_of_every_method(merge, name):
    needs = METHODS[name].needs_base
    base = A if needs else None
    one = METHODS[name].most_models == 1 and needs
    if METHODS[name].most_models != 1:
        with pytest.raises(InputError, match=r"\[3\] in model 1 but \[2\]"):
            merge(name, [A, torch.zeros(3)], base, **given(name))
    with pytest.raises(InputError, match=r"floating-point tensors, found torch.int64"):
        merge(name, as_many(name, [torch.tensor([1, 2]), A]), base, **given(name))
    with pytest.raises(InputError, match="unknown merging parameter 'wieght'"):
        merge(name, [A, B], base, **given(name), wieght=1.0)
    with pytest.raises(InputError, match=r"at least|exactly"):
        METHODS[name]([], base, METHODS[name].Parameters.of(2, given(name)), torch.Generator())
    if needs:
        with pytest.raises(InputError, match="needs the base model"):
            merge(name, [A] if one else [A, B], **given(name))
    elif not METHODS[name].takes_base:
        with pytest.raises(InputError, match="takes no base"):
            merge(name, as_many(name, [A, B]), A, **given(name))
    if METHODS[name].random:
        with pytest.raises(InputError, match="needs a generator"):
            METHODS[name]([A, B], A, METHODS[name].Parameters.of(2, given(name)), None)


def test_parameters_from_a_file():
    made = METHODS["ties"].Parameters.of(3, {"weight": [1, 0.5, 2], "density": [0.2, None, 0.4], "lambda": 2})
    assert made.weight == (1.0, 0.5, 2.0)
    assert made.density == (0.2, 1.0, 0.4)
    assert (made.lambda_, made.normalize, made.rescale) == (2.0, True, False)
    assert METHODS["ties"].Parameters(weight=(1.0, 2.0)).density == (1.0, 1.0)


def test_settings_tell_names_kinds_and_defaults():
    known = {s.name: s for s in METHODS["della"].Parameters.settings()}
    assert list(known) == [
        "weight",
        "normalize",
        "lambda",
        "int8_mask",
        "density",
        "rescale",
        "rescale_norm",
        "epsilon",
    ]
    assert known["weight"].required
    assert known["weight"].per_model
    assert known["epsilon"].default == 0.15
    assert known["normalize"].default is True
    assert known["lambda"].kind is float
    assert not known["lambda"].per_model
    assert [s.name for s in METHODS["layerwise"].Parameters.settings() if s.from_engine] == ["block"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "'weight' is missing"),
        ({"weight": [1.0]}, "weight has 1 values for 2 models"),
        ({"weight": [1.0, None]}, "weight has no default, and model 1 has none"),
        ({"weight": [1.0, math.nan]}, r"weight\[1\] must be finite, found nan"),
        ({"weight": "1"}, "must be a number, found '1'"),
        ({"weight": True}, "must be a number, found True"),
        ({"weight": 1, "density": 1.5}, r"density\[0\] must be between 0 and 1, found 1.5"),
        ({"weight": 1, "density": [0.5, -0.1]}, r"density\[1\] must be between 0 and 1, found -0.1"),
        ({"weight": 1, "normalize": 1}, "normalize must be true or false, found 1"),
        ({"weight": 1, "densty": 0.5}, "did you mean 'density'"),
        ({"weight": 1, "rescale_norm": "l3"}, "unknown rescale_norm 'l3'"),
    ],
)
def test_refuses_parameters(settings, message):
    with pytest.raises(InputError, match=message):
        METHODS["ties"].Parameters.of(2, settings)


def test_refuses_settings_of_other_numbers_of_models(merge):
    with pytest.raises(InputError, match="2 of weight, 3 of density"):
        METHODS["ties"].Parameters(weight=(1.0, 1.0), density=(0.5, 0.5, 0.5))
    with pytest.raises(InputError, match="one weight for each of the 2 models, found 3"):
        METHODS["linear"]([A, B], None, METHODS["linear"].Parameters(weight=(1.0, 1.0, 1.0)))
    with pytest.raises(InputError, match="needs parameters of the kind LinearParameters, found SalsaParameters"):
        METHODS["linear"]([A, B], None, METHODS["salsa"].Parameters())


def test_unknown_method():
    with pytest.raises(InputError, match="did you mean 'dare_ties'"):
        method("dare-ties")


def test_weighted_sum_of_mixed_dtypes_and_many_blocks(monkeypatch):
    monkeypatch.setattr(module, "CPU_BLOCK", 100)
    tensors = [torch.randn(1234), torch.randn(1234).bfloat16(), torch.randn(1234).double()]
    got = weighted_sum(tensors, (0.5, -1.0, 2.0))
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, 0.5 * tensors[0].double() - tensors[1].double() + 2 * tensors[2])
    # A model of weight 0 is not read at all.
    assert torch.equal(weighted_sum([A, torch.full((2,), math.nan)], (1.0, 0.0)), A)
