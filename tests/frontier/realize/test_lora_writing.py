import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.lora_writing import nbytes_of, sum_as_lora, write_lora
from frontier.realize.merged_export import export_merged_checkpoint
from frontier.realize.merging.checkpoint import Checkpoint
from frontier.realize.weighted_source import BaseTensors

IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12]])


@pytest.fixture(scope="module")
def make(tiny_base, tmp_path_factory):
    """Saves an adapter as plain PEFT does; what stands in it is random."""

    def save(seed=1, **options):
        torch.manual_seed(seed)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(tiny_base), LoraConfig(init_lora_weights=False, **options)
        )
        for name, parameter in model.named_parameters():
            if ".modules_to_save." in name:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
        folder = tmp_path_factory.mktemp("adapter") / "it"
        model.save_pretrained(folder)
        return LoraFolder.read(folder)

    return save


@pytest.fixture(scope="module")
def base(tiny_base):
    return BaseTensors(Checkpoint(tiny_base))


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def plain(tiny_base, folder):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder)


def merged(tiny_base, folders, weights, out):
    export_merged_checkpoint(Checkpoint(tiny_base), folders, weights, out, progress=False)
    return AutoModelForCausalLM.from_pretrained(out)


CASES = {
    "ranks, rsLoRA, patterns": [
        {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
        {"r": 6, "use_rslora": True, "target_modules": "all-linear", "rank_pattern": {"up_proj": 3}},
    ],
    "embedding": [
        {"r": 3, "target_modules": ["embed_tokens", "o_proj"]},
        {"r": 2, "target_modules": ["embed_tokens", "lm_head"]},
    ],
    "modules_to_save": [
        {"r": 3, "target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
        {"r": 2, "target_modules": ["q_proj", "k_proj"]},
    ],
    "stored whole by one, with factors by the other": [
        {"r": 3, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"r": 2, "target_modules": ["lm_head"]},
    ],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("uniform", [False, True])
def test_plain_peft_computes_the_merged_model(make, tiny_base, base, tmp_path, case, uniform):
    folders = [make(i, **options) for i, options in enumerate(CASES[case])]
    weights = [0.7, -0.4]
    total = sum_as_lora(folders, weights, base)
    (tmp_path / "out").mkdir()
    ranks = write_lora(total, tmp_path / "out", base="some/base", uniform=uniform, tensors=tuple(base))
    assert len(set(ranks.values())) == 1 or not uniform
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == ("some/base", max(ranks.values()))
    held = load_file(tmp_path / "out" / "adapter_model.safetensors")
    if not uniform:
        assert sum(t.numel() * t.element_size() for t in held.values()) == nbytes_of(total)
    expected = logits(merged(tiny_base, folders, weights, tmp_path / "merged"))
    assert_close(logits(plain(tiny_base, tmp_path / "out")), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=8)
@given(
    ranks=st.lists(st.integers(1, 5), min_size=2, max_size=3),
    weights=st.lists(st.sampled_from([-1.5, 0.0, 0.3, 1.0, 2.0]), min_size=3, max_size=3),
    rslora=st.lists(st.booleans(), min_size=3, max_size=3),
    targets=st.lists(st.sampled_from([("q_proj",), ("down_proj", "v_proj"), ("o_proj",)]), min_size=3, max_size=3),
)
def test_any_adapters_at_any_weights(make, tiny_base, base, tmp_path_factory, ranks, weights, rslora, targets):
    out = tmp_path_factory.mktemp("any")
    folders = [
        make(i, r=r, lora_alpha=3, use_rslora=rslora[i], target_modules=list(targets[i])) for i, r in enumerate(ranks)
    ]
    total = sum_as_lora(folders, weights[: len(ranks)], base)
    write_lora(total, out)
    expected = logits(merged(tiny_base, folders, weights[: len(ranks)], out / "merged"))
    assert_close(logits(plain(tiny_base, out)), expected, atol=2e-5, rtol=1e-5)


def test_modules_are_named_shortly_only_where_that_means_no_others(make, base, tmp_path):
    for i, (options, expected) in enumerate(
        [
            ({"target_modules": ["q_proj", "v_proj"]}, ["q_proj", "v_proj"]),
            ({"target_modules": ["model.layers.1.self_attn.q_proj"]}, ["model.layers.1.self_attn.q_proj"]),
        ]
    ):
        (tmp_path / str(i)).mkdir()
        write_lora(sum_as_lora([make(r=2, **options)], [1.0], base), tmp_path / str(i), tensors=tuple(base))
        config = json.loads((tmp_path / str(i) / "adapter_config.json").read_text())
        assert config["target_modules"] == expected


def test_the_adapters_name_the_base_unless_another_name_is_given(make, base, tiny_base, tmp_path):
    write_lora(sum_as_lora([make(r=2, target_modules=["q_proj"])], [1.0], base), tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny_base)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"use_dora": True, "target_modules": ["q_proj"]}, "'model.layers.0.self_attn.q_proj.weight' by DoRA"),
    ],
)
def test_refuses_what_no_lora_holds(make, base, options, what):
    folder = make(r=2, **options)
    with pytest.raises(InputError, match=f"{what}.*kind merged"):
        sum_as_lora([folder], [0.5], base)
    assert sum_as_lora([folder, make(r=2, target_modules=["k_proj"])], [0.0, 1.0], base).factors  # not looked at


def test_refuses_a_trained_bias(make, base):
    folder = make(r=2, target_modules=["q_proj"])
    whole = LoraFolder(folder.path, None, None, folder.config, folder.modules, {"model.norm.bias": torch.zeros(32)})
    with pytest.raises(InputError, match=r"'model\.norm\.bias' by a trained bias"):
        sum_as_lora([whole], [1.0], base)


def test_refuses_a_vocabulary_that_was_trained_beside_the_adapter(make, base):
    folder = make(r=2, target_modules=["embed_tokens"])
    file = folder.path / "adapter_model.safetensors"
    tensors = load_file(file)
    [key] = [name for name in tensors if "base_layer" in name]
    tensors[key][3] += 1
    save_file(tensors, file)
    with pytest.raises(InputError, match=r"holds a copy of 'model\.embed_tokens\.weight' that is not the base's"):
        sum_as_lora([LoraFolder.read(folder.path)], [1.0], base)


def test_refuses_another_base(make, base):
    folder = make(r=2, target_modules=["q_proj"])
    part = {name: base[name] for name in base if "layers.1" not in name}
    with pytest.raises(InputError, match=r"the base has no tensor 'model\.layers\.1\.self_attn\.q_proj\.weight'"):
        sum_as_lora([folder], [1.0], part)


def test_a_copy_of_the_vocabulary_that_nothing_trained_is_left_out(tiny_base, base, tmp_path):
    """PEFT saves one beside the adapter where the vocabulary was resized, or where it is told to."""
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False),
    )
    model.save_pretrained(tmp_path / "it", save_embedding_layers=True)
    folder = LoraFolder.read(tmp_path / "it")
    assert "model.embed_tokens.weight" in folder.whole
    total = sum_as_lora([folder], [0.5], base)
    assert (total.whole, len(total.factors)) == ({}, 2)
    folder.whole["model.embed_tokens.weight"][3] += 1
    with pytest.raises(
        InputError, match=r"a copy of 'model\.embed_tokens\.weight' that is not the base's.*kind merged"
    ):
        sum_as_lora([folder], [0.5], base)
    folder.whole["model.embed_tokens.weight"] = torch.zeros(3, 32)
    with pytest.raises(InputError, match="was trained or resized"):
        sum_as_lora([folder], [0.5], base)


def test_one_folder_read_twice(make, base):
    once = make(r=2, target_modules=["q_proj"])
    total = sum_as_lora([once, LoraFolder.read(once.path)], [0.5, 0.25], base)
    for name, (up, down) in sum_as_lora([once], [0.75], base).factors.items():
        assert_close(total.factors[name][0] @ total.factors[name][1], up @ down)
