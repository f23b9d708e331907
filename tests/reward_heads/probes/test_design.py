import math

import numpy as np
import pytest
import torch

from frontier.errors import InputError
from reward_heads.probes import ProbeConfig
from reward_heads.probes.design import Design, Table, check_targets, standardiser

NAN = math.nan


def table(is_pair, a=None, b=None):
    n = len(is_pair)
    a = (
        torch.randn(n, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1]) + 5
        if a is None
        else a
    )
    b = a.flip(0) if b is None else b
    return Table.of(a, b, torch.zeros(n, 1), ["good"], torch.tensor(is_pair), None)


def test_every_feature_weighs_the_same_and_a_row_has_length_one():
    rated, pairs = table([False] * 20), table([True] * 20)
    for design in (Design.of(rated, np.arange(20)), Design.of(pairs, np.arange(20))):
        np.testing.assert_allclose(np.square(design.x).mean(0), 1 / 3)
    np.testing.assert_allclose(Design.of(rated, np.arange(20)).x.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(Design.of(pairs, np.arange(20)).centre, (pairs.a.mean(0) + pairs.b.mean(0)) / 2)


def test_pairs_and_ratings_in_one_design():
    mixed = table([True, False, False, True])
    design = Design.of(mixed, np.array([0, 1, 3]))
    np.testing.assert_allclose(design.x[0] * design.unit, mixed.a[0] - mixed.b[0])
    np.testing.assert_allclose(design.x[1] * design.unit, 0, atol=1e-12)  # the only rated completion is the centre


def test_a_feature_that_never_differs_is_not_blown_up():
    a = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    a[:, 1] = 1000.0
    design = Design.of(table([False] * 10, a, a), np.arange(10))
    assert np.isinf(design.unit[1])
    assert not design.x[:, 1].any()


def test_spectra_are_remembered():
    design = Design.of(table([False] * 10), np.arange(10))
    assert design.spectrum(np.arange(5)) is design.spectrum(np.arange(5))
    x = design.x[:5] - design.x[:5].mean(0)
    np.testing.assert_allclose(design.spectrum(np.arange(5)).values, np.linalg.eigvalsh(x.T @ x), atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features_b": torch.zeros(4, 2)}, r"features must be \[N, d\]"),
        ({"features_a": torch.zeros(3, 3)}, r"features_a \[3, 3\]"),
        ({"features_a": torch.zeros(4)}, r"features_a \[4\]"),
        ({"targets": torch.zeros(4, 2)}, r"targets must be \[N, 1\] for good, found"),
        ({"is_pair": torch.zeros(3, dtype=torch.bool)}, r"is_pair \[3\]"),
        ({"features_b": None}, "pairs need features_b"),
        ({"groups": ["a"]}, "one group per row: found 1 groups for 4 rows"),
        ({"features_a": torch.full((4, 3), NAN)}, "a feature is not finite"),
        ({"features_b": torch.full((4, 3), math.inf)}, "a feature is not finite"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    given = {
        "features_a": torch.zeros(4, 3),
        "features_b": torch.zeros(4, 3),
        "targets": torch.zeros(4, 1),
        "objectives": ["good"],
        "is_pair": torch.tensor([True, False, True, False]),
        "groups": None,
    }
    Table.of(**given)
    with pytest.raises(InputError, match=message):
        Table.of(**(given | change))


def test_features_of_b_are_not_read_in_ratings():
    Table.of(
        torch.zeros(2, 3), torch.full((2, 3), NAN), torch.zeros(2, 1), ["good"], torch.tensor([False, False]), None
    )


@pytest.mark.parametrize(
    ("targets", "pairs", "settings", "message"),
    [
        ([NAN, NAN], [True, False], {}, "rows: objective 'good' has no label in any of the 2 rows"),
        ([0.5, 1.5], [True, True], {}, r"row 1, objective 'good': the probability .* must be in \[0, 1\], found 1.5"),
        (
            [3.0, 9.0],
            [False, False],
            {"rating_range": (1, 5)},
            r"row 1, objective 'good': a rating must be in \[1, 5\], found 9",
        ),
        (
            [0.0, 2.0],
            [False, False],
            {"rating_range": {"good": (1, 5)}},
            "row 0, objective 'good': a rating must be in",
        ),
        (
            [1.0, -1.0],
            [False, False],
            {"sign_aware": ["good"]},
            r"row 1, objective 'good': a flag must be in \[0, 1\], found -1",
        ),
        (
            [1.0, 1.0],
            [False, False],
            {"sign_aware": ["good"]},
            "must be both 0 and 1 to fix its boundary, but all 2 flags are 1",
        ),
        ([1.0, 0.0], [True, True], {"sign_aware": ["good"]}, "but it has none"),
    ],
)
def test_refuses_bad_labels(targets, pairs, settings, message):
    column = torch.tensor(targets)[:, None]
    with pytest.raises(InputError, match=message):
        check_targets(column, torch.tensor(pairs), ["good"], ProbeConfig(**settings), "rows")


def test_pairs_may_be_outside_the_range_of_ratings():
    check_targets(
        torch.tensor([[0.0], [3.0]]), torch.tensor([True, False]), ["good"], ProbeConfig(rating_range=(1, 5)), "rows"
    )


def test_standardises_ratings_only():
    targets = torch.tensor([[1.0, 1.0, NAN], [3.0, 0.0, NAN], [0.9, 0.2, 0.4]])
    units = standardiser(
        targets, torch.tensor([False, False, True]), ["good", "safe", "brief"], ProbeConfig(sign_aware=["safe"])
    )
    assert units.location == (2.0, 0.0, 0.0)
    assert units.scale == pytest.approx((math.sqrt(2), 1.0, 1.0))
    assert units.n == 2
    assert standardiser(targets[2:], torch.tensor([True]), ["good", "safe", "brief"], ProbeConfig()) is None
    with pytest.raises(InputError, match="objective 'good' is 2 in all 2 scores"):
        standardiser(torch.tensor([[2.0], [2.0]]), torch.tensor([False, False]), ["good"], ProbeConfig())
