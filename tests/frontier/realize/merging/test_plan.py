import pytest
import torch

from frontier.errors import InputError
from frontier.realize.merging.checkpoint import InMemory
from frontier.realize.merging.config import MergeConfig
from frontier.realize.merging.methods import METHODS
from frontier.realize.merging.plan import make_plan
from frontier.realize.merging.reference import Reference


def tensors(layers=3, size=2, dtype=torch.float32, **more):
    made = {"embed_tokens.weight": (size,), "norm.weight": (size,), "lm_head.weight": (size,)}
    made |= {f"layers.{i}.{part}.weight": (size,) for i in range(layers) for part in ("attn", "mlp")}
    return {name: torch.zeros(shape, dtype=dtype) for name, shape in made.items()} | more


def plan(config, **models):
    config = MergeConfig.from_dict(config)
    models = {Reference(name): InMemory(model, name) for name, model in models.items()}
    return make_plan(config, models, METHODS[config.method])


def linear(parameters=None, **settings):
    entries = [{"model": "a", "parameters": {"weight": 0.25}}, {"model": "b", "parameters": {"weight": 0.75}}]
    return {"merge_method": "linear", "models": entries, "parameters": parameters or {}} | settings


def by_name(made):
    return {tensor.name: tensor for tensor in made.tensors}


def test_every_tensor_once_in_order():
    made = plan(linear(), a=tensors(), b=tensors())
    assert [t.name for t in made.tensors] == sorted(tensors())
    assert all(t.parameters.weight == (0.25, 0.75) and t.base is None and len(t.inputs) == 2 for t in made.tensors)
    assert (made.layers, made.notes) == (None, [])


def test_gradients_run_over_the_layers():
    config = linear()
    config["models"][0]["parameters"]["weight"] = [0.0, 1.0]
    made = by_name(plan(config, a=tensors(5), b=tensors(5)))
    assert [made[f"layers.{i}.mlp.weight"].parameters.weight[0] for i in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    # As mergekit has it, what follows the layers gets the first value too.
    for name in ("embed_tokens", "norm", "lm_head"):
        assert made[f"{name}.weight"].parameters.weight[0] == 0


def test_a_single_layer_is_the_last():
    config = linear()
    config["models"][0]["parameters"]["weight"] = [0.0, 1.0]
    assert by_name(plan(config, a=tensors(1), b=tensors(1)))["layers.0.mlp.weight"].parameters.weight[0] == 1


def test_a_models_own_settings_win_over_those_of_all_where_they_say_something():
    config = linear({"weight": 0.5})
    config["models"][0]["parameters"]["weight"] = {"filter": "mlp", "value": 0.1}
    del config["models"][1]["parameters"]
    made = by_name(plan(config, a=tensors(), b=tensors()))
    assert made["layers.0.mlp.weight"].parameters.weight == (0.1, 0.5)
    assert made["layers.0.attn.weight"].parameters.weight == (0.5, 0.5)


def test_the_base_is_no_model_where_the_method_takes_one():
    config = linear(merge_method="task_arithmetic", base_model="b")
    made = plan(config, a=tensors(), b=tensors()).tensors[0]
    assert (made.base.source.name, [i.source.name for i in made.inputs]) == ("b", ["a"])
    assert made.parameters.weight == (0.25,)
    config["base_model"] = "c"
    made = plan(config, a=tensors(), b=tensors(), c=tensors()).tensors[0]
    assert (made.base.source.name, [i.source.name for i in made.inputs]) == ("c", ["a", "b"])


def test_a_base_that_linear_lists_counts_as_a_model_and_leads():
    made = plan(linear(base_model="b"), a=tensors(), b=tensors()).tensors[0]
    assert [i.source.name for i in made.inputs] == ["b", "a"]
    assert made.parameters.weight == (0.75, 0.25)


@pytest.mark.parametrize("method", ["linear", "karcher"])
def test_a_base_that_is_not_listed_is_one_more_model_as_in_mergekit(method):
    config = linear(merge_method=method, base_model="c")
    models = {"a": tensors(), "b": tensors(), "c": tensors()}
    if method == "linear":
        told = r"weight has no default, and c has none; base_model is one of the models that linear merges"
        with pytest.raises(InputError, match=told):
            plan(config, **models)
        config["parameters"] = {"weight": 1}
    made = plan(config, **models)
    assert [i.source.name for i in made.tensors[0].inputs] == ["c", "a", "b"]
    assert made.tensors[0].parameters.weight == (1, 0.25, 0.75)
    assert made.notes == []


def test_a_base_that_another_method_has_no_use_for_is_told():
    config = {"merge_method": "passthrough", "base_model": "c", "models": [{"model": "a"}]}
    made = plan(config, a=tensors(), c=tensors())
    assert [i.source.name for i in made.tensors[0].inputs] == ["a"]
    assert made.notes[0].startswith("base_model c gives only its configuration and tokenizer: merge_method passthrough")
    part = {"sources": [{"model": "a", "layer_range": [0, 1]}]}
    config = {"merge_method": "linear", "base_model": "c", "parameters": {"weight": 1}, "slices": [part, part]}
    assert len(plan(config, a=tensors(), c=tensors()).notes) == 1  # mergekit joins a base to models, never to slices


def test_a_model_without_a_weight_is_named():
    config = linear()
    del config["models"][1]["parameters"]
    with pytest.raises(InputError, match=r"weight has no default, and b has none$"):
        plan(config, a=tensors(), b=tensors())


def test_slerp_goes_from_the_base_to_the_other_model():
    models = {"a": tensors(), "b": tensors()}
    both = {"merge_method": "slerp", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"t": [0, 1]}}
    made = by_name(plan(both | {"base_model": "b"}, **models))
    assert made["layers.1.mlp.weight"].parameters.t == 0.5
    assert made["norm.weight"].base.source.name == "b"
    one = plan(both | {"base_model": "b", "models": [{"model": "a"}]}, **models).tensors[0]
    assert (one.base.source.name, one.inputs[0].source.name) == ("b", "a")


def test_layerwise_ratios_are_a_list_and_the_block_comes_from_the_name():
    config = {"merge_method": "layerwise", "base_model": "b", "models": [{"model": "a"}]}
    config["parameters"] = {"ratios": [0.1, 0.9]}
    made = by_name(plan(config, a=tensors(4), b=tensors(4)))
    assert [made[f"layers.{i}.mlp.weight"].parameters.block for i in range(4)] == [0, 0, 1, 1]
    assert made["lm_head.weight"].parameters.block == 1
    assert made["norm.weight"].parameters.ratios == ((0.1, 0.9),)


def test_dtypes():
    models = {"a": tensors(dtype=torch.bfloat16, n=torch.tensor(3)), "b": tensors(n=torch.tensor(3))}
    made = by_name(plan(linear(), **models))
    assert made["norm.weight"].layout.dtype == torch.bfloat16
    made = by_name(plan(linear(dtype="float16"), **models))
    assert made["norm.weight"].layout.dtype == torch.float16
    assert (made["n"].layout.dtype, made["n"].parameters) == (torch.int64, None)


def test_an_output_layer_that_is_tied_in_one_model_is_its_embedding_there():
    shared = tensors()
    shared["lm_head.weight"] = shared["embed_tokens.weight"]
    made = by_name(plan(linear(), a=shared, b=tensors()))
    assert [i.tensor for i in made["lm_head.weight"].inputs] == ["embed_tokens.weight", "lm_head.weight"]
    assert "lm_head.weight" not in by_name(plan(linear(), a=shared, b=shared))


def test_tables_that_only_old_files_hold_are_left_out():
    old = {"layers.0.rotary_emb.inv_freq": torch.ones(2), "layers.0.attn.bias": torch.ones(1, 1, 2, 2)}
    made = plan(linear(), a=tensors(), b=tensors(**old))
    assert [t.name for t in made.tensors] == sorted(tensors())
    assert len(made.notes) == 2
    assert "'layers.0.rotary_emb.inv_freq' is not in every model and left out" in made.notes[1]
    assert len(plan(linear(), a=tensors(**old), b=tensors(**old)).tensors) == len(tensors()) + 2


SLICES = {
    "merge_method": "linear",
    "parameters": {"weight": [0.0, 1.0]},
    "slices": [
        {"sources": [{"model": "a", "layer_range": [0, 2]}]},
        {
            "sources": [
                {"model": "a", "layer_range": [1, 4]},
                {"model": "b", "layer_range": [0, 3], "parameters": {"weight": 5}},
            ]
        },
    ],
}


class TestSlices:
    def test_layers_are_renumbered(self):
        made = plan(SLICES, a=tensors(4), b=tensors(3))
        named = by_name(made)
        assert [(str(model), i) for model, i in made.layers] == [("a", i) for i in (0, 1, 1, 2, 3)]
        assert [i.tensor for i in named["layers.1.mlp.weight"].inputs] == ["layers.1.mlp.weight"]
        assert [i.tensor for i in named["layers.3.mlp.weight"].inputs] == ["layers.2.mlp.weight", "layers.1.mlp.weight"]
        assert named["layers.3.mlp.weight"].parameters.weight == (0.5, 5)
        # The embedding comes from the first slice, what follows the layers from the last.
        assert len(named["embed_tokens.weight"].inputs) == 1
        assert len(named["norm.weight"].inputs) == len(named["lm_head.weight"].inputs) == 2
        assert len(named) == 5 * 2 + 3

    @pytest.mark.parametrize("own", ["first", "last", "both"])
    def test_an_output_layer_that_one_end_ties_is_the_last_models(self, own):
        def model(tied):
            made = tensors()
            return made | {"lm_head.weight": made["embed_tokens.weight"]} if tied else made

        slices = [{"sources": [{"model": name, "layer_range": [0, 2]}]} for name in "ab"]
        models = {"a": model(own == "last"), "b": model(own == "first")}
        made = by_name(plan({"merge_method": "passthrough", "slices": slices}, **models))
        (head,) = made["lm_head.weight"].inputs
        stored = "embed_tokens.weight" if own == "first" else "lm_head.weight"
        assert (head.source.name, head.tensor) == ("b", stored)
        assert made["embed_tokens.weight"].inputs[0].source.name == "a"

    def test_two_ends_that_tie_stay_tied(self):
        shared = tensors()
        shared["lm_head.weight"] = shared["embed_tokens.weight"]
        slices = [{"sources": [{"model": name, "layer_range": [0, 2]}]} for name in "ab"]
        made = plan({"merge_method": "passthrough", "slices": slices}, a=shared, b=shared)
        assert "lm_head.weight" not in by_name(made)

    def test_what_follows_the_layers_gets_the_first_value_of_the_last_slice(self):
        made = by_name(plan(SLICES, a=tensors(4), b=tensors(3)))
        assert made["norm.weight"].parameters.weight == made["lm_head.weight"].parameters.weight == (0, 5)

    def test_refuses_layers_that_are_not_there(self):
        with pytest.raises(InputError, match=r"layer_range \[1, 4\] of a: it has 3 layers"):
            plan(SLICES, a=tensors(3), b=tensors(3))

    def test_refuses_two_stacks(self):
        two = tensors(4) | {"vision.layers.0.weight": torch.zeros(1)}
        with pytest.raises(InputError, match=r"one stack of layers; model a has 'layers\.', 'vision\.layers\.'"):
            plan(SLICES, a=two, b=tensors(3))

    def test_the_base_must_be_a_source(self):
        config = SLICES | {"merge_method": "task_arithmetic", "base_model": "c"}
        with pytest.raises(InputError, match="base_model c must be one of the sources of every slice"):
            plan(config, a=tensors(4), b=tensors(3), c=tensors(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm_head.weight": None}, r"tensor 'lm_head\.weight' is in b but not in model a"),
        ({"extra.weight": torch.zeros(1)}, r"tensor 'extra\.weight' is in a but not in model b"),
        ({"norm.weight": torch.zeros(3)}, r"tensor 'norm\.weight' is \[2\] in b but \[3\] in a$"),
        ({"embed_tokens.weight": torch.zeros(3)}, "vocabularies of different sizes"),
        ({"norm.weight": torch.zeros(2, dtype=torch.int32)}, "is float32 in b but int32 in a"),
        ({"norm.weight": torch.zeros(2).to(torch.float8_e4m3fn)}, "is float8_e4m3fn in a: quantised"),
    ],
)
def test_refuses_tensors(change, message):
    spoiled = {name: value for name, value in (tensors() | change).items() if value is not None}
    with pytest.raises(InputError, match=message):
        plan(linear(), a=spoiled, b=tensors())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            linear({"wieght": 1}),
            "unknown parameter of merge_method linear in parameters 'wieght': did you mean 'weight'",
        ),
        (linear({"weight": "high"}), "parameters.weight must be a number"),
        (linear({"normalize": "maybe"}), "merge_method linear, tensor '.*': normalize must be true or false"),
        (linear(merge_method="ties"), "merge_method ties needs base_model"),
        (linear(merge_method="salsa", models=[{"model": "a"}]), "needs 2 models, found 1"),
        (linear(models=[{"model": "a"}]), "'weight' is missing"),
    ],
)
def test_refuses_settings(config, message):
    with pytest.raises(InputError, match=message):
        plan(config, a=tensors(), b=tensors())


def test_settings_without_effect_are_told():
    made = plan(linear({"int8_mask": True, "density": 0.5}), a=tensors(), b=tensors())
    assert made.notes == [
        "int8_mask has no effect: masks take one byte an entry in any case",
        "density has no effect: merge_method linear has no such parameter",
    ]


def test_a_setting_of_all_among_a_models_own_is_told():
    config = linear()
    config["models"][0]["parameters"]["normalize"] = False
    made = plan(config, a=tensors(), b=tensors())
    told = "normalize in the parameters of a has no effect: it is one for all models, given under parameters at the top"
    assert made.notes == [told]
    assert made.tensors[0].parameters.normalize
