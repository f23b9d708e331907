import math
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from live_bytes import LiveBytes
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.scalarize.gradient_aggregation import (
    AGGREGATORS,
    NEED_ROWS,
    STATEFUL,
    TAKE_PREFERENCE,
    GradientAggregation,
    conflict_of_gramian,
    measure_conflict,
)

pytest.importorskip("torchjd")
NAN = math.nan
JACOBIAN = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
# Those whose step, to first order, lets no loss rise.
SAFE = ["UPGrad", "DualProj"]
seeds = st.integers(0, 500)


def random_jacobian(seed, k=3, p=6):
    return torch.randn(k, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_upgrad_hand_computed():
    # Each gradient projected on the plane of the other, then the mean: (-10/19, 30/19, 30/19) and (10/9, 20/9, 20/9).
    expected = torch.tensor([(-10 / 19 + 10 / 9) / 2, (30 / 19 + 20 / 9) / 2, (30 / 19 + 20 / 9) / 2])
    assert_close(GradientAggregation("UPGrad")(JACOBIAN), expected)


def test_mgda_hand_computed():
    # The shortest vector between the two gradients: 0.6 g1 + 0.4 g2.
    assert_close(GradientAggregation("MGDA")(JACOBIAN), torch.tensor([0.0, 1.0, 1.0]), atol=1e-3, rtol=0)


def test_preference_leans_the_direction():
    helpful, balanced = (GradientAggregation("UPGrad", weights=w)(JACOBIAN) for w in ([1.0, 0.0], [0.5, 0.5]))
    assert_close(helpful, torch.tensor([-10 / 19, 30 / 19, 30 / 19]))
    assert_close(balanced, GradientAggregation("UPGrad")(JACOBIAN))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_every_aggregator_runs_and_combines_agreeing_gradients_into_their_direction(name):
    gradient = torch.tensor([1.0, -2.0, 2.0])
    torch.manual_seed(0)
    combined = GradientAggregation(name)(gradient.expand(3, 3).clone())
    assert_close(combined / combined.norm(), gradient / 3, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", SAFE)
@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_no_loss_rises_to_first_order(name, seed):
    jacobian = random_jacobian(seed)
    combined = GradientAggregation(name)(jacobian)
    assert measure_conflict(jacobian, combined).rising == 0
    assert (jacobian @ combined >= -1e-6 * jacobian.norm()).all()


@pytest.mark.parametrize("name", ["UPGrad", "DualProj", "CAGrad", "AlignedMTL", "Mean", "Sum"])
@settings(deadline=None, max_examples=20)
@given(seed=seeds, order=st.permutations(range(3)), factor=st.floats(0.1, 10))
def test_permutation_equivariant_and_homogeneous(name, seed, order, factor):
    aggregation, jacobian = GradientAggregation(name), random_jacobian(seed)
    combined = aggregation(jacobian)
    near = {"atol": 1e-3 * float(jacobian.norm()), "rtol": 0}
    assert_close(aggregation(jacobian[order]), combined, **near)
    assert_close(aggregation(factor * jacobian) / factor, combined, **near)


@pytest.mark.parametrize(
    "name", ["UPGrad", "DualProj", "MGDA", "CAGrad", "ConFIG", "AlignedMTL", "IMTLG", "Mean", "Sum"]
)
def test_a_missing_objective_is_left_out(name):
    jacobian = random_jacobian(3)
    holed = torch.cat([jacobian[:1], torch.full((1, 6), NAN), jacobian[1:]])
    assert_close(GradientAggregation(name)(holed), GradientAggregation(name)(jacobian))


def test_a_missing_objective_leaves_its_preference_to_the_others():
    jacobian = random_jacobian(3)
    jacobian[1] = NAN
    got = GradientAggregation("UPGrad", weights=[0.2, 0.5, 0.3])(jacobian)
    assert_close(got, GradientAggregation("UPGrad", weights=[0.4, 0.6])(jacobian[[0, 2]]))
    only_missing = GradientAggregation("UPGrad", weights=[0.0, 1.0, 0.0])(jacobian)
    assert (only_missing == 0).all()


def losses_of(x, y):
    return [((x - 1) ** 2).sum() + y.sum(), ((x + 1) ** 2).sum()]


def test_backward_adds_to_grad_of_the_given_parameters_only():
    x, y = torch.tensor([0.5, 0.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    unused, frozen = torch.zeros(2, requires_grad=True), torch.zeros(2)
    conflict = GradientAggregation("Sum").backward(losses_of(x, y), [x, unused, frozen])
    assert_close(x.grad, torch.tensor([2.0, 0.0]))  # -1 + 3, -2 + 2
    assert y.grad is None
    assert unused.grad is None
    assert frozen.grad is None
    GradientAggregation("Sum").backward(losses_of(x, y), [x, y])
    assert_close(x.grad, torch.tensor([4.0, 0.0]))
    assert_close(y.grad, torch.tensor([1.0]))
    assert conflict.rising == 0.5
    assert conflict.metrics(["a", "b"])["grad_norm/a"] == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize("missing", [None, torch.tensor(NAN)])
def test_backward_without_an_objective_and_without_any(missing):
    x, y = torch.tensor([0.5, 0.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    first, _ = losses_of(x, y)
    conflict = GradientAggregation("UPGrad").backward([first, missing], [x])
    assert_close(x.grad, torch.tensor([-1.0, -2.0]))
    assert math.isnan(conflict.min_cosine)
    assert math.isnan(conflict.norms[1])
    before = x.grad.clone()
    conflict = GradientAggregation("UPGrad").backward([missing, missing], [x])
    assert torch.equal(x.grad, before)
    assert math.isnan(conflict.rising)


def network(layers=16, width=32, objectives=4):
    """Objectives of a residual network that disagree, and its parameters."""
    torch.manual_seed(1)
    parameters = [torch.nn.Parameter(torch.randn(width, width) / width) for _ in range(layers)]
    x = torch.randn(2, width)
    for p in parameters:
        x = x + torch.tanh(x @ p)
    targets = torch.randn(objectives, 2, width)
    return [((x - target) ** 2).mean() for target in targets], parameters


def stored(losses, parameters):
    """The matrix [K, P], as it was before it was streamed."""
    return torch.stack(
        [torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)]) for loss in losses]
    )


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_step_is_that_of_the_stored_matrix_with_torchjd_itself_where_it_can(name):
    import torchjd.aggregation

    losses, parameters = network()
    rows = stored(losses, parameters)
    aggregation = GradientAggregation(name)
    torch.manual_seed(3)
    if name in ("UPGrad", "DualProj", "CAGrad"):  # need solvers that are not installed
        expected = aggregation(rows)
    else:
        options = {"alpha": 1.0} if name == "FairGrad" else {}
        expected = getattr(torchjd.aggregation, name)(**options)(rows)
    torch.manual_seed(3)  # PCGrad and GradDrop draw
    total, conflict = aggregation.loss(losses, parameters)
    assert_close(total, sum(losses).detach(), rtol=1e-6, atol=0)
    total.backward()
    got = torch.cat([p.grad.flatten() for p in parameters])
    assert float((got - expected).norm() / expected.norm()) < 1e-5
    assert_conflicts_close(conflict, measure_conflict(rows, expected))


def assert_conflicts_close(got, expected):
    assert got.min_cosine == pytest.approx(expected.min_cosine, abs=1e-5)
    assert (got.rising, got.rising_under_mean) == (expected.rising, expected.rising_under_mean)
    assert got.norms == pytest.approx(expected.norms, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", [name for name in AGGREGATORS if name not in NEED_ROWS])
def test_no_matrix_is_stored(name):
    losses, parameters = network(layers=32, width=64)
    size = sum(p.numel() * p.element_size() for p in parameters)
    with LiveBytes(*parameters) as live:
        GradientAggregation(name).loss(losses, parameters)
    assert live.peak < 1.1 * size  # the combined gradient, where K = 4 rows are 4 of it


def test_an_aggregator_that_needs_the_rows_stores_them():
    assert set(NEED_ROWS) < set(AGGREGATORS)
    losses, parameters = network()
    with LiveBytes(*parameters) as live:
        GradientAggregation("GradDrop").loss(losses, parameters)
    assert live.peak > 4 * sum(p.numel() * p.element_size() for p in parameters)
    with pytest.raises(InputError, match=r"GradDrop needs the gradients themselves, not only their inner products"):
        GradientAggregation("GradDrop").combine(torch.eye(2))


def test_weights_of_inner_products_hand_computed():
    gramian = JACOBIAN @ JACOBIAN.T
    assert_close(GradientAggregation("MGDA").combine(gramian).float(), torch.tensor([0.6, 0.4]), atol=1e-3, rtol=0)
    holed = torch.full((3, 3), NAN)
    holed[:2, :2] = gramian
    assert_close(GradientAggregation("Sum").combine(holed).tolist(), [1.0, 1.0, 0.0])
    assert GradientAggregation("CAGrad").combine(torch.zeros(2, 2)).tolist() == [0.0, 0.0]


@settings(deadline=None, max_examples=25)
@given(seed=seeds, missing=st.sampled_from([None, 0, 2]))
def test_conflict_from_inner_products_is_that_of_the_rows(seed, missing):
    jacobian = random_jacobian(seed)
    weights = torch.randn(3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    combined = weights @ jacobian
    if missing is not None:
        jacobian[missing] = NAN
        weights[missing] = 0.0
        combined = weights.nan_to_num() @ jacobian.nan_to_num()
    assert_conflicts_close(conflict_of_gramian(jacobian @ jacobian.T, weights), measure_conflict(jacobian, combined))


def test_half_precision_parameters():
    x = torch.tensor([0.5, 0.0], requires_grad=True, dtype=torch.bfloat16)
    GradientAggregation("UPGrad").backward([((x - 1) ** 2).sum(), ((x + 1) ** 2).sum()], [x])
    assert x.grad.dtype == torch.bfloat16
    assert x.grad.isfinite().all()


def test_descent_ends_on_the_pareto_set_without_hurting_anyone():
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    centres, history = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), []
    for _ in range(200):
        losses = (x - centres).square().sum(1)
        history.append(losses.tolist())
        x.grad = None
        GradientAggregation("UPGrad").backward(losses, [x])
        with torch.no_grad():
            x -= 0.05 * x.grad
    x = x.detach()
    assert abs(float(x[1])) < 1e-3  # the Pareto set is the segment between the centres
    assert -1 <= float(x[0]) <= 1.001
    assert all(b <= a + 1e-5 for one, two in pairwise(history) for a, b in zip(one, two, strict=True))


def test_conflict_hand_computed():
    conflict = measure_conflict(torch.tensor([[1.0, 0.0], [-3.0, 0.0], [0.0, 2.0]]), torch.tensor([1.0, -1.0]))
    assert conflict.min_cosine == -1
    assert conflict.rising == pytest.approx(2 / 3)
    assert conflict.rising_under_mean == pytest.approx(1 / 3)
    assert conflict.norms == (1.0, 3.0, 2.0)


def test_agreement_and_vanished_gradients():
    agree = measure_conflict(torch.tensor([[1.0, 1.0], [2.0, 2.0]]), torch.tensor([1.0, 1.0]))
    assert agree.min_cosine == pytest.approx(1)
    assert agree.rising == agree.rising_under_mean == 0
    for name in AGGREGATORS:
        assert (GradientAggregation(name)(torch.zeros(2, 3)) == 0).all()
    assert math.isnan(measure_conflict(torch.zeros(2, 3), torch.zeros(3)).min_cosine)


@pytest.mark.parametrize("name", ["upgrad", "UP-Grad", "up_grad"])
def test_the_spelling_of_a_name_is_free(name):
    assert GradientAggregation(name).name == "UPGrad"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"aggregator": "UPGard"}, "did you mean 'UPGrad'"),
        ({"aggregator": "xyz"}, "Valid: UPGrad, DualProj"),
        ({"aggregator": "NashMTL"}, "keeps state between steps"),
        ({"aggregator": "MGDA", "weights": [0.5, 0.5]}, "takes no weights; those that do: UPGrad"),
        ({"weights": [0.5, -0.5]}, "weights must be finite"),
        ({"weights": [0.0, 0.0]}, "not all 0"),
        ({"aggregator": "MGDA", "epsilonn": 1.0}, "MGDA: .*epsilonn"),
        ({"aggregator": "CAGrad", "d": 1.0}, "unknown option of CAGrad 'd'"),
        ({"aggregator": "CAGrad", "c": 2.0}, "less than 1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        GradientAggregation(**arguments)


def test_refuses_bad_gradients_and_no_parameters():
    aggregation = GradientAggregation("UPGrad", weights=[0.5, 0.5])
    with pytest.raises(InputError, match=r"\[K, P\] with K = 2, found shape \[3, 2\]"):
        aggregation(torch.zeros(3, 2))
    with pytest.raises(InputError, match="gradient of objective 1 is not finite"):
        aggregation(torch.tensor([[1.0, 0.0], [math.inf, 0.0]]))
    with pytest.raises(InputError, match=r"\[K, K\] with K = 2, found shape \[3, 3\]"):
        aggregation.combine(torch.zeros(3, 3))
    x = torch.tensor([0.0], requires_grad=True)
    with pytest.raises(InputError, match="gradient of objective 0 is not finite"):
        aggregation.backward([x.sqrt().sum(), x.sum()], [x])
    assert x.grad is None
    with pytest.raises(InputError, match="no parameter requires a gradient"):
        aggregation.backward([x.sum(), x.sum()], [torch.zeros(1)])


def test_without_torchjd_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(InputError, match=r"pip install moalign\[bench\]"):
        GradientAggregation("MGDA")


def test_the_lists_name_classes_that_torchjd_has():
    import torchjd.aggregation

    assert all(hasattr(torchjd.aggregation, name) for name in (*AGGREGATORS, *STATEFUL))
    assert set(TAKE_PREFERENCE) <= set(AGGREGATORS)
