import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.gating import Gate, GateConfig
from reward_heads.gating.network import GateNetwork

LINEAR = GateConfig(hidden=())


def linear_gate(weight, bias, temperature=10.0, **settings):
    weight = torch.tensor(weight)
    network = GateNetwork(weight.shape[1], len(weight), GateConfig(hidden=(), temperature=temperature))
    with torch.no_grad():
        network.output.weight.copy_(weight)
        network.output.bias.copy_(torch.tensor(bias))
    return Gate(network, ["a", "b"][: len(weight)], **settings)


def test_hand_computed():
    gate = linear_gate([[10.0], [0.0]], [0.0, 10 * math.log(2)])
    # x = 0: logits 0 and 10 log 2, over 10: weights 1 / 3 and 2 / 3. x = log 4: logits log 4 and log 2.
    assert_close(gate.weights_of(torch.tensor([[0.0], [math.log(4)]])), torch.tensor([[1 / 3, 2 / 3], [2 / 3, 1 / 3]]))
    assert gate.scale == 1.0


def test_the_default_is_the_papers():
    network = GateNetwork(8, 3, GateConfig())
    shapes = [tuple(layer.weight.shape) for layer in network.layers if isinstance(layer, torch.nn.Linear)]
    assert [*shapes, tuple(network.output.weight.shape)] == [(1024, 8), (1024, 1024), (1024, 1024), (3, 1024)]
    assert [layer.p for layer in network.layers if isinstance(layer, torch.nn.Dropout)] == [0.2] * 3
    assert network.config.temperature == 10.0


def test_starts_near_constant_weights_whatever_the_prompt():
    network = GateNetwork(4, 2, GateConfig(hidden=(8,))).eval()
    network.start_from(torch.tensor([1.0, 0.0]), 3.0)
    weights = network(torch.randn(5, 4)).exp()
    assert_close(weights, torch.tensor([[0.975, 0.025]]).expand(5, 2))
    assert network.log_scale.exp().item() == pytest.approx(3.0)


def test_standardising_makes_the_encoders_scale_disappear():
    x = torch.randn(50, 4)
    first, second = (GateNetwork(4, 2, GateConfig(hidden=(8,))).eval() for _ in range(2))
    first.standardise(x)
    second.standardise(1000 * x + 50)
    assert_close(first(x), second(1000 * x + 50), atol=1e-4, rtol=0)
    constant = GateNetwork(4, 2, LINEAR)
    constant.standardise(torch.ones(3, 4))
    assert constant(torch.ones(3, 4)).isfinite().all()


def test_weights_are_on_the_simplex_even_at_a_vertex():
    gate = linear_gate([[1e6], [-1e6]], [0.0, 0.0])
    weights = gate.weights_of(torch.tensor([[1.0], [-1.0], [0.0]]))
    assert weights.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]


def test_the_same_weights_in_any_batch_and_no_dropout():
    gate = Gate(GateNetwork(4, 2, GateConfig(hidden=(32,), dropout=0.9)).train(), ["a", "b"])
    x = torch.randn(6, 4)
    assert_close(gate.weights_of(x), torch.cat([gate.weights_of(row[None]) for row in x]))


def test_refuses_what_does_not_fit():
    gate = linear_gate([[1.0], [2.0]], [0.0, 0.0])
    with pytest.raises(InputError, match=r"embeddings must be \[N, 1\], found \[2, 3\]"):
        gate.weights_of(torch.zeros(2, 3))
    with pytest.raises(InputError, match="must be finite"):
        gate.weights_of(torch.full((1, 1), math.nan))
    with pytest.raises(InputError, match="has no embedder"):
        gate.weights(["p"])
    with pytest.raises(InputError, match="found one string"):
        gate.weights("p")
    with pytest.raises(InputError, match="2 outputs for 3 objectives"):
        Gate(GateNetwork(1, 2, LINEAR), ["a", "b", "c"])


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": (0,)}, {"dropout": 1.0}, {"temperature": 0.0}, {"learning_rate": -1.0}, {"steps": 0}, {"batch_size": 0},
        {"held_out": 1.0}, {"held_out": math.nan}, {"patience": 0}, {"check_every": 0}, {"weight_decay": -0.1},
    ],
)  # fmt: skip
def test_settings_are_checked(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        GateConfig(**settings)
