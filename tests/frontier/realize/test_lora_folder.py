import json
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder, mix, mix_deltas

SIZES = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
LLAMA = LlamaConfig(
    **SIZES, num_attention_heads=2, num_key_value_heads=1, attention_bias=True, tie_word_embeddings=False
)
IDS = {"bos_token_id": 1, "eos_token_id": 2}
GPT2 = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32, **IDS)
Q = "model.layers.0.self_attn.q_proj"


def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(LLAMA)


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2)


def saved(make, folder, seed=1, **options):
    """A folder by PEFT, with everything trainable moved, so that biases and whole modules differ from the base's."""
    torch.manual_seed(seed)
    model = get_peft_model(make(), LoraConfig(**{"r": 3, "lora_alpha": 5, "init_lora_weights": False, **options}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    return folder


def by_peft(make, folder):
    """What PEFT's own merge adds to every tensor."""
    before = {name: tensor.clone() for name, tensor in make().state_dict().items()}
    merged = PeftModel.from_pretrained(make(), folder).merge_and_unload().state_dict()
    return before, {name: merged[name] - before[name] for name in before}


CASES = {
    "plain": (llama, {"target_modules": ["q_proj", "down_proj"]}),
    "rslora": (llama, {"target_modules": "all-linear", "use_rslora": True}),
    "patterns": (
        llama,
        {
            "target_modules": ["q_proj", "k_proj", "up_proj"],
            "rank_pattern": {"layers.0.self_attn.q_proj": 5, "^model.layers.0.mlp.up_proj$": 2},
            "alpha_pattern": {"k_proj": 9},
            "use_rslora": True,
        },
    ),
    "output layer": (llama, {"target_modules": ["lm_head", "q_proj"]}),
    "embeddings": (llama, {"target_modules": ["embed_tokens", "q_proj"]}),
    "whole modules": (llama, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "input_layernorm"]}),
    "biases of adapted layers": (llama, {"target_modules": ["q_proj"], "bias": "lora_only"}),
    "all biases": (llama, {"target_modules": ["q_proj"], "bias": "all"}),
    "bias of B": (llama, {"target_modules": ["q_proj", "v_proj"], "lora_bias": True}),
    "dora": (llama, {"target_modules": ["q_proj", "down_proj", "lm_head"], "use_dora": True}),
    "dora of embeddings": (llama, {"target_modules": ["embed_tokens"], "use_dora": True}),
    "conv1d": (gpt2, {"target_modules": ["c_attn", "c_proj"]}),
    "conv1d with dora": (gpt2, {"target_modules": ["c_attn", "c_proj"], "use_dora": True}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_every_tensor_changes_as_pefts_own_merge_changes_it(case, tmp_path):
    make, options = CASES[case]
    folder = LoraFolder.read(saved(make, tmp_path / "a", **options))
    base, expected = by_peft(make, tmp_path / "a")
    changed = {name for name, delta in expected.items() if delta.abs().max() > 0}
    assert changed == set(folder.tensors)
    for name in folder.tensors:
        assert_close(folder.delta(name, base), expected[name], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("case", ["plain", "rslora", "patterns", "bias of B", "output layer", "embeddings", "conv1d"])
@pytest.mark.filterwarnings("ignore")
def test_plain_lora_needs_no_base(case, tmp_path):
    make, options = CASES[case]
    folder = LoraFolder.read(saved(make, tmp_path / "a", **options))
    base, _ = by_peft(make, tmp_path / "a")
    for name in folder.tensors:
        assert torch.equal(folder.delta(name), folder.delta(name, base))
        assert torch.equal(folder.delta(name), folder.delta(name.removesuffix(".weight")))


def test_by_hand(tmp_path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps(
            {"peft_type": "LORA", "r": 1, "lora_alpha": 3, "base_model_name_or_path": "org/base", "revision": "r1"}
        )
    )
    pair = {"q.lora_A.weight": torch.tensor([[1.0, 2.0]]), "q.lora_B.weight": torch.tensor([[10.0], [0.0], [-1.0]])}
    save_file({f"base_model.model.{k}": v for k, v in pair.items()}, tmp_path / "adapter_model.safetensors")
    folder = LoraFolder.read(tmp_path)
    assert folder.delta("q").tolist() == [[30.0, 60.0], [0.0, 0.0], [-3.0, -6.0]]
    assert (folder.base, folder.revision, folder.tensors, folder.low_rank) == ("org/base", "r1", ("q.weight",), True)
    up, down = mix([folder, folder], [0.5, -2.0])["q"]
    assert (up @ down).tolist() == [[-45.0, -90.0], [0.0, 0.0], [4.5, 9.0]]


@pytest.fixture(scope="module")
def folders(plain_adapters):
    return {name: LoraFolder.read(path) for name, path in plain_adapters.items()}


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.just(0.0), st.floats(-2, 2)), min_size=3, max_size=3))
def test_mix_is_the_sum_of_the_deltas(folders, weights):
    mixed = mix(list(folders.values()), weights)
    dense = dict(mix_deltas(list(folders.values()), weights))
    used = [(folder, w) for folder, w in zip(folders.values(), weights, strict=True) if w != 0]
    assert set(mixed) == {name for folder, _ in used for name in folder.modules}
    assert set(dense) == {f"{name}.weight" for name in mixed}
    for name, (up, down) in mixed.items():
        expected = sum(w * folder.delta(name) for folder, w in used if name in folder.modules)
        assert down.shape[0] == sum(folder.modules[name].rank for folder, _ in used if name in folder.modules)
        assert_close(up @ down, expected, atol=1e-5, rtol=1e-5)
        assert_close(dense[f"{name}.weight"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_whole_modules_biases_and_dora_mix_as_deltas(tmp_path):
    base = {name: tensor.clone() for name, tensor in llama().state_dict().items()}
    one = LoraFolder.read(saved(llama, tmp_path / "1", target_modules=["q_proj"], modules_to_save=["lm_head"]))
    two = LoraFolder.read(saved(llama, tmp_path / "2", seed=2, target_modules=["q_proj", "lm_head"], use_dora=True))
    got = dict(mix_deltas([one, two], [0.25, -0.5], base))
    for name in (f"{Q}.weight", "lm_head.weight"):
        expected = 0.25 * by_peft(llama, one.path)[1][name] - 0.5 * by_peft(llama, two.path)[1][name]
        assert_close(got[name], expected, atol=2e-6, rtol=1e-5)
    for folder in (one, two):
        with pytest.raises(InputError, match="no low-rank factors"):
            mix([folder], [1.0])
        assert mix([folder], [0.0]) == {}  # what has weight zero cannot be in the way
        with pytest.raises(InputError, match="depends on the base"):
            folder.delta("lm_head")


def test_a_copy_that_differs_from_the_base_is_part_of_the_change(tmp_path):
    with pytest.warns(UserWarning, match="save_embedding_layers"):
        path = saved(llama, tmp_path / "a", target_modules=["embed_tokens"])
    tensors = load_file(path / "adapter_model.safetensors")
    tensors["base_model.model.model.embed_tokens.base_layer.weight"][3] += 1.0
    save_file(tensors, path / "adapter_model.safetensors")
    base, expected = by_peft(llama, path)
    folder, name = LoraFolder.read(path), "model.embed_tokens"
    assert_close(folder.delta(name, base), expected[f"{name}.weight"])
    difference = folder.delta(name, base) - folder.delta(name)
    assert_close(difference[3], torch.ones(16))
    assert not difference[:3].any()


@pytest.mark.filterwarnings("ignore")
def test_one_flag_for_two_kinds_of_layers_is_seen_through_or_refused(tmp_path):
    """PEFT leaves fan_in_fan_out as the last layer had it: with an output layer, wrong for every Conv1D."""
    base = gpt2().state_dict()
    path = saved(gpt2, tmp_path / "a", target_modules=["c_attn", "c_proj", "lm_head"])
    folder = LoraFolder.read(path)
    assert folder.config["fan_in_fan_out"] is False
    expected = by_peft(gpt2, path)[1]
    for name in ("transformer.h.0.attn.c_attn", "transformer.h.0.mlp.c_proj", "lm_head"):
        assert_close(folder.delta(name, base), expected[f"{name}.weight"], atol=2e-6, rtol=1e-5)
    with pytest.raises(InputError, match="orientation of the square 'transformer\\.h\\.0\\.attn\\.c_proj'"):
        folder.delta("transformer.h.0.attn.c_proj", base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ({"r": None}, "needs the number r"),
        ({"r": 5, "rank_pattern": {}}, "must have rank 5"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights=pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"target_parameters": ["experts"]}, "uses target_parameters"),
        ({"trainable_token_indices": [1]}, "uses trainable_token_indices"),
        ({"layer_replication": [[0, 2]]}, "uses layer_replication"),
        ({"use_qalora": True}, "uses use_qalora"),
        ({"alora_invocation_tokens": [3]}, "uses alora_invocation_tokens"),
        ({"use_bdlora": {"nblocks": 2}}, "uses use_bdlora"),
        ({"kasa_config": {"rank": 2}}, "uses kasa_config"),
        ({"ensure_weight_tying": True}, "uses ensure_weight_tying"),
        ({"invented_tomorrow": 1}, "uses invented_tomorrow"),
    ],
)
def test_refuses_by_name_what_it_cannot_reproduce(plain_adapters, tmp_path, change, message):
    shutil.copytree(plain_adapters["helpful"], tmp_path / "a")
    file = tmp_path / "a" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        LoraFolder.read(tmp_path / "a")


def broken(folder, change):
    tensors = load_file(folder / "adapter_model.safetensors")
    key = next(k for k in tensors if k.endswith("q_proj.lora_A.weight"))
    if change == "half":
        del tensors[key]
    elif change == "nan":
        tensors[key][0, 0] = float("nan")
    elif change == "convolution":
        tensors[key] = tensors[key][:, :, None, None].contiguous()
    elif change == "unknown":
        tensors[key.replace("lora_A", "lora_diag")] = torch.ones(2)
    elif change == "empty":
        tensors = {}
    save_file(tensors, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("half", "has no lora_A"),
        ("nan", "q_proj.lora_A.weight' holds NaN"),
        ("convolution", "no convolutions"),
        ("unknown", "lora_diag"),
        ("empty", "holds no tensors"),
    ],
)
def test_refuses_broken_tensors_by_name(plain_adapters, tmp_path, change, message):
    shutil.copytree(plain_adapters["helpful"], tmp_path / "a")
    broken(tmp_path / "a", change)
    with pytest.raises(InputError, match=message):
        LoraFolder.read(tmp_path / "a")


def test_refuses_folders_that_are_none(plain_adapters, tmp_path):
    with pytest.raises(InputError, match=r"has no adapter_config\.json"):
        LoraFolder.read(tmp_path)
    shutil.copytree(plain_adapters["helpful"], tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut off or damaged"):
        LoraFolder.read(tmp_path / "a")
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(InputError, match="a pickle"):
        LoraFolder.read(tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        LoraFolder.read(tmp_path / "a")


def test_refuses_another_base_and_unknown_names(folders, tiny_base, tmp_path):
    folder = folders["helpful"]
    base = AutoModelForCausalLM.from_pretrained(tiny_base).state_dict()
    with pytest.raises(InputError, match=f"did you mean '{Q}'"):
        folder.delta("model.layers.0.self_attn.q_prj")
    with pytest.raises(InputError, match="not the adapter's base"):
        folder.delta(Q, {**base, f"{Q}.weight": torch.zeros(7, 7)})
    with pytest.raises(InputError, match="the base has no tensor"):
        folder.delta(Q, {})
    shutil.copytree(folder.path, tmp_path / "a")
    file = tmp_path / "a" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "org/other"}))
    other = LoraFolder.read(tmp_path / "a")
    with pytest.raises(InputError, match="different bases"):
        mix([folder, other], [1.0, 1.0])
    assert set(mix([folder, other], [1.0, 1.0], same_base=False)) == set(folder.modules)
    with pytest.raises(InputError, match="2 adapters need as many weights, found 1"):
        mix([folder, other], [1.0])
    with pytest.raises(InputError, match="must be finite"):
        mix([folder], [float("inf")])
