import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.merged_export import export_merged_checkpoint
from frontier.realize.merging import compute
from frontier.realize.merging.checkpoint import Checkpoint

IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12]])
KINDS = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
    "rslora and patterns": {
        "r": 6,
        "use_rslora": True,
        "target_modules": "all-linear",
        "rank_pattern": {"up_proj": 3},
        "alpha_pattern": {"down_proj": 5},
    },
    "embedding": {"r": 3, "target_modules": ["embed_tokens", "o_proj"]},
    "output layer": {"r": 3, "target_modules": ["lm_head"]},
    "DoRA": {"r": 4, "use_dora": True, "target_modules": ["k_proj", "gate_proj"]},
    "modules_to_save": {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
    "lora_bias": {"r": 2, "lora_bias": True, "target_modules": ["c_attn"]},
}


def save_llama(folder, tied=False, dtype=torch.float32, shard="5GB", seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=48,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder, max_shard_size=shard)
    return folder


def save_adapter(base, folder, seed=1, **options):
    torch.manual_seed(seed)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(init_lora_weights=False, **options))
    for name, parameter in model.named_parameters():
        if ".modules_to_save." in name or "magnitude" in name:
            parameter.data.mul_(1 + 0.3 * torch.randn_like(parameter))
        if name.endswith("lora_B.default.bias"):
            torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    return {
        False: save_llama(root / "untied", shard="20KB"),
        True: save_llama(root / "tied", tied=True),
    }


def export(base, adapters, weights, out, **options):
    folders = [LoraFolder.read(path) for path in adapters]
    return export_merged_checkpoint(Checkpoint(base), folders, weights, out, progress=False, **options)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model.eval()(ids).logits


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "lora_bias"])
def test_one_adapter_is_what_plain_peft_computes(bases, tmp_path, kind, tied):
    adapter = save_adapter(bases[tied], tmp_path / "adapter", **KINDS[kind])
    export(bases[tied], [adapter], [1.0], tmp_path / "out")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(bases[tied]), adapter)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert_close(logits(merged), logits(plain), atol=1e-5, rtol=1e-5)
    changes_a_tie = kind in ("embedding", "output layer", "modules_to_save")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is (
        tied and not changes_a_tie
    )


def test_kinds_mix_by_their_own_changes(bases, tmp_path):
    """θ_0 + Σ w (θ_k − θ_0), each θ_k being what PEFT itself merges."""
    kinds = ["plain", "rslora and patterns", "DoRA", "embedding", "modules_to_save"]
    weights = [0.5, -0.7, 1.3, 0.4, 0.6]
    base = AutoModelForCausalLM.from_pretrained(bases[False])
    start = {name: tensor.double() for name, tensor in base.state_dict().items()}
    expected = dict(start)
    adapters = []
    for i, (kind, weight) in enumerate(zip(kinds, weights, strict=True)):
        adapters.append(save_adapter(bases[False], tmp_path / str(i), seed=i, **KINDS[kind]))
        alone = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(bases[False]), adapters[-1])
        for name, tensor in alone.merge_and_unload().state_dict().items():
            expected[name] = expected[name] + weight * (tensor.double() - start[name])
    report = export(bases[False], adapters, weights, tmp_path / "out", max_shard_size=20_000)
    assert report.n_shards > 1
    assert not report.untied
    written = Checkpoint(tmp_path / "out")
    assert set(written.layouts) == set(Checkpoint(bases[False]).layouts)
    for name in written.layouts:
        assert_close(written.mapped(name).double(), expected[name], atol=2e-6, rtol=1e-5)


def test_the_pieces_that_are_read_change_nothing(bases, tmp_path, monkeypatch):
    adapters = [
        save_adapter(bases[True], tmp_path / str(i), seed=i, **KINDS[kind])
        for i, kind in enumerate(["rslora and patterns", "DoRA", "embedding"])
    ]
    export(bases[True], adapters, [0.4, 0.3, -1.2], tmp_path / "whole", workers=1)
    monkeypatch.setattr(compute, "CPU_PIECE", 37)  # no multiple of any row
    monkeypatch.setattr(compute, "SEGMENT", 101)
    export(bases[True], adapters, [0.4, 0.3, -1.2], tmp_path / "cut", workers=3)
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_sums_are_rounded_once(tmp_path):
    base = save_llama(tmp_path / "base", dtype=torch.bfloat16)
    adapters = [save_adapter(base, tmp_path / str(i), seed=i, **KINDS["plain"]) for i in range(2)]
    export(base, adapters, [0.7, 0.3], tmp_path / "out")
    before, after = (load_file(p / "model.safetensors") for p in (base, tmp_path / "out"))
    name = "model.layers.1.self_attn.q_proj"
    folders = [LoraFolder.read(path) for path in adapters]
    change = sum(
        w * f.modules[name].scaling * f.modules[name].up.double() @ f.modules[name].down.double()
        for f, w in zip(folders, [0.7, 0.3], strict=True)
    )
    exact = (before[f"{name}.weight"].double() + change).bfloat16()
    assert (after[f"{name}.weight"] != exact).float().mean() < 0.002  # a last bit of float64 may tip a tie
    assert torch.equal(before["model.norm.weight"], after["model.norm.weight"])
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}


@pytest.mark.parametrize("prefix", ["transformer.", ""], ids=["as saved now", "as on the hub"])
@pytest.mark.parametrize("kind", [{"target_modules": ["c_attn", "c_fc", "c_proj"]}, KINDS["lora_bias"]])
def test_gpt2(tmp_path, prefix, kind):
    torch.manual_seed(0)
    base = tmp_path / "base"
    GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32)).save_pretrained(base)
    adapter = save_adapter(base, tmp_path / "adapter", fan_in_fan_out=True, **({"r": 3} | kind))
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    tensors = load_file(base / "model.safetensors")
    old = {name.replace("transformer.", prefix): tensor for name, tensor in tensors.items()}
    save_file(old, base / "model.safetensors", metadata={"format": "pt"})
    export(base, [adapter], [1.0], tmp_path / "out")
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == set(old)
    assert_close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), logits(plain), atol=1e-5, rtol=1e-5)


def test_the_folder_is_complete(tiny_base, plain_adapters, tmp_path):
    seen = []
    report = export(
        tiny_base, plain_adapters.values(), [0.2, 0.3, 0.5], tmp_path / "out", finish=lambda *a: seen.append(a)
    )
    assert seen[0][1] == report
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= found
    old, new = AutoTokenizer.from_pretrained(tiny_base), AutoTokenizer.from_pretrained(tmp_path / "out")
    assert new.chat_template == old.chat_template
    assert new("a good day").input_ids == old("a good day").input_ids
    names = set(load_file(tiny_base / "model.safetensors"))
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == names  # tied: no lm_head in either
    config, own = (json.loads((path / "config.json").read_text()) for path in (tmp_path / "out", tiny_base))
    assert config == own


def test_zero_weights_are_the_base(bases, tmp_path):
    adapter = save_adapter(bases[True], tmp_path / "adapter", **KINDS["output layer"])
    report = export(bases[True], [adapter], [0.0], tmp_path / "out")
    assert (report.n_changed, report.untied) == (0, False)
    before, after = (load_file(p / "model.safetensors") for p in (bases[True], tmp_path / "out"))
    assert all(torch.equal(before[name], after[name]) for name in before)


class TestRefuses:
    def refused(self, tmp_path, message, base, adapters, weights=None, **options):
        out = tmp_path / "results" / "out"
        out.parent.mkdir(exist_ok=True)
        with pytest.raises(InputError, match=message):
            export(base, adapters, weights or [1.0] * len(adapters), out, **options)
        assert list(out.parent.iterdir()) == []

    @pytest.fixture
    def adapter(self, bases, tmp_path):
        return save_adapter(bases[False], tmp_path / "adapter", **KINDS["plain"])

    @pytest.fixture
    def base(self, bases, tmp_path):
        """A base in shards, to spoil."""
        return shutil.copytree(bases[False], tmp_path / "base")

    def test_a_shard_that_is_cut_off(self, base, adapter, tmp_path):
        shard = sorted(base.glob("model-*.safetensors"))[2]
        os.truncate(shard, shard.stat().st_size - 10)
        self.refused(tmp_path, rf"{shard.name}: corrupt", base, [adapter])

    def test_a_shard_with_a_wrong_header(self, base, adapter, tmp_path):
        shard = sorted(base.glob("model-*.safetensors"))[1]
        content = bytearray(shard.read_bytes())
        content[8:20] = b"not a header"
        shard.write_bytes(content)
        self.refused(tmp_path, rf"{shard.name}: corrupt", base, [adapter])

    def test_a_shard_that_is_missing(self, base, adapter, tmp_path):
        shard = sorted(base.glob("model-*.safetensors"))[0]
        shard.unlink()
        self.refused(tmp_path, rf"{shard.name}: no such file", base, [adapter])

    def test_an_index_that_says_otherwise(self, base, adapter, tmp_path):
        index = base / "model.safetensors.index.json"
        content = json.loads(index.read_text())
        files = sorted(set(content["weight_map"].values()))
        name = next(n for n, f in content["weight_map"].items() if f == files[0])
        content["weight_map"][name] = files[1]
        index.write_text(json.dumps(content))
        self.refused(tmp_path, rf"tensor '{name}' is not in {files[1]}", base, [adapter])

    @pytest.mark.parametrize("name", ["model.layers.1.self_attn.q_proj.weight", "model.norm.weight"])
    def test_a_tensor_of_the_base_that_is_not_finite(self, base, adapter, tmp_path, name):
        place = json.loads((base / "model.safetensors.index.json").read_text())["weight_map"][name]
        tensors = load_file(base / place)
        tensors[name].view(-1)[-1] = torch.nan
        save_file(tensors, base / place, metadata={"format": "pt"})
        self.refused(tmp_path, rf"tensor '{name}' in .*{place}.* has NaN values", base, [adapter])

    def test_an_adapter_that_is_not_finite(self, bases, adapter, tmp_path):
        file = adapter / "adapter_model.safetensors"
        tensors = load_file(file)
        key = next(iter(tensors))
        tensors[key][0, 0] = torch.inf
        save_file(tensors, file)
        self.refused(tmp_path, rf"adapter_model.safetensors: tensor '{key}' holds NaN or inf", bases[False], [adapter])

    def test_an_adapter_that_is_cut_off(self, bases, adapter, tmp_path):
        os.truncate(adapter / "adapter_model.safetensors", 500)
        self.refused(tmp_path, "adapter_model.safetensors cannot be read, it may be cut off", bases[False], [adapter])

    def test_a_base_with_other_shapes(self, tmp_path, adapter):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=48, hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4
        )
        LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
        message = r"'model\.layers\.0\.self_attn\.q_proj\.weight' must be \[32, 32\], the base's is \[16, 16\]: this is not the adapter's base"
        self.refused(tmp_path, message, tmp_path / "other", [adapter])

    def test_a_base_without_the_tensor(self, tmp_path, adapter):
        GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "other")
        message = r"adapter changes 'model\.layers\.0.*', which .*other does not have: this is not the adapter's base"
        self.refused(tmp_path, message, tmp_path / "other", [adapter])

    def test_a_vocabulary_of_another_size(self, bases, tmp_path):
        adapter = save_adapter(bases[False], tmp_path / "adapter", **KINDS["modules_to_save"])
        file = adapter / "adapter_model.safetensors"
        tensors = load_file(file)
        tensors["base_model.model.lm_head.weight"] = torch.randn(50, 32)
        save_file(tensors, file)
        self.refused(tmp_path, r"'lm_head\.weight' is \[50, 32\], the base's is \[48, 32\]", bases[False], [adapter])

    def test_values_that_do_not_fit_the_dtype(self, tmp_path):
        base = save_llama(tmp_path / "base", dtype=torch.float16)
        adapter = save_adapter(base, tmp_path / "adapter", **KINDS["plain"])
        message = r"tensor 'model.*_proj\.weight': the merged values are not finite in float16 \(largest magnitude .*\): give smaller weights, or a base in a wider dtype"
        self.refused(tmp_path, message, base, [adapter], [1e7])

    def test_weights_that_are_none(self, bases, adapter, tmp_path):
        self.refused(tmp_path, "weights must be finite", bases[False], [adapter], [float("nan")])
        self.refused(tmp_path, "1 adapters need as many weights, found 2", bases[False], [adapter], [1.0, 2.0])
        self.refused(tmp_path, "max_shard_size must be positive", bases[False], [adapter], max_shard_size=0)

    def test_the_folder_of_the_base_or_of_an_adapter(self, base, adapter):
        for out, said in ((base, "the base model"), (adapter, "an adapter")):
            with pytest.raises(InputError, match=f"is the folder of {said}"):
                export(base, [adapter], [1.0], out)

    def test_adapters_of_two_bases(self, bases, adapter, tmp_path):
        other = save_adapter(bases[True], tmp_path / "other", **KINDS["plain"])
        message = "adapters of different bases cannot be mixed"
        self.refused(tmp_path, message, bases[False], [adapter, other], [0.5, 0.5])
        export(bases[False], [adapter, other], [0.5, 0.5], tmp_path / "one model", same_base=False)

    def test_a_full_disk(self, bases, adapter, tmp_path, monkeypatch):
        def full(descriptor, data, place):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        self.refused(
            tmp_path, "no space left on device: the merged model takes .* free; nothing was", bases[False], [adapter]
        )

    def test_a_limit_of_the_system(self, bases, adapter, tmp_path):
        code = f"""
            import resource, signal
            from frontier.errors import InputError
            from frontier.realize.lora_folder import LoraFolder
            from frontier.realize.merging.checkpoint import Checkpoint
            from frontier.realize.merged_export import export_merged_checkpoint
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            base, adapter = Checkpoint("{bases[False]}"), LoraFolder.read("{adapter}")
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
            try:
                export_merged_checkpoint(base, [adapter], [1.0], "{tmp_path / "results" / "out"}", progress=False)
            except InputError as error:
                print(error)
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
        assert "file too large: the merged model takes" in done.stdout, done.stderr
        assert list((tmp_path / "results").iterdir()) == []
