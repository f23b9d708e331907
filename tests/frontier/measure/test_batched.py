import doctest
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier import InputError, hypervolume, non_dominated
from frontier.measure import batched, kernels
from frontier.measure.batched import hypervolume_batch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def coarse_batches():
    # Few values: ties, duplicates, dominated points, points on and below the reference.
    return st.integers(2, 3).flatmap(
        lambda m: st.integers(1, 9).flatmap(
            lambda n: arrays(np.float64, (3, n, m), elements=st.integers(-1, 4).map(float))
        )
    )


def one_by_one(points, place):
    return np.array([hypervolume(front, place) for front in np.asarray(points)])


def test_examples_run():
    assert doctest.testmod(sys.modules["frontier.measure.batched"]).failed == 0


@pytest.mark.filterwarnings("ignore:every point lies below")
@settings(deadline=None)
@given(coarse_batches())
def test_agrees_with_one_front_at_a_time(points):
    place = np.zeros(points.shape[-1])
    expected = one_by_one(points, place)
    tensor = torch.from_numpy(points)
    assert hypervolume_batch(tensor, place).numpy() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    by_facets = hypervolume_batch(tensor.clone().requires_grad_(), place)
    assert by_facets.detach().numpy() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("n", [1, 50, 300])
def test_agrees_on_random_fronts(m, n, device):
    generator = np.random.default_rng([m, n])
    points = generator.normal(size=(2, 3, n, m))
    place = np.full(m, -0.5)
    tensor = torch.tensor(points, device=device, requires_grad=True)
    expected = one_by_one(points.reshape(6, n, m), place).reshape(2, 3)
    for got in (hypervolume_batch(tensor.detach(), place), hypervolume_batch(tensor, place).detach()):
        assert got.shape == (2, 3)
        assert got.device == tensor.device
        assert got.cpu().numpy() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("m", [2, 3])
def test_no_front_depends_on_how_they_are_split(m, monkeypatch):
    points = torch.rand(7, 20, m, dtype=torch.float64, generator=torch.manual_seed(0), requires_grad=True)
    whole, plain = hypervolume_batch(points, np.zeros(m)), hypervolume_batch(points.detach(), np.zeros(m))
    (gradient,) = torch.autograd.grad(whole.sum(), points)
    monkeypatch.setattr(batched, "SCANNED", 40)
    monkeypatch.setattr(batched, "SWEPT", {"cpu": 800})
    again = hypervolume_batch(points, np.zeros(m))
    assert torch.equal(again, whole)
    assert torch.equal(torch.autograd.grad(again.sum(), points)[0], gradient)
    assert torch.equal(hypervolume_batch(points.detach(), np.zeros(m)), plain)


# ---- gradients


def test_gradient_by_hand():
    # (1, 3) and (2, 2): raising the first's x widens the strip above y = 2; raising its y lifts a strip of width 1.
    points = torch.tensor([[1.0, 3.0], [2.0, 2.0]], requires_grad=True)
    hypervolume_batch(points, [0.0, 0.0]).backward()
    assert points.grad.tolist() == [[1.0, 1.0], [2.0, 1.0]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("m", [2, 3])
def test_gradient_against_finite_differences(m, device):
    generator = torch.manual_seed(m)
    points = torch.randn(2, 3, 8, m, dtype=torch.float64, generator=generator).to(device).requires_grad_()
    mask = torch.rand(2, 3, 8, generator=generator).to(device) < 0.8
    assert torch.autograd.gradcheck(lambda p: hypervolume_batch(p, [-1.0] * m, mask), (points,))


@pytest.mark.filterwarnings("ignore:every point lies below")
@settings(deadline=None)
@given(coarse_batches())
def test_no_gradient_for_what_does_not_count(points):
    place = np.zeros(points.shape[-1])
    tensor = torch.from_numpy(points).requires_grad_()
    hypervolume_batch(tensor, place).sum().backward()
    for front, gradient in zip(points, tensor.grad.numpy(), strict=True):
        above = (front > place).all(axis=1)
        kept = np.zeros(len(front), dtype=bool)
        kept[above] = non_dominated(front[above])
        # Of equal points the first has the gradient, as it is the one that the filter keeps.
        assert (gradient[~kept] == 0).all()
        assert (gradient[kept] >= 0).all()
        # Euler: a volume is homogeneous of degree m in the extents.
        assert (gradient * front).sum() == pytest.approx(len(place) * hypervolume(front, place), abs=1e-9)


def test_ascent_spreads_points_out():
    points = torch.full((4, 2), 0.1) + 0.01 * torch.rand(4, 2, generator=torch.manual_seed(0))
    points.requires_grad_()
    optimizer = torch.optim.SGD([points], lr=0.05)
    before = hypervolume_batch(points, [0.0, 0.0]).item()
    for _ in range(20):
        optimizer.zero_grad()
        (-hypervolume_batch(points, [0.0, 0.0])).backward()
        optimizer.step()
    assert hypervolume_batch(points, [0.0, 0.0]).item() > 1.1 * before


# ---- masks and edges


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("m", [2, 3])
def test_masked_points_do_not_count_whatever_they_hold(m, grad):
    points = torch.rand(4, 6, m, dtype=torch.float64, generator=torch.manual_seed(m))
    mask = torch.arange(6).expand(4, 6) < torch.tensor([[0], [1], [4], [6]])
    holes = points.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_(grad)
    got = hypervolume_batch(holes, np.zeros(m), mask)
    expected = [hypervolume(front[kept].numpy(), np.zeros(m)) for front, kept in zip(points, mask, strict=True)]
    assert got.detach().numpy() == pytest.approx(np.array(expected), rel=1e-10)
    if grad:
        got.sum().backward()
        assert holes.grad.isfinite().all()
        assert (holes.grad[~mask] == 0).all()


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("shape", [(0, 4, 2), (3, 0, 2), (0, 3), (2, 0, 4, 3)])
def test_no_fronts_and_no_points(shape, grad):
    got = hypervolume_batch(torch.zeros(shape, requires_grad=grad), torch.zeros(shape[-1]))
    assert got.shape == shape[:-2]
    assert (got == 0).all()


@pytest.mark.parametrize("m", [2, 3])
def test_keeps_the_dtype(m):
    points = torch.rand(3, 5, m, generator=torch.manual_seed(0))
    assert hypervolume_batch(points, [0.0] * m).dtype == torch.float32
    assert hypervolume_batch(points.clone().requires_grad_(), [0.0] * m).dtype == torch.float32
    assert hypervolume_batch(torch.ones(1, 1, m, dtype=torch.int64), [0.0] * m).tolist() == [1.0]


def test_reference_point_may_be_a_tensor():
    assert hypervolume_batch(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 1.0])).item() == 6.0


def test_without_moocores_c_functions(monkeypatch):
    points = torch.rand(5, 9, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    lean = hypervolume_batch(points, np.zeros(3))
    monkeypatch.setattr(kernels, "c_functions", lambda: None)
    assert hypervolume_batch(points, np.zeros(3)).numpy() == pytest.approx(lean.numpy(), rel=1e-12)


@pytest.mark.parametrize(
    ("points", "place", "mask", "message"),
    [
        (torch.ones(2, 4), [0] * 4, None, r"m = 2 or 3 objectives, found \[2, 4\]; hypervolume takes one front"),
        (torch.ones(2), [0, 0], None, r"found \[2\]"),
        ([[1.0, 2.0]], [0, 0], None, "found list"),
        (torch.ones(2, 3), [0, 0], None, "must have 3 values, one an objective, found 2"),
        (torch.ones(2, 3), [0, 0, np.nan], None, "reference point is not finite"),
        (torch.ones(5, 4, 2), [0, 0], torch.ones(4, dtype=torch.bool), r"one boolean a point, \[5, 4\], found"),
        (torch.ones(5, 4, 2), [0, 0], torch.ones(5, 4), "found torch.float32"),
    ],
)
def test_refuses(points, place, mask, message):
    with pytest.raises(InputError, match=message):
        hypervolume_batch(points, place, mask)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_refuses_what_is_not_finite_and_names_it(bad, grad):
    points = torch.ones(2, 3, 2)
    points[1, 2, 0] = bad
    with pytest.raises(InputError, match=r"point \[1, 2\] of the fronts is not finite"):
        hypervolume_batch(points.requires_grad_(grad), [0, 0])


def test_large_values_are_finite():
    points = torch.full((2, 3, 2), 1e308, dtype=torch.float64)
    assert hypervolume_batch(points, [1e308, 1e308]).tolist() == [0.0, 0.0]  # their sum is not


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision(m, grad, kind):
    points = (torch.rand(3, 5, m, generator=torch.manual_seed(0)) + 0.1).to(kind)
    expected = one_by_one(points.double(), np.zeros(m))
    tensor = points.clone().requires_grad_(grad)
    got = hypervolume_batch(tensor, torch.zeros(m, dtype=kind))
    assert got.dtype == kind
    assert got.detach().double().numpy() == pytest.approx(expected, rel=2**-8)  # one rounding, at the end
    if grad:
        got.sum().backward()
        assert tensor.grad.dtype == kind


def test_masks_of_lists_and_numpy():
    points = torch.tensor([[[1.0, 3.0], [2.0, 2.0]]])
    mask = [[True, False]]
    for given_mask in (mask, np.array(mask), np.broadcast_to(np.array(mask), (1, 2)), torch.tensor(mask)):
        assert hypervolume_batch(points, [0, 0], given_mask).tolist() == [3.0]
    for bad in ([["a", "b"]], [[True], [True, False]], [[1, 0]]):
        with pytest.raises(InputError, match="the mask must hold one boolean a point"):
            hypervolume_batch(points, [0, 0], bad)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("grad", [False, True])
def test_a_front_of_which_nothing_exists_has_0_exactly(m, grad):
    points = torch.full((2, 3, m), 5.0, requires_grad=grad)
    place = [-1e6 - 0.03] * m  # rounded to float32 it is another
    assert hypervolume_batch(points, place, torch.zeros(2, 3, dtype=torch.bool)).tolist() == [0.0, 0.0]
