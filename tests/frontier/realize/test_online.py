import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.testing import assert_close

from frontier.errors import InputError
from frontier.realize.online import OnDARE, OnTIES, reference_change

METHODS = [OnDARE, OnTIES]
INNER = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
}


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def change(model, size=0.3):
    generator = torch.Generator().manual_seed(7)
    return {name: torch.randn(p.shape, generator=generator) * size for name, p in model.named_parameters()}


def train(model, optimizer, steps, start=0, scheduler=None):
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 6, generator=generator).to(next(model.parameters()).dtype)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return [p.detach().clone() for p in model.parameters()]


def one_step(method, theta, gradient, tau, lr=1.0, **options):
    """θ after one step of plain gradient descent (Δ = −lr·gradient) under the method."""
    p = nn.Parameter(torch.tensor(theta))
    inner = torch.optim.SGD([("p", p)], lr=lr)
    optimizer = method(inner, {"p": torch.tensor(tau)}, **options)
    p.grad = torch.tensor(gradient)
    optimizer.step()
    return p.detach()


def test_ondare_by_hand():
    # p = 1 keeps all: θ + 0.75·(−gradient) + 0.25·τ.
    got = one_step(OnDARE, [1.0, 2.0], [2.0, -4.0], [4.0, 8.0], alpha=0.25, keep=1.0)
    assert_close(got, torch.tensor([1 - 1.5 + 1.0, 2 + 3 + 2.0]))


def test_onties_by_hand():
    # p = 1/2 keeps two of four: Δ = (−8, 4, ., .) and τ = (6, ., ., −2); weighted by 1/2: (−4 | 3), (2 | .), (. | .), (. | −1).
    case = {"theta": [0.0] * 4, "gradient": [8.0, -4.0, 1.0, -1.0], "tau": [6.0, 1.0, 1.0, -2.0], "keep": 0.5}
    got = one_step(OnTIES, alpha=0.5, **case)
    assert_close(got, torch.tensor([-4.0, 2.0, 0.0, -1.0]))
    # With α = 3/4 the reference wins the first: (−2 | 4.5).
    got = one_step(OnTIES, alpha=0.75, **case)
    assert_close(got, torch.tensor([4.5, 1.0, 0.0, -1.5]))
    # Unweighted −8 + 6 is negative whatever α is.
    got = one_step(OnTIES, alpha=0.75, elect="unweighted", **case)
    assert_close(got, torch.tensor([-2.0, 1.0, 0.0, -1.5]))
    # L1 norms: 14 of Δ and 10 of τ are given to survivors of 12 and 8.
    got = one_step(OnTIES, alpha=0.5, rescale=True, **case)
    assert_close(got, torch.tensor([-4.0 * 14 / 12, 2.0 * 14 / 12, 0.0, -1.0 * 10 / 8]))


def test_an_unweighted_draw_counts_as_positive():
    got = one_step(OnTIES, [0.0, 0.0], [1.0, -1.0], [1.0, -1.0], alpha=0.5, keep=1.0, elect="unweighted")
    assert_close(got, torch.tensor([0.5, 0.5]))  # −1 and 1 cancel: only the positive one of each stays
    got = one_step(OnTIES, [0.0], [1.0], [1.0], alpha=0.5, keep=1.0)
    assert_close(got, torch.tensor([0.0]))  # weighted: no majority, nobody moves


def test_rescaled_ondare_divides_by_p_and_clamps():
    theta = torch.zeros(20_000)
    got = one_step(OnDARE, theta.tolist(), [-0.02] * 20_000, [0.5] * 20_000, alpha=0.5, keep=0.1, rescale=True)
    # Δ survives as 0.5·0.2, τ as 0.5·min(5, 1).
    values = {round(v, 4) for v in got.unique().tolist()}
    assert values == {0.0, 0.1, 0.5, 0.6}
    looser = one_step(OnDARE, [0.0], [0.0], [0.5], alpha=0.5, keep=1.0, rescale=True, clamp=0.25)
    assert looser.item() == 0.125


@pytest.mark.parametrize("rescale", [False, True])
def test_expectation_of_ondare(rescale):
    n, alpha, keep = 200_000, 0.3, 0.2
    got = one_step(OnDARE, [1.0] * n, [0.02] * n, [0.05] * n, alpha=alpha, keep=keep, rescale=rescale)
    expected = (1 if rescale else keep) * ((1 - alpha) * -0.02 + alpha * 0.05)
    spread = float(got.std()) / n**0.5
    assert float((got - 1).mean()) == pytest.approx(expected, abs=5 * spread)
    assert 5 * spread < abs(expected) / 2 or rescale  # narrow enough to tell the two apart


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"every": 3}, {"compensate": True}, {"rescale": True}])
def test_keeping_all_and_merging_nothing_is_the_inner_optimizer_bit_for_bit(method, inner, dtype, options):
    plain, merged = network(dtype), network(dtype)
    tau = change(plain)
    optimizer = method(
        INNER[inner](merged.parameters()), tau, parameters=merged.named_parameters(), alpha=0.0, keep=1.0, **options
    )
    expected = train(plain, INNER[inner](plain.parameters()), 7)
    for got, wanted in zip(train(merged, optimizer, 7), expected, strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("method", METHODS)
def test_alpha_one_walks_along_the_reference_alone(method):
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    tau = change(model, 0.01)
    optimizer = method(INNER["sgd"](model.named_parameters()), tau, alpha=1.0, keep=1.0)
    for got, start, t in zip(train(model, optimizer, 3), before, tau.values(), strict=True):
        assert_close(got, start + 3 * t)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(METHODS), st.floats(0, 1), st.floats(0.01, 1), st.integers(0, 100))
def test_f_keeps_its_share(method, alpha, keep, seed):
    """Without a reference exactly (OnTIES) or about (OnDARE) p of the entries move, by (1−α)Δ."""
    n = 1000
    generator = torch.Generator().manual_seed(seed)
    gradient = torch.randn(n, generator=generator)
    got = one_step(method, [0.0] * n, gradient.tolist(), [0.0] * n, alpha=alpha, keep=keep, seed=seed)
    moved = got != 0
    assert_close(got[moved], -(1 - alpha) * gradient[moved])
    if alpha == 1:
        assert not moved.any()
    elif method is OnTIES:
        assert int(moved.sum()) == max(1, int(keep * n))
        assert keep == 1 or gradient[moved].abs().min() >= gradient[~moved].abs().max()
    else:
        assert abs(float(moved.float().mean()) - keep) < 5 * (keep * (1 - keep) / n) ** 0.5 + 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options", [{}, {"every": 4}, {"compensate": True}, {"every": 4, "compensate": True, "rescale": True}]
)
def test_resumed_ends_bit_equal(method, options, tmp_path):
    def build():
        model = network()
        optimizer = method(
            INNER["adamw"](model.named_parameters()), change(model), alpha=1e-4, keep=0.3, seed=5, **options
        )
        return model, optimizer, StepLR(optimizer, 2, 0.5)

    model, optimizer, scheduler = build()
    train(model, optimizer, 5, scheduler=scheduler)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save(state, tmp_path / "state.pt")
    expected = train(model, optimizer, 6, start=5, scheduler=scheduler)
    other, second, schedule = build()
    second.settings["seed"] = 99  # comes back from the state, as a learning rate does
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    kept = copy.deepcopy(loaded)
    other.load_state_dict(loaded["model"])
    second.load_state_dict(loaded["optimizer"])
    schedule.load_state_dict(loaded["scheduler"])
    for got, wanted in zip(train(other, second, 6, start=5, scheduler=schedule), expected, strict=True):
        assert torch.equal(got, wanted)
    # The second's steps wrote nothing into what it was given.
    for key in ("anchor", "residual"):
        before, after = kept["optimizer"]["online_merging"][key], loaded["optimizer"]["online_merging"][key]
        pairs = (
            zip(before.values(), after.values(), strict=True)
            if isinstance(before, dict)
            else zip(before or [], after or [], strict=True)
        )
        assert all(torch.equal(a, b) for a, b in pairs)


def test_masks_depend_on_seed_step_and_parameter_alone():
    def first_masks(seed, steps=1):
        model = network()
        optimizer = OnDARE(torch.optim.SGD(model.named_parameters(), lr=1.0), change(model, 0.0), keep=0.5, seed=seed)
        before = [p.detach().clone() for p in model.parameters()]
        torch.manual_seed(torch.seed())  # the global generator takes no part
        return [a != b for a, b in zip(train(model, optimizer, steps), before, strict=True)]

    assert all(torch.equal(a, b) for a, b in zip(first_masks(1), first_masks(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first_masks(1), first_masks(2), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first_masks(1), first_masks(1, 2), strict=True))


def test_the_published_alpha_is_lost_in_rounding_unless_compensated():
    steps, alpha, tau = 200, 1e-7, 1e-3

    def moved(dtype, **options):
        p = nn.Parameter(torch.full((4,), 0.02, dtype=dtype))
        optimizer = OnDARE(
            torch.optim.SGD([("p", p)], lr=0.0), {"p": torch.full((4,), tau)}, alpha=alpha, keep=1.0, **options
        )
        start = p.detach().clone()
        for _ in range(steps):
            p.grad = torch.ones_like(p)
            optimizer.step()
        return (p.detach() - start).double(), optimizer

    assert not moved(torch.float32)[0].any()
    assert_close(
        moved(torch.float32, compensate=True)[0], torch.full((4,), steps * alpha * tau).double(), rtol=0.05, atol=0
    )
    # bfloat16 holds no such change even when summed, but nothing of it is lost.
    got, optimizer = moved(torch.bfloat16, compensate=True)
    assert not got.any()
    assert_close(
        optimizer.state_dict()["online_merging"]["residual"][0],
        torch.full((4,), steps * alpha * tau),
        rtol=1e-4,
        atol=0,
    )


def test_every_k_steps_the_sum_is_merged():
    p = nn.Parameter(torch.zeros(1))
    optimizer = OnDARE(torch.optim.SGD([("p", p)], lr=1.0), {"p": torch.ones(1)}, alpha=0.5, keep=1.0, every=3)
    seen = []
    for gradient in (-1.0, -2.0, -3.0, -4.0):
        p.grad = torch.tensor([gradient])
        optimizer.step()
        seen.append(p.item())
    assert seen == [1.0, 3.0, 3.5, 7.5]  # 0 + ½·6 + ½·1


def test_a_parameter_without_gradient_is_left_alone():
    model = network()
    optimizer = OnDARE(INNER["sgd"](model.named_parameters()), change(model), alpha=0.5, keep=1.0)
    before = model[0].weight.detach().clone()
    model[0].weight.requires_grad_(False)
    train(model, optimizer, 2)
    assert torch.equal(model[0].weight, before)


def test_groups_schedulers_and_accelerate_see_an_ordinary_optimizer():
    from accelerate import Accelerator

    model = network()
    last = [("2.weight", model[2].weight), ("2.bias", model[2].bias)]
    inner = torch.optim.AdamW(
        [{"params": [("0.weight", model[0].weight), ("0.bias", model[0].bias)], "lr": 0.5}], lr=1.0
    )
    optimizer = OnTIES(inner, change(model), keep=0.5)
    optimizer.add_param_group({"params": last, "lr": 0.25})
    scheduler = StepLR(optimizer, 1, 0.5)
    accelerator = Accelerator(cpu=True)
    model, wrapped, scheduler = accelerator.prepare(model, optimizer, scheduler)
    optimizer = wrapped.optimizer
    assert isinstance(optimizer, OnTIES)
    before = [p.detach().clone() for p in model.parameters()]
    x = torch.randn(4, 6)
    for _ in range(2):
        wrapped.zero_grad()
        accelerator.backward(model(x).square().sum())
        wrapped.step()
        scheduler.step()
    assert optimizer.steps == 2
    assert [group["lr"] for group in inner.param_groups] == [0.125, 0.0625]
    assert inner.param_groups is optimizer.param_groups
    assert all(not torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_a_closure_is_run_by_the_inner_optimizer():
    model = network()
    optimizer = OnDARE(
        torch.optim.LBFGS(model.parameters()), change(model), parameters=model.named_parameters(), keep=1.0, alpha=0.0
    )

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(3, 6)).square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert float(closure()) < float(first)


def test_the_change_of_a_pair():
    base, tuned = network(), network()
    with torch.no_grad():
        for p in tuned.parameters():
            p += 0.5
    for got in (reference_change(tuned, base), reference_change(tuned.state_dict(), base.state_dict())):
        assert set(got) == set(dict(base.named_parameters()))
        assert all(torch.allclose(t, torch.full_like(t, 0.5)) for t in got.values())
    with pytest.raises(InputError, match=r"'2\.bias' is in only one"):
        reference_change(tuned, {k: v for k, v in base.state_dict().items() if k != "2.bias"})
    with pytest.raises(InputError, match=r"'2\.bias' is \[2\] in the tuned model and \[9\]"):
        reference_change(tuned, {**base.state_dict(), "2.bias": torch.zeros(9)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.1}, "alpha must be"),
        ({"alpha": 1.5}, "alpha must be"),
        ({"keep": 0.0}, "keep must be"),
        ({"every": 0}, "every must be"),
        ({"clamp": 0.0}, "clamp must be"),
    ],
)
def test_refuses_bad_settings(options, message):
    model = network()
    with pytest.raises(InputError, match=message):
        OnDARE(INNER["sgd"](model.named_parameters()), change(model), **options)


def test_refuses_what_does_not_fit():
    model = network()
    inner, tau = INNER["sgd"](model.named_parameters()), change(model)
    with pytest.raises(InputError, match="did you mean 'weighted'"):
        OnTIES(inner, tau, elect="weightd")
    with pytest.raises(InputError, match="has no name"):
        OnDARE(INNER["sgd"](model.parameters()), tau)
    with pytest.raises(InputError, match=r"'2\.bias'.*partial=True|partial=True.*'2\.bias'"):
        OnDARE(inner, {k: v for k, v in tau.items() if k != "2.bias"})
    OnDARE(inner, {}, partial=True)
    with pytest.raises(InputError, match=r"'2\.bias' is \[9\], the parameter \[2\]"):
        OnDARE(inner, {**tau, "2.bias": torch.zeros(9)})
    sharded = nn.Parameter(torch.zeros(2))
    sharded.device_mesh = "two processes"
    with pytest.raises(InputError, match="sharded parameters are not supported"):
        OnDARE(torch.optim.SGD([("2.bias", sharded)]), tau)
    with pytest.raises(InputError, match="NaN"):
        OnDARE(inner, {**tau, "2.bias": torch.full((2,), float("nan"))})
    optimizer = OnDARE(inner, tau)
    with pytest.raises(InputError, match="saved by a plain optimizer, not by OnDARE"):
        optimizer.load_state_dict(inner.state_dict())
    with pytest.raises(InputError, match="saved by OnTIES, not by OnDARE"):
        optimizer.load_state_dict(OnTIES(inner, tau).state_dict())
    with pytest.raises(InputError, match="another reference change"):
        optimizer.load_state_dict(OnDARE(inner, change(model, 0.1)).state_dict())
