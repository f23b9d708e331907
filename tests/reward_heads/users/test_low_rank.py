"""Low-rank users: planted bases, the rank, texts, files, refusals."""

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users import LowRankConfig, LowRankUsers, UserModel, fit_low_rank_texts, fit_low_rank_users
from reward_heads.vector_reward import VectorReward

CONFIG = LowRankConfig(max_rank=3, draws=64, samples=500, restarts=2, rounds=10)


def crowd(users=40, pairs=30, rank=2, d=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    bases = 6 * torch.nn.functional.normalize(torch.randn(d, rank, generator=draw).double(), dim=0)
    tastes = torch.softmax(2 * torch.randn(users, rank, generator=draw).double(), dim=1) @ bases.T
    x = torch.randn(users, pairs, d, generator=draw).double()
    margins = torch.einsum("hnd,hd->hn", x, tastes)
    labels = (torch.rand(users, pairs, generator=draw) < torch.sigmoid(margins)).double()
    names = [f"u{i}" for i in range(users) for _ in range(pairs)]
    return (x.flatten(0, 1), torch.zeros(users * pairs, d), labels.flatten(), names), tastes, x, labels


@pytest.fixture(scope="module")
def fitted():
    data, tastes, x, labels = crowd()
    return fit_low_rank_users(*data, CONFIG), data, tastes, x, labels


def test_finds_rank_and_tastes(fitted):
    model, _, tastes, x, labels = fitted
    assert isinstance(model, UserModel)
    assert model.names == ("base1", "base2")
    assert [row.groups for row in model.likelihood] == [1, 2, 3]
    assert "<- chosen" in model.table()
    found = model.seen.means @ model.bases.T
    both = torch.stack([(t - t.mean(0)).flatten() for t in (found, tastes)])
    assert torch.corrcoef(both)[0, 1] > 0.9
    means = model.population().mean
    assert means[0] >= means[1] - 0.01  # the base of the largest mean weight first
    known = model.posterior_of(model.components(x[0]), labels[0])
    assert torch.nn.functional.cosine_similarity(model.taste_of(known), tastes[0], dim=0) > 0.95
    assert_close(known.mean, model.seen.means[0], atol=0.02, rtol=0)


def test_one_taste_is_one_base():
    data = crowd(rank=1, users=20)[0]
    model = fit_low_rank_users(*data, LowRankConfig(max_rank=2, draws=64, samples=64, restarts=1, rounds=5))
    assert model.names == ("base1",)
    assert torch.equal(model.population().mean, torch.ones(1).double())
    x = model.components(data[0][:3])
    assert_close(model.posterior_of(x, torch.ones(3)).prefers(x), torch.sigmoid(x[:, 0]))


def test_equal_seeds_give_equal_models(fitted):
    model, data, *_ = fitted
    again = fit_low_rank_users(*data, CONFIG)
    assert torch.equal(model.bases, again.bases)
    assert torch.equal(model.seen.means, again.seen.means)


def test_a_fixed_rank_without_held_out_pairs(fitted):
    _, data, *_ = fitted
    model = fit_low_rank_users(*data, LowRankConfig(rank=2, held_out=0.0, draws=64, samples=64, restarts=1, rounds=3))
    assert model.likelihood == ()


def test_the_units_of_features_do_not_matter(fitted):
    model, data, *_ = fitted
    units = torch.tensor([1.0, 10.0, 0.1, 3.0])
    other = fit_low_rank_users(data[0] * units, data[1], *data[2:], CONFIG)
    assert_close(other.bases * units[:, None], model.bases, atol=1e-3, rtol=1e-3)


class Letters:
    """Texts to counts of letters; a `TextEmbedder`."""

    width, fingerprint = 4, "letters"

    def embed(self, prompts, completions):
        return torch.tensor([[float(text.count(letter)) for letter in "abcd"] for text in completions])

    def embed_prompts(self, prompts):
        return self.embed(prompts, prompts)


def rows():
    wants = {"u1": "a", "u2": "b", "u3": "a", "u4": "b"}
    pairs = [("a", "b"), ("bb", "a"), ("aab", "d"), ("c", "b"), ("ab", "aa"), ("bd", "ac")]
    return [
        {
            "prompt": "p",
            "completion_a": a,
            "completion_b": b,
            "labels": {"liked": float(a.count(letter) >= b.count(letter))},
            "user": user,
        }
        for user, letter in wants.items()
        for a, b in pairs * 3
    ]


def test_texts_and_files(tmp_path):
    model = fit_low_rank_texts(Letters(), rows(), LowRankConfig(rank=2, held_out=0.0, draws=64, samples=200, rounds=5))
    assert isinstance(model, VectorReward)
    assert model.objective == "liked"
    scores = model.score(["p", "p"], ["aab", "d"])
    assert scores.dtype == torch.float32
    assert_close((scores[0] - scores[1]).double(), model.differences([rows()[2]])[0], atol=1e-5, rtol=1e-5)
    known = model.posterior(rows()[:6])
    assert known.n == 6
    assert known.prefers(model.differences([{"prompt": "p", "completion_a": "a", "completion_b": "b"}])) > 0.6
    assert torch.equal(model.posterior([]).samples, model.population().samples)

    model.save_pretrained(tmp_path / "m")
    again = LowRankUsers.from_pretrained(tmp_path / "m", embedder=Letters())
    assert torch.equal(again.posterior(rows()[:6]).samples, known.samples)
    silent = LowRankUsers.from_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match="no embedder"):
        silent.score(["p"], ["a"])
    assert silent.with_embedder(Letters()).posterior(rows()[:6]).n == 6
    other = Letters()
    other.fingerprint = "other"
    with pytest.raises(InputError, match="another embedder"):
        LowRankUsers.from_pretrained(tmp_path / "m", embedder=other)
    silent.save_pretrained(tmp_path / "again")  # which it is stays known where it is not there
    for unread in (silent, LowRankUsers.from_pretrained(tmp_path / "again")):
        with pytest.raises(InputError, match="another embedder"):
            unread.with_embedder(other)


def test_the_table_survives_saving(fitted, tmp_path):
    model = fitted[0]
    model.save_pretrained(tmp_path)
    again = LowRankUsers.from_pretrained(tmp_path)
    assert again.likelihood == model.likelihood
    assert again.table() == model.table()
    (tmp_path / "low_rank.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="not the one that was saved with it"):
        LowRankUsers.from_pretrained(tmp_path)


def test_refuses(fitted):
    model, (a, b, p, users), *_ = fitted
    with pytest.raises(
        InputError, match="max_rank is 6, but 40 users with labelled pairs and 4 features allow at most 5"
    ):
        fit_low_rank_users(a, b, p, users, LowRankConfig(max_rank=6))
    with pytest.raises(InputError, match="features must both be"):
        fit_low_rank_users(a, b[:3], p, users)
    with pytest.raises(InputError, match="a feature is not finite"):
        fit_low_rank_users(a * torch.nan, b, p, users)
    with pytest.raises(InputError, match=r"bases must be finite and \[d, 2\], found \[4, 3\]"):
        LowRankUsers(model.prior, model.seen, bases=torch.zeros(4, 3).double())
