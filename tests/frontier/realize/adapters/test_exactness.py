"""One policy at weights w is one function, in whatever form: mixed per row, alone, summed by hand, exported as a LoRA, merged."""

import copy
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch.func import functional_call
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from frontier.realize.adapters import AdapterMixture
from frontier.realize.export import export_lora, merged_state_dict

# PEFT warns of layers that share a tensor; what the mixture makes of them is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
NAMES = ("helpful", "brief", "warm")
IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12], [1, 13, 14, 15, 16]])
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GPT2 = GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2)
ARCHITECTURES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES), (*LINEAR, "lm_head", "embed_tokens")),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES), (*LINEAR, "lm_head")),
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=4), LINEAR),
    "gpt2": (GPT2LMHeadModel, GPT2, ("c_attn", "c_proj", "c_fc", "wte")),
}


def base_of(architecture):
    kind, config, _ = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    return kind(copy.deepcopy(config)).eval()


def drawn_adapters(architecture):
    """Ranks, alphas, rsLoRA, targets and rank patterns of three adapters."""
    targets = ARCHITECTURES[architecture][2]
    return st.lists(
        st.fixed_dictionaries(
            {
                "r": st.integers(1, 5),
                "lora_alpha": st.integers(1, 12),
                "use_rslora": st.booleans(),
                "target_modules": st.lists(st.sampled_from(targets), min_size=1, max_size=4, unique=True),
                "rank_pattern": st.dictionaries(st.sampled_from(targets), st.integers(1, 4), max_size=2),
                "alpha_pattern": st.dictionaries(st.sampled_from(targets), st.integers(1, 9), max_size=1),
            }
        ),
        min_size=3,
        max_size=3,
    )


# Quarters: a weight of 1e-9 would make a ΔW that float32 weights cannot hold.
WEIGHTS = st.lists(st.lists(st.integers(-8, 8).map(lambda n: n / 4), min_size=3, max_size=3), min_size=3, max_size=3)


def mixture_of(architecture, drawn):
    model = None
    for name, options in zip(NAMES, drawn, strict=True):
        torch.manual_seed(len(name))
        config = LoraConfig(**options, init_lora_weights=False, fan_in_fan_out=architecture == "gpt2")
        if model is None:
            model = get_peft_model(base_of(architecture), config, adapter_name=name)
        else:
            model.add_adapter(name, config)
    return AdapterMixture(model.eval(), NAMES)


def changes(mixture, weights):
    """ΔW by hand, from PEFT's parameters and the definition of each scaling: name in the base to a tensor that gradients reach."""
    found = {}
    parameters = dict(mixture.model.base_model.model.named_parameters())
    for name, w in zip(NAMES, weights, strict=True):
        config = mixture.model.peft_config[name]
        for key, down in parameters.items():
            for a, b in ((".lora_A.", ".lora_B."), (".lora_embedding_A.", ".lora_embedding_B.")):
                if a not in key or key.split(a)[1].split(".")[0] != name:
                    continue
                path, up = key.split(a)[0], parameters[key.replace(a, b)]
                rank = down.shape[0]
                alpha = config.alpha_pattern.get(path.rpartition(".")[2], config.lora_alpha)
                delta = w * (alpha / rank**0.5 if config.use_rslora else alpha / rank) * up @ down
                if "embedding" in a or path.rpartition(".")[2].startswith("c_"):
                    delta = delta.T
                found[f"{path}.weight"] = found.get(f"{path}.weight", 0) + delta
    return found


def by_hand(architecture, mixture, weights, ids):
    """Logits of the plain base at its own weights plus ΔW."""
    base = base_of(architecture)
    summed = {name: dict(base.named_parameters())[name].detach() + d for name, d in changes(mixture, weights).items()}
    # Where output layer and embedding are one parameter, an adapter changes only the layer that it sits on.
    return functional_call(base, summed, (ids,), tie_weights=False).logits


def error(got, expected):
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_form_is_the_same_function(architecture):
    @settings(max_examples=8)
    @given(drawn_adapters(architecture), WEIGHTS)
    def check(drawn, rows):
        mixture = mixture_of(architecture, drawn)
        with torch.no_grad(), mixture.steer(torch.tensor(rows)):
            together = mixture.model(IDS).logits
        for i, weights in enumerate(rows):
            row, ids = together[i : i + 1], IDS[i : i + 1]
            with torch.no_grad():
                expected = by_hand(architecture, mixture, weights, ids)
                assert error(row, expected) <= 1e-5
                with mixture.steer(torch.tensor(weights)):
                    assert error(mixture.model(ids).logits, expected) <= 1e-5
        with torch.no_grad():
            assert (
                error(merged_logits(architecture, mixture, rows[0]), by_hand(architecture, mixture, rows[0], IDS))
                <= 1e-5
            )
            assert (
                error(exported_logits(architecture, mixture, rows[0]), by_hand(architecture, mixture, rows[0], IDS))
                <= 1e-5
            )
            for path, layer in mixture.layers.items():
                delta = changes(mixture, rows[0]).get(f"{path}.weight")
                if hasattr(layer, "frozen") and delta is not None and delta.norm() > 0:  # a linear layer
                    up, down = mixture.factors(path, rows[0])
                    got = (up @ down).T if layer.fan_in_fan_out else up @ down
                    assert error(got, delta) <= 1e-5

    check()


def merged_logits(architecture, mixture, weights):
    return functional_call(base_of(architecture), merged_state_dict(mixture, weights), (IDS,), tie_weights=False).logits


def exported_logits(architecture, mixture, weights):
    with tempfile.TemporaryDirectory() as folder:
        export_lora(mixture, weights, Path(folder) / "out")
        return PeftModel.from_pretrained(base_of(architecture), Path(folder) / "out").eval()(IDS).logits


DRAWN = [
    {"r": 3, "lora_alpha": 6, "use_rslora": False},
    {"r": 2, "lora_alpha": 5, "use_rslora": True},
    {"r": 4, "lora_alpha": 1, "use_rslora": False},
]
ROWS = [[0.7, 0.3, 0.0], [-0.5, 1.5, 0.25], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_the_hand_summed_model(architecture):
    targets = ARCHITECTURES[architecture][2]
    drawn = [{**options, "target_modules": list(targets[k:])} for k, options in enumerate(DRAWN)]
    mixture = mixture_of(architecture, drawn)
    mixture.train_adapters()
    parameters = mixture.parameters()
    with mixture.steer(torch.tensor(ROWS)):
        got = torch.autograd.grad(mixture.model(IDS).logits.log_softmax(-1)[..., 3].sum(), parameters)
    expected = [torch.zeros_like(p) for p in parameters]
    for i, weights in enumerate(ROWS):
        value = by_hand(architecture, mixture, weights, IDS[i : i + 1]).log_softmax(-1)[..., 3].sum()
        for total, g in zip(expected, torch.autograd.grad(value, parameters, allow_unused=True), strict=True):
            total += 0 if g is None else g
    assert error(torch.cat([g.flatten() for g in got]), torch.cat([g.flatten() for g in expected])) <= 1e-5
    for g, e in zip(got, expected, strict=True):
        assert (g - e).norm() <= 1e-4 * e.norm() + 1e-6


@torch.no_grad()
def test_what_peft_itself_makes_of_two_adapters():
    """Why this package exists: PEFT's `linear` mixes factors, its `cat` is the exact sum."""
    targets = ["q_proj", "v_proj"]
    drawn = [{"r": 4, "lora_alpha": 8, "use_rslora": False, "target_modules": targets} for _ in NAMES]
    mixture = mixture_of("llama", drawn)
    weights = [0.5, 0.5, 0.0]
    path = "model.layers.0.self_attn.q_proj"
    exact = changes(mixture, weights)[f"{path}.weight"]
    off = {}
    for kind in ("linear", "cat", "svd"):
        plain = copy.deepcopy(mixture.model)
        plain.add_weighted_adapter(list(NAMES[:2]), weights[:2], f"mixed_{kind}", combination_type=kind)
        off[kind] = error(plain.base_model.model.get_submodule(path).get_delta_weight(f"mixed_{kind}"), exact)
    assert off["linear"] > 0.5
    assert off["cat"] <= 1e-5
    assert off["svd"] > 0.1  # truncated to rank 4
    up, down = mixture.factors(path, weights)
    assert error(up @ down, exact) <= 1e-5
