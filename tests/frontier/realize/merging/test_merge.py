import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_checkpoints import edit_tensors, load_tensors
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
    assert report.notes == ("int8_mask has no effect: masks are never kept",)
    assert report.notes[0] in card


class TestNothingIsLeft:
    def refused(self, config, tmp_path, message, **options):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError, match=message):
            merge(config, tmp_path / "out", progress=False, **options)
        assert sorted(tmp_path.iterdir()) == before

    @pytest.mark.parametrize(("value", "what"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
    def test_of_a_tensor_that_is_not_finite(self, fresh, tmp_path, value, what):
        a, b = fresh("a", 1), fresh("b", 2)
        edit_tensors(b, lambda t: t["model.layers.2.mlp.up_proj.weight"].view(-1)[-1:].fill_(value))
        models = {a: {"weight": 1}, b: {"weight": 1}}
        message = rf"tensor 'model\.layers\.2\.mlp\.up_proj\.weight' in .*b/model\.safetensors has {what} values"
        self.refused(recipe("linear", models), tmp_path, message)

    def test_of_tensors_that_differ(self, fresh, llamas, tmp_path):
        models = {llamas["one"]: {"weight": 1}, fresh("b", vocabulary=50): {"weight": 1}}
        self.refused(
            recipe("linear", models), tmp_path, r"\[50, 32\] .* but \[48, 32\] in .*vocabularies of different sizes"
        )
        models = {llamas["one"]: {"weight": 1}, fresh("c", layers=2): {"weight": 1}}
        self.refused(
            recipe("linear", models), tmp_path, r"tensor 'model\.layers\.2\..*' is in .*one.* but not in model .*c"
        )

    def test_of_tokenizers_that_differ(self, fresh, tokenizer, tmp_path):
        a, b = fresh("a", 1), fresh("b", 2)
        tokenizer.save_pretrained(a)
        shutil.copyfile(a / "tokenizer.json", b / "tokenizer.json")
        text = (b / "tokenizer.json").read_text()
        (b / "tokenizer.json").write_text(text.replace('"good": 32', '"good": 33').replace('"bad": 33', '"bad": 32'))
        self.refused(recipe("linear", {a: {"weight": 1}, b: {"weight": 1}}), tmp_path, "token '(good|bad)' is 3")

    def test_of_a_full_disk(self, llamas, tmp_path, monkeypatch):
        import errno

        real = os.posix_fallocate
        calls = []

        def second_is_too_much(descriptor, start, size):
            calls.append(size)
            if len(calls) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor, start, size)

        monkeypatch.setattr(os, "posix_fallocate", second_is_too_much)
        self.refused(
            halves(llamas), tmp_path, "no space left on device: the merged model takes .* KB", max_shard_size=20_000
        )

    def test_of_a_limit_on_files(self, llamas, tmp_path):
        """The system itself refuses here, in a process of its own."""
        code = f"""
            import resource, signal
            from frontier.errors import InputError
            from frontier.realize.merging import merge
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
            try:
                merge({halves(llamas)!r}, {str(tmp_path / "out")!r}, progress=False)
            except InputError as error:
                print(error)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
        )
        assert "file too large: the merged model takes" in done.stdout, done.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
    def test_of_a_merge_that_is_killed(self, llamas, tmp_path, sign):
        code = f"""
            import signal, threading
            from frontier.realize.merging import compute, merge
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
            def stuck(*args):
                open({str(tmp_path / "started")!r}, "w").close()
                threading.Event().wait(0.5)
                return real(*args)
            real, compute.merge_piece = compute.merge_piece, stuck
            merge({halves(llamas)!r}, {str(tmp_path / "out")!r}, progress=False, workers=2)
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE)
        while not (tmp_path / "started").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        assert any(path.name.startswith(".out.") for path in tmp_path.iterdir())
        process.send_signal(sign)
        process.communicate(timeout=60)
        assert process.returncode != 0
        assert [path.name for path in tmp_path.iterdir()] == ["started"]


class TestTheOutputFolder:
    def test_a_model_is_replaced_only_if_asked(self, llamas, tmp_path):
        out = tmp_path / "out"
        merge(halves(llamas), out, progress=False)
        (out / "notes.md").write_text("mine")
        with pytest.raises(InputError, match=r"already holds a model \(model\.safetensors\)"):
            merge(halves(llamas), out, progress=False)
        merge(halves(llamas, dtype="bfloat16"), out, progress=False, overwrite=True, max_shard_size=20_000)
        assert not (out / "model.safetensors").exists()  # a reader would take the old file instead of the shards
        assert {t.dtype for t in load_tensors(out).values()} == {torch.bfloat16}
        assert (out / "notes.md").read_text() == "mine"

    def test_a_refused_merge_leaves_the_old_model(self, llamas, fresh, tmp_path):
        out = tmp_path / "out"
        before = merged(halves(llamas), out)
        spoiled = fresh("b")
        edit_tensors(spoiled, lambda t: t["model.norm.weight"].fill_(torch.nan))
        with pytest.raises(InputError, match="NaN"):
            merge(recipe("linear", {spoiled: {"weight": 1}}), out, progress=False, overwrite=True)
        assert all(torch.equal(before[name], tensor) for name, tensor in load_tensors(out).items())

    def test_never_an_input(self, fresh, tmp_path):
        folder = fresh("a")
        with pytest.raises(InputError, match="which is merged: write to another"):
            merge(recipe("linear", {folder: {"weight": 1}}), folder, progress=False, overwrite=True)
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="is a file, expected a folder"):
            merge(recipe("linear", {folder: {"weight": 1}}), tmp_path / "file", progress=False)


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
