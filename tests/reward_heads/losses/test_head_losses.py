import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

from reward_heads.cost import sign_aware_losses
from reward_heads.head import PAIR_LOSSES, RATING_LOSSES, Head
from reward_heads.losses import HeadLosses, element_losses, label_counts, mean_loss
from reward_heads.losses.davidson import davidson
from reward_heads.losses.huber import huber

NAN = math.nan
TIES = {"rao_kupper": 1.5, "davidson": 0.8}
LEVELS = {"levels": (1.0, 2.0, 5.0), "thresholds": (-1.0, 1.5)}


def head(pairs="bradley_terry", ratings="squared"):
    return Head(pairs, TIES.get(pairs), ratings, **(LEVELS if ratings == "ordinal" else {}))


EVERY_KIND = [head(pairs, ratings) for pairs in PAIR_LOSSES for ratings in RATING_LOSSES]


def batch(heads, rows=8, seed=0, missing=0.4):
    generator = torch.Generator().manual_seed(seed)
    is_pair = torch.rand(rows, generator=generator) < 0.5
    targets = torch.rand(rows, len(heads), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.2] = 0.5
    for k, one in enumerate(heads):
        if one.ratings == "ordinal":
            targets[~is_pair, k] = (3 * torch.rand((~is_pair).sum().item(), generator=generator)).floor()
    targets[torch.rand(targets.shape, generator=generator) < missing] = NAN
    return torch.randn(targets.shape, generator=generator), targets, is_pair


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_default_is_bradley_terry_and_squared_error(seed):
    heads = [Head()] * 3
    predictions, targets, is_pair = batch(heads, seed=seed)
    expected = element_losses(predictions, targets, is_pair)
    assert_close(HeadLosses(heads)(predictions, targets, is_pair), expected)
    assert_close(HeadLosses(heads, noise=[0.0] * 3)(predictions, targets, is_pair, torch.zeros_like(targets)), expected)


def test_binary_heads_are_the_sign_aware_ones():
    heads = [Head(ratings="binary"), Head(), Head(ratings="binary")]
    predictions, targets, is_pair = batch(heads)
    expected = sign_aware_losses(predictions, targets, is_pair, torch.tensor([head.sign_aware for head in heads]))
    assert_close(HeadLosses(heads)(predictions, targets, is_pair), expected)


def test_each_head_has_its_own_kind():
    heads = [head("davidson", "huber"), Head()]
    predictions, targets, is_pair = (
        torch.full((2, 2), 2.0),
        torch.tensor([[0.5, 0.5], [0.0, 0.0]]),
        torch.tensor([1, 0]),
    )
    got = HeadLosses(heads, huber_delta=0.5)(predictions, targets, is_pair.bool())
    tie = davidson(torch.tensor(2.0), torch.tensor(0.8).log()).tie
    assert_close(got[0], torch.stack([tie, torch.tensor(2.0).exp().log1p() - 1.0]))
    assert_close(got[1], torch.stack([huber(torch.tensor(2.0), torch.tensor(0.0), 0.5), torch.tensor(4.0)]))


@pytest.mark.parametrize("correction", ["unbiased", "forward", "conservative"])
@pytest.mark.parametrize("seed", range(3))
def test_a_missing_label_has_exactly_zero_loss_and_gradient(correction, seed):
    losses = HeadLosses(EVERY_KIND, noise=[0.1] * len(EVERY_KIND), correction=correction)
    predictions, targets, is_pair = batch(EVERY_KIND, seed=seed)
    predictions.requires_grad_()
    margins = torch.rand(targets.shape)
    each = losses(predictions, targets, is_pair, margins)
    mean_loss(each, label_counts(targets), torch.ones(len(EVERY_KIND))).backward()
    assert each[targets.isnan()].eq(0).all()
    assert predictions.grad[targets.isnan()].eq(0).all()
    assert predictions.grad[~targets.isnan()].ne(0).float().mean() > 0.8
    assert all(weight.grad.isfinite().all() for weight in losses.parameters())


def test_nothing_labelled_moves_nothing():
    losses = HeadLosses(EVERY_KIND)
    predictions = torch.randn(4, len(EVERY_KIND), requires_grad=True)
    losses(predictions, torch.full_like(predictions, NAN), torch.tensor([True, False] * 2)).sum().backward()
    assert predictions.grad.eq(0).all()
    assert all(weight.grad.eq(0).all() for weight in losses.parameters())


def test_what_it_is_given_it_says_again():
    for one, other in zip(HeadLosses(EVERY_KIND).heads(), EVERY_KIND, strict=True):
        assert (one.pairs, one.ratings, one.levels) == (other.pairs, other.ratings, other.levels)
        assert one.tie == pytest.approx(other.tie)
        assert one.thresholds == pytest.approx(other.thresholds, abs=1e-6)


class NoFloat64(TorchFunctionMode):
    """A device without float64 (such as MPS): only what was copied to the CPU may become it."""

    def __init__(self):
        super().__init__()
        self.copied = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function is torch.Tensor.cpu:
            self.copied.append(out)
        elif function in (torch.Tensor.double, torch.Tensor.to) and not any(args[0] is one for one in self.copied):
            assert out.dtype != torch.float64, "this device has no float64"
        return out


def test_heads_need_no_float64_on_the_device():
    losses = HeadLosses(EVERY_KIND)
    expected = losses.heads()
    with NoFloat64() as device:
        assert losses.heads() == expected
    assert device.copied


def test_ordinal_heads_of_different_numbers_of_levels():
    wide = Head(None, None, "ordinal", tuple(range(5)), (-2.0, -1.0, 0.0, 3.0))
    narrow = Head(None, None, "ordinal", (0.0, 1.0), (0.5,))
    losses = HeadLosses([narrow, Head(), wide])
    assert [one.thresholds for one in losses.heads()] == [
        pytest.approx(narrow.thresholds),
        (),
        pytest.approx(wide.thresholds, abs=1e-6),
    ]
    got = losses(torch.zeros(1, 3), torch.tensor([[1.0, NAN, 4.0]]), torch.tensor([False]))
    assert_close(got, -torch.tensor([[-0.5, math.inf, -3.0]]).sigmoid().log())


def test_fixed_ties_are_not_learned():
    assert not list(HeadLosses([head("davidson")], learn_ties=False).parameters())
    losses = HeadLosses([Head("rao_kupper", 1.0), Head("davidson", 0.0)], learn_ties=False)
    predictions, targets, is_pair = batch([Head()] * 2, missing=0.0)
    is_pair = torch.ones_like(is_pair)
    assert_close(losses(predictions, targets, is_pair), element_losses(predictions, targets, is_pair))
    assert [one.tie for one in losses.heads()] == [1.0, 0.0]


def test_is_trained_with_a_model_but_not_saved_with_it():
    model = nn.Linear(1, 1)
    model.add_module("losses", HeadLosses([head("davidson", "ordinal")]))
    assert len(list(model.parameters())) == 4
    assert list(model.state_dict()) == ["weight", "bias"]
    model.load_state_dict(nn.Linear(1, 1).state_dict())


def fitted(losses, predictions, targets, is_pair):
    """Maximum likelihood of what the losses learn, and of the predictions where they ask for it."""
    learned = [weight for weight in (*losses.parameters(), predictions) if weight.requires_grad]
    optimizer = torch.optim.LBFGS(learned, max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = losses(predictions, targets, is_pair).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return losses.heads()[0]


def test_ordinal_recovers_planted_thresholds():
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([-2.0, -0.3, 0.2, 2.5])
    scores = 2 * torch.randn(40_000, 1, generator=generator)
    levels = (scores + torch.rand(scores.shape, generator=generator).logit() > truth).sum(1, keepdim=True).float()
    start = Head(None, None, "ordinal", tuple(range(5)), (-1.5, -0.5, 0.5, 1.5))
    found = fitted(HeadLosses([start]), scores, levels, torch.zeros(len(scores), dtype=torch.bool))
    assert found.thresholds == pytest.approx(truth.tolist(), abs=0.08)


@pytest.mark.parametrize(("pairs", "tie"), [("rao_kupper", 1.7), ("davidson", 0.6)])
def test_recovers_planted_ties(pairs, tie):
    generator = torch.Generator().manual_seed(0)
    differences = 1.5 * torch.randn(40_000, 1, generator=generator)
    planted = HeadLosses([Head(pairs, tie)])
    labels = torch.tensor([1.0, 0.5, 0.0])
    every = torch.ones(len(differences), dtype=torch.bool)
    costs = torch.cat([planted(differences, labels[i].expand_as(differences), every) for i in range(3)], dim=1)
    drawn = labels[torch.multinomial(costs.neg().exp().detach(), 1, generator=generator)]
    start = Head(pairs, 3.0)
    assert fitted(HeadLosses([start]), differences, drawn, every).tie == pytest.approx(tie, rel=0.04)


@pytest.mark.parametrize("correction", ["unbiased", "forward"])
def test_noise_of_a_known_rate_does_not_bias_the_scale(correction):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40_000, 1, generator=generator)
    better = torch.rand(x.shape, generator=generator) < torch.sigmoid(2 * x)
    flipped = torch.rand(x.shape, generator=generator) < 0.2
    labels, slopes = (better ^ flipped).float(), {}
    for rate in (0.0, 0.2):
        slope = torch.ones(1, requires_grad=True)
        optimizer = torch.optim.LBFGS([slope], max_iter=100, line_search_fn="strong_wolfe")
        losses = HeadLosses([Head()], noise=[rate], correction=correction)

        def closure(optimizer=optimizer, slope=slope, losses=losses):
            optimizer.zero_grad()
            loss = losses(slope * x, labels, torch.ones(len(x), dtype=torch.bool)).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        slopes[rate] = slope.item()
    assert slopes[0.2] == pytest.approx(2.0, abs=0.1)
    assert slopes[0.0] < 1.2
