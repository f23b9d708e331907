"""Rewards are standardised, in conflict where they should be, covered or rare as promised."""

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.oracle import OracleWorld
from moalign.oracle.tables import all_choices, group_tables, standardise, within


def correlation(world, a, b):
    tables = world.tables_of([a, b])
    return float(torch.einsum("ps,ps->", world.log_reference.exp(), tables[..., 0] * tables[..., 1])) / len(tables)


def test_all_choices_in_order():
    assert all_choices(2, 2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_standardise_by_hand():
    values = torch.tensor([[0.0, 4.0]]).double()
    reference = torch.tensor([[0.75, 0.25]]).double()
    # mean 1, variance 0.75 * 1 + 0.25 * 9 = 3
    assert_close(standardise(values, reference), torch.tensor([[-1.0, 3.0]]).double() / 3**0.5)
    with pytest.raises(InputError, match="same for every completion"):
        standardise(torch.ones(1, 2).double(), reference)


@pytest.mark.parametrize("name", ["default_world", "rare_world"])
def test_standardised_under_the_reference(name, request):
    world = request.getfixturevalue(name)
    p = world.log_reference.exp()
    tables = world.tables_of(world.config.names)
    assert_close(torch.einsum("ps,psk->pk", p, tables), torch.zeros(4, 6).double(), atol=1e-9, rtol=0)
    assert_close(torch.einsum("ps,psk->pk", p, tables**2), torch.ones(4, 6).double())


def test_covered_means_within_three_deviations_and_seen_in_samples(default_world):
    assert default_world.tables_of(default_world.config.names).abs().max() <= 2.5
    for name in default_world.config.names:
        assert default_world.mode_probability(name) > 0.01


def test_rare_means_a_mode_that_samples_do_not_show(rare_world):
    assert 0 < rare_world.mode_probability("warm") <= 1e-3
    assert rare_world.tables_of(["warm"]).max() > 3
    assert rare_world.tables_of(["helpful", "brief"]).abs().max() <= 2.5
    assert len(rare_world.tables_of(["warm"])[0].unique()) > 3  # graded: there is a path to follow


def test_conflicts(default_world):
    assert correlation(default_world, "helpful", "brief") < -0.3
    assert correlation(default_world, "brief", "warm") < -0.2
    assert correlation(default_world, "majority", "minority") < -0.2
    assert correlation(default_world, "helpful", "harmless") < -0.3


def test_cost_is_the_negative_of_the_safety_reward(world):
    assert_close(world.tables_of(["harmless"])[..., 0], -world.cost)


def test_two_groups_without_a_shared_part_are_opposites():
    p = torch.full((1, 9), 1 / 9).double()
    features = torch.randn(2, 1, 9, generator=torch.Generator().manual_seed(0)).double()
    tables = group_tables(features, torch.zeros(1, 9).double(), p)
    assert_close(tables[..., 0], -tables[..., 1])


def test_within_squashes_only_to_the_bound():
    p = torch.full((1, 100), 0.01).double()
    values = standardise(torch.linspace(0, 1, 100)[None].double() ** 6, p)
    assert values.max() > 2.6
    squashed = within(values, 2.0, p)
    assert squashed.abs().max() <= 2.0
    assert (squashed.diff() >= 0).all()  # the order stays
    with pytest.raises(InputError, match="standard deviations; allowed"):
        within(values, 0.9, p)


def test_same_settings_same_world():
    first, second, other = (
        OracleWorld.covered(vocabulary=3, length=2, prompts=1, seed=seed).rewards for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_refuses_a_rare_world_that_is_too_small():
    with pytest.raises(InputError, match="take more tokens or a greater length"):
        OracleWorld.rare(vocabulary=2, length=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": 1}, "vocabulary must be from 2 to 26, found 1"),
        ({"vocabulary": 26, "length": 5}, "at most 200000 can be listed"),
        ({"length": 0}, "length must be at least 1"),
        ({"groups": ("all",)}, "at least two, found 1"),
        ({"shares": (0.5, 0.6)}, "shares must be 2 positive numbers with sum 1"),
        ({"objectives": ("a", "a")}, "named twice"),
        ({"objectives": ()}, "name at least one"),
        ({"spread": -1.0}, "spread must not be negative"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(InputError, match=message):
        OracleWorld.covered(**settings)
