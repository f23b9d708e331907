import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_checkpoints import load_tensors, save_llama
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from frontier.errors import InputError
from frontier.realize.merging.checkpoint import Checkpoint
from frontier.realize.merging.lora_source import open_model
from frontier.realize.merging.reference import Reference


def save_lora(base, folder, **settings):
    torch.manual_seed(7)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(init_lora_weights=False, **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name or "magnitude" in name:
                parameter.mul_(1.3)
    model.save_pretrained(folder)
    return folder


def merged_by_peft(base, lora):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora).merge_and_unload()
    return dict(model.state_dict())


SETTINGS = {
    "patterns": {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": "all-linear",
        "rank_pattern": {"up_proj": 2},
        "alpha_pattern": {"q_proj": 3},
    },
    "rslora": {"r": 4, "lora_alpha": 6, "target_modules": ["v_proj"], "use_rslora": True},
    "saved": {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding": {"r": 2, "target_modules": ["embed_tokens", "lm_head"]},
    "dora": {"r": 2, "target_modules": ["q_proj", "down_proj"], "use_dora": True},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_sum_is_what_peft_merges(llamas, tmp_path, settings):
    lora = save_lora(llamas["one"], tmp_path / "lora", **settings)
    source, notes = open_model(Reference(str(llamas["one"]), str(lora)))
    expected = merged_by_peft(llamas["one"], lora)
    assert source.layouts.keys() == expected.keys()
    for name, layout in source.layouts.items():
        found = source.read(name, 0, layout.numel).view(layout.shape)
        torch.testing.assert_close(found, expected[name], atol=1e-6, rtol=1e-5, msg=name)
    assert notes == []


def test_gpt2_keeps_its_weights_the_other_way_round(tmp_path):
    torch.manual_seed(0)
    base = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2, n_positions=16)).save_pretrained(base)
    lora = save_lora(base, tmp_path / "lora", r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    source, _ = open_model(Reference(str(base), str(lora)))
    expected = merged_by_peft(base, lora)
    for name, layout in source.layouts.items():
        found = source.read(name, 0, layout.numel).view(layout.shape)
        torch.testing.assert_close(found, expected[name], atol=1e-6, rtol=1e-5, msg=name)


def test_pieces_are_the_whole(llamas, tmp_path):
    lora = save_lora(llamas["two"], tmp_path / "lora", r=2, target_modules=["up_proj"])
    source, _ = open_model(Reference(str(llamas["two"]), str(lora)))
    name = "model.layers.1.mlp.up_proj.weight"
    size = source.layouts[name].numel
    whole = source.read(name, 0, size)
    assert whole.dtype == torch.float32  # the sum is never rounded to the base's bf16
    assert torch.equal(torch.cat([source.read(name, i, min(i + 100, size)) for i in range(0, size, 100)]), whole)
    assert not source.in_pieces(name)
    assert source.in_pieces("model.norm.weight")
    assert str(lora) in source.place(name)


def test_an_adapter_of_one_side_of_a_tie_ends_it(tmp_path):
    base = save_llama(tmp_path / "tied", 3, tied=True)
    before = load_tensors(base)["model.embed_tokens.weight"]
    for target, other in (("embed_tokens", "lm_head.weight"), ("lm_head", "model.embed_tokens.weight")):
        lora = save_lora(base, tmp_path / target, r=2, target_modules=[target])
        source, _ = open_model(Reference(str(base), str(lora)))
        assert source.tied == {}
        assert torch.equal(source.read(other, 0, before.numel()).view(before.shape), before)
        changed = "lm_head.weight" if target == "lm_head" else "model.embed_tokens.weight"
        assert not torch.equal(source.read(changed, 0, before.numel()).view(before.shape), before)


def test_an_adapter_alone_stands_on_its_own_base(llamas, tmp_path):
    lora = save_lora(llamas["one"], tmp_path / "lora", r=2, target_modules=["q_proj"])
    source, _ = open_model(Reference(str(lora)))
    assert source.folder == llamas["one"]
    config = json.loads((lora / "adapter_config.json").read_text())
    (lora / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/gone/base"}))
    with pytest.raises(InputError, match=r"is an adapter of /gone/base; write BASE\+"):
        open_model(Reference(str(lora)))


def test_another_base_is_told_or_refused(llamas, fresh, tmp_path):
    lora = save_lora(llamas["one"], tmp_path / "lora", r=2, target_modules=["q_proj"])
    _, notes = open_model(Reference(str(llamas["base"]), str(lora)))
    assert notes == [f"{lora} says that it was trained on {llamas['one']}; it was merged into {llamas['base']}"]
    source, _ = open_model(Reference(str(fresh("wide", width=64)), str(lora)))
    with pytest.raises(InputError, match="this is not the adapter's base"):
        source.read("model.layers.0.self_attn.q_proj.weight", 0, 64)
    with pytest.raises(
        InputError, match=r"changes 'model\.layers\.2\.self_attn\.q_proj\.weight', which .* does not have"
    ):
        open_model(Reference(str(fresh("short", layers=2)), str(lora)))


def test_a_variant_without_a_sum_is_refused_by_name(llamas, tmp_path):
    lora = save_lora(llamas["one"], tmp_path / "lora", r=2, target_modules=["q_proj"])
    config = json.loads((lora / "adapter_config.json").read_text())
    (lora / "adapter_config.json").write_text(json.dumps(config | {"layer_replication": [[0, 1]]}))
    with pytest.raises(InputError, match="layer_replication"):
        open_model(Reference(str(llamas["one"]), str(lora)))


def test_whole_models_are_opened_as_such(llamas, tmp_path):
    source, notes = open_model(Reference(str(llamas["one"])))
    assert isinstance(source, Checkpoint)
    assert notes == []
    folder = tmp_path / "both"  # a model that carries a stale adapter_config.json is still a model
    shutil.copytree(llamas["base"], folder)
    (folder / "adapter_config.json").write_text("{}")
    assert isinstance(open_model(Reference(str(folder)))[0], Checkpoint)
