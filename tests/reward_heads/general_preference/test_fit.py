import math

import pytest
import torch

from frontier.errors import InputError
from reward_heads.general_preference import GeneralPreferenceConfig, PreferenceNetwork, fit_general_preference
from reward_heads.general_preference.fit import _held_out, _order
from reward_heads.probes import fit_heads


def rock_paper_scissors(n, seed, width=12):
    """Noisy views of three kinds; each kind beats the one before it."""
    kinds = torch.randn(3, width, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 3, (n,), generator=generator)
    second = (first + torch.randint(1, 3, (n,), generator=generator)) % 3
    noise = 0.3 * torch.randn(2, n, width, generator=generator)
    return kinds[first] + noise[0], kinds[second] + noise[1], ((first - second) % 3 == 1).float()


def accuracy(p, labels):
    return ((p > 0.5).float() == labels).float().mean().item()


@pytest.mark.parametrize(
    "config",
    [
        GeneralPreferenceConfig(steps=200),
        GeneralPreferenceConfig(blocks=1, steps=200),
        GeneralPreferenceConfig(hidden=16, steps=200),
        GeneralPreferenceConfig(unit_norm=True, temperature=0.1, steps=200),
    ],
)
def test_learns_a_cycle_that_bradley_terry_cannot(config):
    a, b, labels = rock_paper_scissors(900, seed=0)
    test_a, test_b, test_labels = rock_paper_scissors(900, seed=1)
    found = fit_general_preference(a, b, labels, config)
    assert accuracy(found.probability(test_a, test_b)[:, 0], test_labels) >= 0.95
    scalar = fit_heads(a, b, labels[:, None], ["preference"]).heads
    assert abs(accuracy(torch.sigmoid(scalar(test_a) - scalar(test_b))[:, 0], test_labels) - 0.5) < 0.05


def test_bradley_terry_is_contained():
    # One block whose second coordinate is 1: the score is w · (a − b).
    network = PreferenceNetwork(3, ("good",), GeneralPreferenceConfig(blocks=1))
    w = torch.tensor([2.0, -1.0, 0.5])
    with torch.no_grad():
        network.out.weight.copy_(torch.stack([w, torch.zeros(3)]))
        network.out.bias.copy_(torch.tensor([0.7, 1.0]))
    a, b = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network.probability(a, b)[:, 0], torch.sigmoid((a - b) @ w), atol=1e-6)


def test_is_as_good_as_bradley_terry_where_that_is_true():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3000, 4, generator=generator)
    w = torch.tensor([1.5, -1.0, 0.5, 0.0])
    labels = (torch.rand(3000, generator=generator) < torch.sigmoid((a - b) @ w)).float()
    found = fit_general_preference(a[:2000], b[:2000], labels[:2000], GeneralPreferenceConfig(blocks=2, steps=200))
    truth = torch.sigmoid((a - b) @ w)[2000:]
    assert (found.probability(a[2000:], b[2000:])[:, 0] - truth).abs().mean() < 0.05


def test_objectives_are_learned_apart_and_labels_may_be_missing():
    a, b, cyclic = rock_paper_scissors(1200, seed=0)
    plain = (a[:, 0] > b[:, 0]).float()
    labels = torch.stack([cyclic, plain], dim=1)
    labels[::3, 0], labels[1::3, 1] = math.nan, math.nan
    found = fit_general_preference(a, b, labels, GeneralPreferenceConfig(steps=250), objectives=["cyclic", "plain"])
    test_a, test_b, test_labels = rock_paper_scissors(600, seed=1)
    p = found.probability(test_a, test_b)
    assert found.objectives == ("cyclic", "plain")
    assert accuracy(p[:, 0], test_labels) > 0.95
    assert accuracy(p[:, 1], (test_a[:, 0] > test_b[:, 0]).float()) > 0.9


def test_a_prompt_can_say_which_block_counts():
    # The first prompt asks for rock-paper-scissors, the second for nothing: a coin.
    a, b, labels = rock_paper_scissors(1500, seed=0)
    asks = torch.randint(0, 2, (1500,), generator=torch.Generator().manual_seed(2))
    coin = torch.randint(0, 2, (1500,), generator=torch.Generator().manual_seed(3)).float()
    config = GeneralPreferenceConfig(blocks=1, prompt_scales=True, steps=300)
    prompts = torch.nn.functional.one_hot(asks, 2).float()
    found = fit_general_preference(a, b, torch.where(asks == 0, labels, coin), config, prompt_features=prompts)
    scales = found.scales(torch.eye(2))[:, 0, 0]
    assert scales[0] > 2 * scales[1] > 0
    with pytest.raises(InputError, match="needs features of the prompts"):
        found.probability(a, b)


def test_the_same_seed_gives_the_same_model_and_leaves_the_random_state_alone():
    a, b, labels = rock_paper_scissors(200, seed=0)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (fit_general_preference(a, b, labels, GeneralPreferenceConfig(steps=20)) for _ in range(2))
    assert torch.equal(first.probability(a, b), second.probability(a, b))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features_b": torch.zeros(4, 2)}, r"must both be \[4, d\]"),
        ({"labels": torch.tensor([0.0, 1.0, 2.0, 0.0])}, r"probability in \[0, 1\]"),
        ({"labels": torch.full((4,), math.nan)}, "'preference' has no label in any of the 4 pairs"),
        ({"features_a": torch.full((4, 3), math.nan)}, "features_a must be finite"),
        ({"objectives": ["a", "b"]}, "1 columns for 2 objectives"),
        ({"config": GeneralPreferenceConfig(prompt_scales=True)}, "needs features of the prompts"),
        ({"labels": torch.zeros(4, 1, 1)}, r"labels must be \[N\] or \[N, K\]"),
    ],
)
def test_refuses(change, message):
    given = {
        "features_a": torch.zeros(4, 3),
        "features_b": torch.zeros(4, 3),
        "labels": torch.tensor([0.0, 1.0, 0.5, 1.0]),
    }
    with pytest.raises(InputError, match=message):
        fit_general_preference(**{**given, **change})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"blocks": 0}, "blocks must be at least 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"held_out": 1.0}, "held_out must be at least 0 and below 1"),
    ],
)
def test_refuses_settings(setting, message):
    with pytest.raises(InputError, match=message):
        GeneralPreferenceConfig(**setting)


def test_pairs_of_a_group_are_held_out_together():
    generator = torch.Generator().manual_seed(0)
    groups = [f"p{i % 7}" for i in range(70)]
    order = _order(70, groups, generator)
    assert sorted(order.tolist()) == list(range(70))
    assert [groups[row] for row in order.tolist()] == [groups[order[10 * g]] for g in range(7) for _ in range(10)]
    with pytest.raises(InputError, match="one for each of 3 pairs, found 2"):
        _order(3, ["a", "b"], generator)


@pytest.mark.parametrize(
    ("groups", "count", "expected"),
    [
        ("aaabbbccc", 3, 3),
        ("aaabbbccc", 4, 6),  # b is held out whole
        ("aaabbbccc", 8, 6),  # never all
        ("aaaaaaabb", 1, 7),
        ("aaaaaaaaa", 4, 4),  # one group: pairs stand alone
        ("aaabbbccc", 0, 0),
        (None, 4, 4),
    ],
)
def test_whole_groups_are_held_out(groups, count, expected):
    assert _held_out(torch.arange(9), groups, count) == expected


@pytest.mark.parametrize("labelled", ["p", "q"])
def test_a_part_that_can_not_judge_is_not_held_out(labelled):
    # One of the two groups is held out and one has labels: either nothing could be judged or nothing learned.
    a, b, labels = rock_paper_scissors(400, seed=0)
    groups = ["p"] * 200 + ["q"] * 200
    labels = labels.where(torch.tensor([group == labelled for group in groups]), math.nan)
    found, whole = (
        fit_general_preference(a, b, labels, GeneralPreferenceConfig(steps=40, held_out=share), groups=groups)
        for share in (0.1, 0.0)
    )
    assert torch.equal(found.probability(a, b), whole.probability(a, b))
    test_a, test_b, test_labels = rock_paper_scissors(400, seed=1)
    assert accuracy(found.probability(test_a, test_b)[:, 0], test_labels) > 0.9
