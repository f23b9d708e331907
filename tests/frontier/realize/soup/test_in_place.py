import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.soup import Experts, Soup, SoupedModel


def by_hand(tiny_base, plain_adapters, soup):
    """W0 + Σ c s B A from PEFT's own delta weights, one adapter at a time, in float64."""
    model = AutoModelForCausalLM.from_pretrained(tiny_base).double()
    for k, folder in enumerate(plain_adapters.values()):
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base).double(), folder)
        for path, module in loaded.base_model.model.named_modules():
            if hasattr(module, "lora_A"):
                change = module.get_delta_weight("default") * soup.at(f"{path}.weight")[k]
                model.get_parameter(f"{path}.weight").data += change.detach()
    return model


def test_a_soup_is_the_hand_summed_model(base, experts, tiny_base, plain_adapters, soup, ids):
    expected = by_hand(tiny_base, plain_adapters, soup)(ids).logits
    souped = SoupedModel(base, experts)
    with torch.no_grad(), souped.use(soup) as model:
        assert_close(model(ids).logits.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_base_comes_back_bit_for_bit(base, experts, soup):
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    souped = SoupedModel(base, experts)
    for other in (soup, Soup.alike(experts.names, (3.0, -2.0, 1.0)), Soup.base(experts.names)):
        souped.become(other)
    souped.become(None)
    assert souped.soup is None
    assert all(torch.equal(before[name], tensor) for name, tensor in base.state_dict().items())


def test_a_soup_does_not_depend_on_the_one_before(base, experts, soup):
    souped = SoupedModel(base, experts)
    souped.become(soup)
    first = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    with souped.use(Soup.alike(experts.names, (1.0, 0.0, 0.0))):
        assert not torch.equal(first["model.layers.0.mlp.up_proj.weight"], base.model.layers[0].mlp.up_proj.weight)
    assert souped.soup == soup
    assert all(torch.equal(first[name], tensor) for name, tensor in base.state_dict().items())


def test_whole_models_as_experts(base, tiny_base, tmp_path, ids):
    folders = {}
    for i, name in enumerate("ab"):
        other = AutoModelForCausalLM.from_pretrained(tiny_base)
        generator = torch.Generator().manual_seed(i)
        for parameter in other.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        folders[name] = tmp_path / name
        other.save_pretrained(folders[name])
    souped = SoupedModel(base, Experts.read(folders))
    tied = base.lm_head.weight is base.model.embed_tokens.weight
    for name, row in (("a", (1.0, 0.0)), ("b", (0.0, 1.0))):
        with torch.no_grad(), souped.use(Soup.alike(("a", "b"), row)) as model:
            expected = AutoModelForCausalLM.from_pretrained(folders[name])(ids).logits
            assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert tied
    assert base.lm_head.weight is base.model.embed_tokens.weight  # nobody asked for two


@pytest.mark.parametrize("targets", [["wte", "c_attn"], ["lm_head", "c_proj"]])
def test_embeddings_conv1d_and_tied_output_layers(tmp_path, targets, ids):
    torch.manual_seed(0)
    made = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=40, n_positions=16))
    made.save_pretrained(tmp_path / "base")
    folders, logits = {}, {}
    for name, rank in (("a", 2), ("b", 3)):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        adapted = get_peft_model(model, LoraConfig(r=rank, target_modules=targets, init_lora_weights=False))
        adapted.save_pretrained(tmp_path / name)
        folders[name], logits[name] = tmp_path / name, adapted.eval()(ids).logits
    souped = SoupedModel(AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval(), Experts.read(folders))
    for name, row in (("a", (1.0, 0.0)), ("b", (0.0, 1.0))):
        with torch.no_grad(), souped.use(Soup.alike(("a", "b"), row)) as model:
            assert_close(model(ids).logits, logits[name], atol=1e-5, rtol=1e-4)


def test_bfloat16_is_rounded_once(tiny_base, experts, soup):
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16)
    name = "model.layers.1.mlp.down_proj"
    original = base.get_parameter(f"{name}.weight").double()
    folders = [part for part in experts.parts if isinstance(part, LoraFolder)]
    change = sum(
        c * f.delta(name).double() for f, c in zip(folders, soup.at(f"{name}.weight"), strict=True) if name in f.modules
    )
    exact = original + change
    with SoupedModel(base, experts).use(soup):
        found = base.get_parameter(f"{name}.weight").double()
        assert ((found - exact).abs() <= exact.abs() * 2**-8).all()  # half a step of 8 bits, and no more


def test_refuses_a_base_that_is_not_the_experts(experts):
    other = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=40, n_positions=16))
    with pytest.raises(InputError, match="which the base does not have"):
        SoupedModel(other, experts)


def test_refuses_a_base_of_another_width(experts, tiny_base):
    from transformers import AutoConfig, LlamaForCausalLM

    config = AutoConfig.from_pretrained(tiny_base, hidden_size=16, intermediate_size=24)
    with pytest.raises(InputError, match=r"must be \[32, 32\], the base's is \[32, 16\]|not the adapter's base"):
        SoupedModel(LlamaForCausalLM(config), experts)
