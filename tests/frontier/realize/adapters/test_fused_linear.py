import pytest
import torch
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from frontier.realize.adapters import linear
from frontier.realize.adapters.fused_linear import fused_linear, is_fusible


def made(kind=torch.nn.Linear, bias=True, dtype=torch.float64, rank=4, weights=3):
    """A frozen layer, its input `[3, 2, 5]`, the thin factors and each row's diagonal."""
    torch.manual_seed(0)
    base = (
        (torch.nn.Linear(5, 6, bias=bias) if kind is torch.nn.Linear else Conv1D(6, 5)).to(dtype).requires_grad_(False)
    )
    x, down, up = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((3, 2, 5), (5, rank), (rank, 6)))
    return base, x, down, up, torch.randn(weights, 1, rank, dtype=dtype)


def one_by_one(base, x, down, up, scale):
    return base(x) + ((x @ down) * scale) @ up


@pytest.fixture
def unfused(monkeypatch):
    """Makes layers compute their products one by one from then on."""
    return lambda: monkeypatch.setattr(linear, "is_fusible", lambda *_: False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weights", [1, 3])
@pytest.mark.parametrize("kind", [torch.nn.Linear, Conv1D])
def test_gradients_are_those_of_small_steps_twice_over(kind, weights, bias):
    base, x, down, up, scale = made(kind, bias, weights=weights)
    assert is_fusible(base, x, down, up, scale)
    assert torch.allclose(fused_linear(base, x, down, up, scale), one_by_one(base, x, down, up, scale), atol=1e-12)

    def run(*given):
        return fused_linear(base, *given, scale)

    assert torch.autograd.gradcheck(run, (x, down, up), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(run, (x, down, up))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)])
def test_only_what_is_wanted_gets_a_gradient(wanted):
    base, x, down, up, scale = made()
    given = [t.detach().requires_grad_(i in wanted) for i, t in enumerate((x, down, up))]
    fused_linear(base, *given, scale).square().sum().backward()
    expected = torch.autograd.grad(one_by_one(base, x, down, up, scale).square().sum(), (x, down, up))
    for i, (t, gradient) in enumerate(zip(given, expected, strict=True)):
        assert (t.grad is not None) == (i in wanted)
        assert t.grad is None or torch.allclose(t.grad, gradient, atol=1e-12)


def test_per_sample_gradients():
    base, x, down, up, scale = made(weights=1)

    def loss(call):
        return lambda up, one: call(base, one[None], down.detach(), up, scale).square().sum()

    found, expected = (
        torch.func.vmap(torch.func.grad(loss(call)), (None, 0))(up, x.detach()) for call in (fused_linear, one_by_one)
    )
    assert found.shape == (3, 4, 6)
    assert torch.allclose(found, expected, atol=1e-12)


def test_half_precision_is_rounded_no_more_often_than_product_by_product():
    base, x, down, up, scale = made(dtype=torch.bfloat16)
    given, scale = (x, down, up), scale.float()
    exact_base, exact = made()[0], [t.detach().double().requires_grad_() for t in given]
    exact_base.load_state_dict(base.state_dict())
    wanted = one_by_one(exact_base, *exact, scale.double())
    seed = torch.randn_like(wanted).bfloat16()
    expected = [wanted, *torch.autograd.grad(wanted, exact, seed.double())]
    out = fused_linear(base, *given, scale)
    found = [out, *torch.autograd.grad(out, given, seed)]
    for got, value in zip(found, expected, strict=True):
        assert got.dtype == torch.bfloat16
        assert (got - value).norm() <= 2**-7 * value.norm()


def test_what_is_not_fused():
    base, x, down, up, scale = made()
    assert not is_fusible(base, x.float(), down, up, scale)
    assert not is_fusible(base, x, down, up, scale.requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_fusible(base, x, down, up, scale.detach())
    scale = scale.detach()
    assert is_fusible(base, x, down, up, scale)
    for register in ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"):
        handle = getattr(base, f"register_{register}")(lambda *_: None)
        assert not is_fusible(base, x, down, up, scale), register
        handle.remove()
    base.forward = lambda x: x  # as accelerate does to move weights when they are needed
    assert not is_fusible(base, x, down, up, scale)
    assert not is_fusible(made()[0].requires_grad_(), x, down, up, scale)
    assert not is_fusible(made()[0].to("meta"), *(t.to("meta") for t in (x, down, up, scale)))
    assert not is_fusible(type("Other", (torch.nn.Linear,), {})(5, 6), x, down, up, scale)


PLAIN = {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj", "down_proj"]}
OTHER = {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ["q_proj", "up_proj", "down_proj"]}
GPT2 = {"r": 3, "lora_alpha": 6, "target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}
IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12], [1, 13, 14, 15, 16]])


def steps(mixture, weights, trained, context=None):
    """Logits and the trained adapters' gradients."""
    mixture.train_adapters(trained)
    for parameter in mixture.parameters():
        parameter.grad = None
    with mixture.steer(torch.tensor(weights)), context or torch.enable_grad():
        logits = mixture.model(IDS, use_cache=False).logits
        logits.log_softmax(-1)[..., 3].sum().backward()
    return logits.detach(), [p.grad for p in mixture.parameters()]


def same(mixture, unfused, weights, trained, context=None, close=1e-6):
    fused = steps(mixture, weights, trained, context)
    calls = []
    unfused()
    plain = steps(mixture, weights, trained, context)
    assert (fused[0] - plain[0]).norm() <= close * plain[0].norm()
    for got, expected in zip(fused[1], plain[1], strict=True):
        assert (got is None) == (expected is None)
        if got is not None:
            calls.append(got)
            assert got.shape == expected.shape
            assert (got - expected).norm() <= 1e-5 * expected.norm() + close
    assert calls


@pytest.mark.parametrize("trained", [None, ["a1"], ["a0"]])
@pytest.mark.parametrize("weights", [[0.7, 0.3], [[0.7, 0.3], [-0.5, 1.5], [0.0, 0.0]]])
@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_a_model_learns_the_same(kinds, request, unfused, architecture, weights, trained):
    options = (PLAIN, OTHER) if architecture == "qwen2" else (GPT2, GPT2)
    mixture = kinds(request.getfixturevalue(architecture), *options).mixture()
    same(mixture, unfused, weights, trained)


def test_autocast_is_as_before(kinds, qwen2, unfused):
    same(kinds(qwen2, PLAIN, OTHER).mixture(), unfused, [0.7, 0.3], None, torch.autocast("cpu", torch.bfloat16), 0.0)


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_layers(reentrant):
    base, x, down, up, scale = made()

    def run(x):
        return fused_linear(base, x, down, up, scale).tanh()

    expected = torch.autograd.grad(run(x).sum(), (x, down, up))
    if reentrant:
        checkpoint(run, x, use_reentrant=True).sum().backward()
        found = [x.grad, down.grad, up.grad]
    else:
        found = torch.autograd.grad(checkpoint(run, x, use_reentrant=False).sum(), (x, down, up))
    for got, value in zip(found, expected, strict=True):
        assert torch.equal(got, value)


def test_one_graph_serves_several_gradients():
    """As one gradient per objective needs it."""
    base, x, down, up, scale = made()
    out = fused_linear(base, x, down, up, scale)
    found = [torch.autograd.grad(out[..., i].sum(), (x, down, up), retain_graph=True) for i in (0, 1, 0)]
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))
    assert not torch.equal(found[0][2], found[1][2])
    expected = torch.autograd.grad(one_by_one(base, x, down, up, scale)[..., 1].sum(), (x, down, up))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found[1], expected, strict=True))


def test_layers_in_training_use_it(kinds, qwen2, monkeypatch):
    used = []
    monkeypatch.setattr(linear, "fused_linear", lambda *given: used.append(1) or fused_linear(*given))
    mixture = kinds(qwen2, PLAIN, PLAIN).mixture()
    mixture.train_adapters()
    with mixture.steer(torch.ones(2)):
        mixture.model(IDS)
        assert len(used) == 2 * 3  # q, v and down of two layers
        with torch.no_grad():
            mixture.model(IDS)
    assert len(used) == 2 * 3


@pytest.mark.parametrize("changed", [{"use_dora": True}, {"lora_bias": True}, {"lora_dropout": 0.3}])
def test_other_adapters_do_not(kinds, qwen2, monkeypatch, changed):
    monkeypatch.setattr(linear, "fused_linear", None)
    mixture = kinds(qwen2, PLAIN | changed, PLAIN).mixture()
    mixture.train_adapters()
    mixture.model.train()
    with mixture.steer(torch.ones(2)):
        mixture.model(IDS).logits.sum().backward()
