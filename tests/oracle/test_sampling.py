"""Sampled data: frequencies are those of the truth, records are what every reader reads."""

import collections

import pytest
import torch
from datasets import Dataset

from frontier.errors import InputError
from moalign.data import read_pairs, read_ratings
from moalign.oracle.sampling import bradley_terry


def test_bradley_terry_frequencies(generator):
    a, b = torch.full((50_000,), 1.0), torch.full((50_000,), -0.5)
    assert bradley_terry(a, b, generator).mean() == pytest.approx(torch.sigmoid(torch.tensor(1.5)).item(), abs=0.01)
    assert bradley_terry(a, b, generator, scale=100).mean() == 1
    assert bradley_terry(a, b, generator, probabilities=True)[0] == pytest.approx(0.81757, abs=1e-5)


def test_completions_come_from_the_policy(world, generator):
    records = world.sample_pairs(20_000, generator=generator)
    first = [r for r in records if r["prompt"] == world.prompts[0]]
    assert len(first) == pytest.approx(10_000, abs=300)
    seen = collections.Counter(r["completion_b"] for r in first)
    expected = dict(zip(world.completions, world.log_reference[0].exp().tolist(), strict=True))
    assert max(abs(seen[c] / len(first) - p) for c, p in expected.items()) < 0.012
    best = world.optimum("helpful=1", 0.1).log_probs
    better = world.sample_ratings(2000, generator=generator, log_probs=best)
    assert sum(r["scores"]["helpful"] for r in better) / 2000 == pytest.approx(float(world.expected(best)[0]), abs=0.1)


def test_labels_agree_with_the_true_rewards(world, generator):
    records = world.sample_pairs(200, ["warm", "harmless"], generator, probabilities=True)
    for record in records:
        rewards = world.reward_of(["warm", "harmless"]).score(
            [record["prompt"]] * 2, [record["completion_a"], record["completion_b"]]
        )
        expected = torch.sigmoid(rewards[0] - rewards[1]).tolist()
        assert list(record["labels"].values()) == pytest.approx(expected, abs=1e-6)


def test_readers_read_them(world):
    pairs = read_pairs(Dataset.from_list(world.sample_pairs(50, missing=0.3)))
    assert pairs.objectives == world.objectives
    assert len(pairs.dataset) == 50
    ratings = read_ratings(Dataset.from_list(world.sample_ratings(50)))
    assert ratings.matrix().shape == (50, 3)


def test_same_seed_same_data(world):
    draw = lambda seed: world.sample_pairs(30, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_missing_labels(world, generator):
    records = world.sample_pairs(3000, generator=generator, missing=0.5)
    known = [sum(v is not None for v in r["labels"].values()) for r in records]
    assert min(known) == 1  # never all
    assert sum(known) / 9000 == pytest.approx(2 / 3, abs=0.02)  # one is kept, half of the other two
    with pytest.raises(InputError, match="missing must be at least 0"):
        world.sample_pairs(5, missing=1.0)


def test_ratings_are_the_rewards_plus_noise(world, generator):
    exact = world.sample_ratings(100, generator=generator)
    for record in exact[:20]:
        true = world.reward.score([record["prompt"]], [record["completion"]])[0].tolist()
        assert list(record["scores"].values()) == pytest.approx(true, abs=1e-6)
    noisy = world.sample_ratings(5000, ["helpful"], generator, noise=2.0)
    values = torch.tensor([r["scores"]["helpful"] for r in noisy])
    assert values.var() == pytest.approx(5.0, abs=0.4)  # 1 + 2^2


def test_users_belong_to_groups_and_label_by_them(world, generator):
    records, group_of = world.sample_user_pairs(2000, 20, generator, scale=50.0)
    assert collections.Counter(group_of.values()) == {"majority": 16, "minority": 4}
    assert {r["user"] for r in records} == set(group_of)
    right = total = 0
    for record in records:
        truth = world.reward_of([group_of[record["user"]]])
        a, b = truth.score([record["prompt"]] * 2, [record["completion_a"], record["completion_b"]])[:, 0].tolist()
        if abs(a - b) > 0.2:
            total += 1
            right += (a > b) == (record["labels"]["liked"] == 1)
    assert right == total > 1000
    assert read_pairs(Dataset.from_list(records)).objectives == ("liked",)


def test_every_group_has_a_user(world):
    assert set(world.sample_user_pairs(10, 2)[1].values()) == {"majority", "minority"}
    with pytest.raises(InputError, match="one per group"):
        world.sample_user_pairs(10, 1)
    with pytest.raises(InputError, match="n must be at least 1"):
        world.sample_pairs(0)
