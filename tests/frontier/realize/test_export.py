import copy
import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture
from frontier.realize.export import _untie, export_lora, export_merged

IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12]])
WEIGHTS = [[0.7, 0.3, 0.0], [0.0, 0.0, 1.0], [-0.5, 1.5, 0.25], [0.0, 0.0, 0.0]]


def steered(mixture, weights):
    with torch.no_grad(), mixture.steer(torch.tensor(weights)):
        return mixture.model(IDS).logits


@pytest.mark.parametrize("weights", WEIGHTS)
def test_lora_is_the_same_function_for_plain_peft(mixture, tiny_base, tmp_path, weights):
    export_lora(mixture, weights, tmp_path / "out")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "out").eval()
    with torch.no_grad():
        assert_close(plain(IDS).logits, steered(mixture, weights), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_merged_is_the_same_function_without_peft(mixture, tmp_path, weights):
    export_merged(mixture, weights, tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert_close(merged(IDS).logits, steered(mixture, weights), atol=2e-5, rtol=1e-5)


def test_exporting_leaves_the_live_model_alone(mixture, tmp_path):
    before = steered(mixture, WEIGHTS[0])
    export_merged(mixture, WEIGHTS[1], tmp_path / "out")
    assert torch.equal(before, steered(mixture, WEIGHTS[0]))


def test_a_zero_weight_adds_no_rank(mixture):
    path = next(
        p for p in mixture.layers if p.endswith("q_proj")
    )  # helpful (rank 4) and brief (rank 6) touch it, warm does not
    up, down = mixture.factors(path, [0.5, 0.5, 1.0])
    assert down.shape[0] == up.shape[1] == 10
    assert mixture.factors(path, [0.5, 0.0, 1.0])[1].shape[0] == 4
    assert mixture.factors(path, [0.0, 0.0, 1.0]) is None


def test_conv1d_layers_are_merged_transposed(tmp_path):
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32)).eval()
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    model = get_peft_model(copy.deepcopy(base), config, adapter_name="only")
    mixture = AdapterMixture(model.eval(), ["only"])
    export_merged(mixture, [0.8], tmp_path / "out")
    merged = GPT2LMHeadModel.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert_close(merged(IDS).logits, steered(mixture, [0.8]), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(merged(IDS).logits, base(IDS).logits)


def test_a_failing_export_leaves_nothing(mixture, tmp_path, monkeypatch):
    import frontier.realize.lora_writing as module

    monkeypatch.setattr(module, "_config", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_lora(mixture, WEIGHTS[0], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def headed(base, tied):
    """A mixture with an adapter on the output layer; the tokens' own vectors are all that goes in."""
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["lm_head", "down_proj", "c_proj"], init_lora_weights=False)
    torch.manual_seed(2)
    model = get_peft_model(base, config, adapter_name="one")
    model.add_adapter("two", LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False))
    assert base.config.tie_word_embeddings == tied
    return AdapterMixture(model.eval(), ["one", "two"])


def llama(tiny_base, tied):
    model = AutoModelForCausalLM.from_pretrained(tiny_base, tie_word_embeddings=tied)
    if not tied:
        torch.nn.init.normal_(model.lm_head.weight, std=0.2)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_a_merged_output_layer_leaves_the_input_embedding_alone(tiny_base, tmp_path, tied):
    base = llama(tiny_base, tied)
    embedding, head = base.get_input_embeddings().weight.clone(), base.get_output_embeddings().weight.clone()
    assert torch.equal(embedding, head) == tied
    mixture = headed(base, tied)
    export_merged(mixture, [0.7, -0.4], tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert_close(merged(IDS).logits, steered(mixture, [0.7, -0.4]), atol=5e-5, rtol=1e-4)
    assert torch.equal(merged.get_input_embeddings().weight, embedding)
    assert not torch.allclose(merged.get_output_embeddings().weight, head)
    # Readers other than transformers believe the configuration alone.
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    assert base.config.tie_word_embeddings == tied  # the live model goes on as it was


def test_what_is_still_tied_stays_tied(tiny_base, tmp_path):
    mixture = headed(llama(tiny_base, True), True)
    export_merged(mixture, [0.0, 0.0], tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is True
    assert "lm_head.weight" not in load_file(tmp_path / "out" / "model.safetensors")


def test_a_model_type_that_ties_by_default_is_untied(tmp_path):
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32)).eval()
    mixture = headed(base, True)
    export_merged(mixture, [1.0, 0.5], tmp_path / "merged")
    export_lora(mixture, [1.0, 0.5], tmp_path / "lora")
    expected = steered(mixture, [1.0, 0.5])
    merged = GPT2LMHeadModel.from_pretrained(tmp_path / "merged").eval()
    assert merged.lm_head.weight is not merged.transformer.wte.weight
    torch.manual_seed(0)
    again = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32)).eval()
    with torch.no_grad():
        assert_close(merged(IDS).logits, expected, atol=1e-5, rtol=1e-5)
        assert_close(
            PeftModel.from_pretrained(again, tmp_path / "lora").eval()(IDS).logits, expected, atol=1e-5, rtol=1e-5
        )


def test_a_nested_configuration_is_untied_as_well(tmp_path):
    config = {"model_type": "x", "text_config": {"tie_word_embeddings": True}, "vision_config": {"width": 3}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    _untie(tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "model_type": "x",
        "tie_word_embeddings": False,
        "text_config": {"tie_word_embeddings": False},
        "vision_config": {"width": 3},
    }


def test_values_that_do_not_fit_the_dtype_are_refused(tiny_base, plain_adapters, tmp_path):
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float16)
    model = PeftModel.from_pretrained(base, plain_adapters["helpful"], adapter_name="it")
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.data.fill_(1e4)
    message = (
        r"tensor '.*_proj.weight': the merged values are not finite in float16 .*: give smaller weights, or a base"
    )
    with pytest.raises(InputError, match=message):
        export_merged(AdapterMixture(model, ["it"]), [1e4], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("export", [export_lora, export_merged], ids=["lora", "merged"])
def test_the_base_is_not_replaced(tiny_base, plain_adapters, tmp_path, export):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), plain_adapters["helpful"], adapter_name="it"
    )
    with pytest.raises(InputError, match="is the folder of the base model: write to another"):
        export(AdapterMixture(model, ["it"]), [1.0], base)
    assert (base / "model.safetensors").is_file()
