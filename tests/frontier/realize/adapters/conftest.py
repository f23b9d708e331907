import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.func import functional_call
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from frontier.realize.adapters import AdapterMixture

IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12], [1, 13, 14, 15, 16]])
# Of every tiny decoder here; GPT-2 has other names for them.
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": False,
}
ROWS = [[0.7, 0.3], [-0.5, 1.5], [0.0, 0.0]]


class Kinds:
    """Two adapters of any kind on a tiny model, alone in plain PEFT and together in a mixture; all values random, none at its start."""

    def __init__(self, base, *options):
        self.base = base
        self.options = options

    def randomized(self, model, name, seed):
        generator = torch.Generator().manual_seed(seed)
        for key, parameter in model.named_parameters():
            if f".{name}." in f"{key}." and ".base_layer." not in key:
                noise = torch.randn(parameter.shape, generator=generator) * 0.2
                if "magnitude" in key:  # is a norm, near the one that it has
                    parameter.data = parameter.data * (1 + noise)
                else:  # factors start at random numbers of PEFT's, copies at the base's
                    parameter.data = 2 * noise if ".lora_" in key else parameter.data + noise
        return model

    def alone(self, k):
        config = LoraConfig(**self.options[k])
        return self.randomized(
            get_peft_model(copy.deepcopy(self.base), config, adapter_name=f"a{k}"), f"a{k}", k
        ).eval()

    def mixture(self):
        model = get_peft_model(copy.deepcopy(self.base), LoraConfig(**self.options[0]), adapter_name="a0")
        model.add_adapter("a1", LoraConfig(**self.options[1]))
        for k in range(2):
            self.randomized(model, f"a{k}", k)
        return AdapterMixture(model.eval(), ["a0", "a1"])

    def expected(self, weights, ids):
        """W0 + Σ w_k (W_k − W0), W_k being what PEFT itself merges from adapter k alone."""
        before = {n: t.detach() for n, t in self.base.state_dict(keep_vars=False).items()}
        total = dict(before)
        for k, w in enumerate(weights):
            for name, tensor in self.alone(k).merge_and_unload().state_dict().items():
                total[name] = total[name] + w * (tensor - before[name])
        with torch.no_grad():
            return functional_call(self.base, total, (ids,), tie_weights=False).logits

    def check(self):
        """Row by row, and each adapter alone, as PEFT computes it; the base bit for bit at zero."""
        mixture = self.mixture()
        with torch.no_grad():
            with mixture.steer(torch.tensor(ROWS)):
                together = mixture.model(IDS).logits
            for i, weights in enumerate(ROWS):
                expected = self.expected(weights, IDS[i : i + 1])
                assert (together[i] - expected[0]).norm() / expected.norm() <= 1e-5
            for k in range(2):
                with mixture.steer(torch.eye(2)[k]):
                    got, expected = mixture.model(IDS).logits, self.alone(k)(IDS).logits
                assert (got - expected).norm() / expected.norm() <= 1e-5
                assert (got - self.base(IDS).logits).norm() / expected.norm() > 1e-2  # the adapter does something
            with mixture.steer(torch.zeros(2)):
                assert torch.equal(mixture.model(IDS).logits, self.base(IDS).logits)
        return mixture

    def check_gradients(self, train=False):
        """Those of one adapter at weight 1 are those that PEFT computes for it alone, dropout masks included."""
        mixture, alone = self.mixture(), self.alone(1)
        mixture.train_adapters(["a1"])
        gradients = []
        for model in (mixture.model, alone):
            model.train(train)
            torch.manual_seed(0)
            with mixture.steer(torch.tensor([0.0, 1.0])):
                model(IDS).logits.log_softmax(-1)[..., 3].sum().backward()
            found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
            gradients.append(found)
        assert set(gradients[0]) == set(gradients[1])
        for name, expected in gradients[1].items():
            assert (gradients[0][name] - expected).norm() <= 1e-4 * expected.norm() + 1e-6, name


@pytest.fixture(scope="session")
def qwen2():
    """Has biases in q, k and v; its output layer is a tensor of its own."""
    torch.manual_seed(0)
    config = Qwen2Config(**SIZES, num_hidden_layers=2, max_position_embeddings=32, initializer_range=0.2)
    base = Qwen2ForCausalLM(config).eval()
    for name, parameter in base.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return base


@pytest.fixture(scope="session")
def gemma3():
    """Multiplies its input embeddings by √16."""
    torch.manual_seed(0)
    base = Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, num_hidden_layers=1, head_dim=8)).eval()
    torch.nn.init.normal_(base.lm_head.weight, std=0.2)
    return base


@pytest.fixture(scope="session")
def gpt2():
    """Keeps weights as [d_in, d_out] and ties its output layer to its input embedding."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2)
    ).eval()


@pytest.fixture
def kinds():
    return Kinds
