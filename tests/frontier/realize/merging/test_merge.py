import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_checkpoints import edit_config, edit_tensors, load_tensors
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from frontier.errors import InputError
from frontier.realize.merging import compute, merge, merge_state_dicts
from frontier.realize.merging.methods import METHODS

IDS = torch.tensor([[1, 5, 6, 7, 8]])


def recipe(method, models, base=None, parameters=None, **settings):
    """`models`: folder to settings."""
    entries = [{"model": str(folder), "parameters": own} for folder, own in models.items()]
    made = {"merge_method": method, "models": entries, "parameters": parameters or {}} | settings
    return made | ({"base_model": str(base)} if base else {})


def logits(folder, **options):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()
    with torch.no_grad():
        return model(IDS).logits


def merged(config, out, **options):
    merge(config, out, progress=False, **options)
    return load_tensors(out)


def halves(llamas, **settings):
    return recipe("linear", {llamas["one"]: {"weight": 1}, llamas["two"]: {"weight": 3}}, **settings)


def test_linear_is_the_weighted_mean(llamas, tmp_path):
    report = merge(halves(llamas), tmp_path / "out", progress=False)
    one, two, found = (load_tensors(folder) for folder in (llamas["one"], llamas["two"], tmp_path / "out"))
    for name in one:
        assert_close(found[name], 0.25 * one[name] + 0.75 * two[name].float(), atol=1e-6, rtol=1e-6)
    assert logits(tmp_path / "out").isfinite().all()
    assert (report.n_models, report.n_tensors, report.n_shards) == (2, len(one), 1)
    assert report.nbytes == 4 * report.n_parameters == 4 * sum(t.numel() for t in one.values())


def test_the_merged_model_loads_without_a_warning(llamas, tmp_path):
    merge(halves(llamas), tmp_path / "out", progress=False, max_shard_size=20_000)
    assert len(list(tmp_path.glob("out/model-*.safetensors"))) > 2
    model, told = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    found = load_tensors(tmp_path / "out")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in found.items())


@pytest.mark.parametrize("method", sorted(METHODS))
def test_from_disk_as_in_memory(llamas, tmp_path, method):
    settings = {
        "slerp": {"t": 0.3},
        "bone_soup": {"preference": [0.3, 0.7]},
        "layerwise": {"ratios": [[0.2, 0.5, 0.1], [0.3, 0.4, 0.5]]},
        "karcher": {},
        "model_stock": {},
        "salsa": {},
        "balanced_actor": {},
        "sce": {"select_topk": 0.4},
        "ram": {},
        "ramplus_tl": {},
        "nearswap": {"t": 0.01},
        "arcee_fusion": {},
        "passthrough": {},
    }.get(method, {"weight": [0.3, 0.7]})
    names = ["one"] if method == "slerp" or METHODS[method].most_models == 1 else ["one", "two"]
    base = llamas["base"] if METHODS[method].takes_base else None
    own = {name: value for name, value in settings.items() if name in ("weight", "ratios")}
    each = {llamas[name]: {key: value[i] for key, value in own.items()} for i, name in enumerate(names)}
    general = {name: value for name, value in settings.items() if name not in own}
    on_disk = merged(recipe(method, each, base, general), tmp_path / "out", seed=4)
    dicts = [load_tensors(llamas[name]) for name in names]
    in_memory = merge_state_dicts(
        dicts, method, settings, base=None if base is None else load_tensors(base), seed=4, workers=1
    )
    assert on_disk.keys() == in_memory.keys()
    assert all(torch.equal(on_disk[name], in_memory[name]) for name in on_disk)
    assert logits(tmp_path / "out").isfinite().all()


def test_task_arithmetic_by_hand(llamas, tmp_path):
    config = recipe(
        "task_arithmetic", {llamas["one"]: {"weight": 0.5}, llamas["two"]: {"weight": -0.25}}, llamas["base"]
    )
    found = merged(config, tmp_path / "out")
    base, one, two = (load_tensors(llamas[name]) for name in ("base", "one", "two"))
    for name, tensor in base.items():
        expected = tensor + 0.5 * (one[name] - tensor) - 0.25 * (two[name].float() - tensor)
        assert_close(found[name], expected, atol=1e-6, rtol=1e-5)


def test_neither_workers_nor_shards_nor_pieces_change_a_bit(llamas, tmp_path, monkeypatch):
    config = recipe(
        "dare_ties",
        {llamas["one"]: {"weight": 1, "density": 0.5}, llamas["two"]: {"weight": 1, "density": 0.5}},
        llamas["base"],
    )
    first = merged(config, tmp_path / "a", workers=1, seed=3)
    second = merged(config, tmp_path / "b", workers=4, seed=3, max_shard_size=10_000)
    other = merged(config, tmp_path / "c", workers=4, seed=4)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    linear = merged(halves(llamas), tmp_path / "d")
    monkeypatch.setattr(compute, "CPU_PIECE", 100)
    monkeypatch.setattr(compute, "SEGMENT", 300)
    assert all(torch.equal(linear[name], t) for name, t in merged(halves(llamas), tmp_path / "e").items())


def test_gradients_and_filters(llamas, tmp_path):
    weight = [{"filter": "mlp", "value": [0.0, 1.0]}, {"value": 0.5}]
    config = recipe(
        "linear", {llamas["base"]: {"weight": weight}, llamas["one"]: {"weight": 0.5}}, parameters={"normalize": False}
    )
    found = merged(config, tmp_path / "out")
    base, one = load_tensors(llamas["base"]), load_tensors(llamas["one"])
    for name, expected in (
        ("layers.0.mlp", 0.0),
        ("layers.1.mlp", 0.5),
        ("layers.2.mlp", 1.0),
        ("layers.0.self_attn", 0.5),
    ):
        for full in (n for n in found if n.startswith(f"model.{name}")):
            assert_close(found[full], expected * base[full] + 0.5 * one[full], atol=1e-6, rtol=1e-5)


class TestDtypes:
    def test_each_tensor_keeps_the_bases(self, llamas, tmp_path):
        config = recipe("task_arithmetic", {llamas["one"]: {"weight": 1}}, llamas["two"])
        assert {t.dtype for t in merged(config, tmp_path / "out").values()} == {torch.bfloat16}

    def test_one_for_all(self, llamas, tmp_path):
        found = merged(halves(llamas, dtype="bfloat16"), tmp_path / "out")
        exact = merged(halves(llamas), tmp_path / "exact")
        assert all(torch.equal(found[name], exact[name].bfloat16()) for name in found)
        assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"

    def test_a_model_of_several(self, fresh, tmp_path):
        folder = fresh("mixed", dtype=torch.bfloat16)
        edit_tensors(folder, lambda t: t.update({"model.norm.weight": t["model.norm.weight"].float()}))
        found = merged(recipe("linear", {folder: {"weight": 1}, fresh("b"): {"weight": 0}}), tmp_path / "out")
        assert all(torch.equal(found[name], tensor) for name, tensor in load_tensors(folder).items())
        assert found["model.norm.weight"].dtype == torch.float32
        assert found["lm_head.weight"].dtype == torch.bfloat16


class TestTiedOutputLayers:
    def test_two_ties_stay_tied(self, fresh, tmp_path):
        models = {fresh("a", 1, tied=True): {"weight": 1}, fresh("b", 2, tied=True): {"weight": 1}}
        assert "lm_head.weight" not in merged(recipe("linear", models), tmp_path / "out")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        assert model.lm_head.weight is model.model.embed_tokens.weight

    def test_a_tie_and_two_tensors_become_two(self, fresh, tmp_path):
        tied, untied = fresh("a", 1, tied=True), fresh("b", 2)
        found = merged(recipe("linear", {tied: {"weight": 1}, untied: {"weight": 1}}), tmp_path / "out")
        expected = (load_tensors(tied)["model.embed_tokens.weight"] + load_tensors(untied)["lm_head.weight"]) / 2
        assert_close(found["lm_head.weight"], expected)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        assert torch.equal(model.lm_head.weight, found["lm_head.weight"])
        assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_gpt2(tmp_path):
    models = {}
    for seed in (0, 1):
        torch.manual_seed(seed)
        folder = tmp_path / str(seed)
        GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2, n_positions=16)).save_pretrained(
            folder
        )
        models[folder] = {"weight": [1.0, 0.0] if seed else [0.0, 1.0]}
    found = merged(recipe("linear", models), tmp_path / "out")
    first, second = (load_tensors(folder) for folder in models)
    for name, expected in (
        ("h.0.attn.c_attn.weight", second),
        ("h.1.mlp.c_fc.bias", first),
        ("wpe.weight", second),
        ("ln_f.weight", first),
    ):
        assert torch.equal(found[f"transformer.{name}"], expected[f"transformer.{name}"])
    assert logits(tmp_path / "out").isfinite().all()


def test_adapters_are_merged_exactly_and_nothing_but_the_result_is_written(llamas, tmp_path):
    base, models, changes = llamas["base"], {}, []
    for i, weight in enumerate((0.7, -0.4)):
        torch.manual_seed(i)
        settings = LoraConfig(
            r=2 + i, lora_alpha=5, use_rslora=bool(i), target_modules="all-linear", init_lora_weights=False
        )
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
        model.save_pretrained(tmp_path / f"lora{i}")
        models[f"{base}+{tmp_path / f'lora{i}'}"] = {"weight": weight}
        full = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base), tmp_path / f"lora{i}"
        ).merge_and_unload()
        changes.append((weight, full.state_dict()))
    found = merged(recipe("task_arithmetic", models, base), tmp_path / "out")
    for name, start in load_tensors(base).items():
        expected = start + sum(weight * (state[name] - start) for weight, state in changes)
        assert_close(found[name], expected, atol=1e-5, rtol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lora0", "lora1", "out"]


class TestSlices:
    def test_a_taller_model(self, llamas, tmp_path):
        parts = [[0, 2], [1, 3]]
        config = {
            "merge_method": "linear",
            "parameters": {"weight": 1.0},
            "slices": [{"sources": [{"model": str(llamas["base"]), "layer_range": part}]} for part in parts],
        }
        found, base = merged(config, tmp_path / "out"), load_tensors(llamas["base"])
        for new, old in enumerate((0, 1, 1, 2)):
            name = "model.layers.{}.mlp.down_proj.weight"
            assert torch.equal(found[name.format(new)], base[name.format(old)])
        model, told = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
        assert model.config.num_hidden_layers == 4
        assert not told["missing_keys"]
        assert not told["unexpected_keys"]

    def test_layers_of_two_models_passed_through_and_scaled_by_a_filter(self, llamas, tmp_path):
        slices = [
            {"sources": [{"model": str(llamas["one"]), "layer_range": [0, 2]}]},
            {
                "sources": [
                    {
                        "model": str(llamas["two"]),
                        "layer_range": [1, 3],
                        "parameters": {"scale": [{"filter": "o_proj", "value": 0.0}, {"value": 1.0}]},
                    }
                ]
            },
        ]
        found = merged({"merge_method": "passthrough", "slices": slices}, tmp_path / "out")
        one, two = load_tensors(llamas["one"]), load_tensors(llamas["two"])
        for new, (model, old) in enumerate(((one, 0), (one, 1), (two, 1), (two, 2))):
            for part in ("mlp.up_proj", "self_attn.o_proj", "self_attn.q_proj"):
                expected = model[f"model.layers.{old}.{part}.weight"]
                scale = 0.0 if part == "self_attn.o_proj" and model is two else 1.0
                assert torch.equal(found[f"model.layers.{new}.{part}.weight"], expected * scale)
        assert torch.equal(found["model.embed_tokens.weight"], one["model.embed_tokens.weight"])
        assert torch.equal(found["model.norm.weight"], two["model.norm.weight"])
        assert logits(tmp_path / "out").isfinite().all()

    @pytest.mark.parametrize("tied_end", [0, 1])
    def test_an_output_layer_that_one_end_ties(self, fresh, tmp_path, tied_end):
        ends = [fresh(name, seed, tied=seed == tied_end) for seed, name in enumerate("ab")]
        parts = [{"sources": [{"model": str(end), "layer_range": [0, 2]}]} for end in ends]
        merge({"merge_method": "passthrough", "slices": parts}, tmp_path / "out", progress=False)
        model, told = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
        assert not told["missing_keys"]
        first, last = (AutoModelForCausalLM.from_pretrained(end).state_dict() for end in ends)
        assert torch.equal(model.lm_head.weight, last["lm_head.weight"])
        assert torch.equal(model.model.embed_tokens.weight, first["model.embed_tokens.weight"])

    def test_layers_keep_their_own_models_types(self, fresh, tmp_path):
        ends = [fresh("a", 1, layers=2), fresh("b", 2, layers=4)]
        edit_config(ends[0], layer_types=["full_attention", "sliding_attention"])
        edit_config(ends[1], layer_types=["sliding_attention", "full_attention"] * 2)
        parts = [
            {"sources": [{"model": str(end), "layer_range": r}]} for end, r in zip(ends, ([0, 2], [2, 4]), strict=True)
        ]
        merge({"merge_method": "passthrough", "slices": parts}, tmp_path / "out", progress=False)
        found = json.loads((tmp_path / "out" / "config.json").read_text())
        assert found["layer_types"] == [
            "full_attention",
            "sliding_attention",
            "sliding_attention",
            "full_attention",
        ]

    def test_all_layers_are_the_same_as_models(self, llamas, tmp_path):
        sources = [
            {"model": str(llamas[n]), "layer_range": [0, 3], "parameters": {"weight": w}}
            for n, w in (("one", 1), ("two", 3))
        ]
        found = merged({"merge_method": "linear", "slices": [{"sources": sources}]}, tmp_path / "out")
        assert all(torch.equal(found[name], t) for name, t in merged(halves(llamas), tmp_path / "same").items())


def test_the_tokenizer_comes_from_the_model_that_is_named(fresh, tokenizer, tmp_path):
    a, b = fresh("a", 1), fresh("b", 2)
    tokenizer.save_pretrained(a)
    tokenizer.save_pretrained(b)
    (b / "generation_config.json").write_text('{"max_new_tokens": 7}')
    path = b / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 99}))
    models = {a: {"weight": 1}, b: {"weight": 1}}
    lengths = {}
    for source in (None, str(a), str(b), "union"):
        out = tmp_path / f"out{len(lengths)}"
        merge(recipe("linear", models, tokenizer_source=source), out, progress=False)
        lengths[source] = AutoTokenizer.from_pretrained(out).model_max_length
    assert lengths[str(b)] == 99
    assert lengths[None] == lengths[str(a)] == lengths["union"] != 99
    assert json.loads((out / "generation_config.json").read_text()).get("max_new_tokens") != 7
    with pytest.raises(InputError, match="unknown tokenizer_source 'c'"):
        merge(recipe("linear", models, tokenizer_source="c"), tmp_path / "c", progress=False)
    with pytest.raises(InputError, match="tokenizer_source: base needs base_model"):
        merge(recipe("linear", models, tokenizer_source="base"), tmp_path / "c", progress=False)


def test_the_card_and_the_notes(llamas, tmp_path):
    path = tmp_path / "merge.yaml"
    path.write_text(f"# mine\n{json.dumps(halves(llamas, parameters={'int8_mask': True}))}\n")
    report = merge(path, tmp_path / "out", progress=False)
    card = (tmp_path / "out" / "README.md").read_text()
    assert path.read_text().strip() in card
    assert report.notes == ("int8_mask has no effect: masks take one byte an entry in any case",)
    assert report.notes[0] in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"device": "tpu9"}, "device 'tpu9' is not available"),
        ({"max_shard_size": 0}, "max_shard_size must be positive"),
    ],
)
def test_refuses_options(llamas, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        merge(halves(llamas), tmp_path / "out", progress=False, **options)
