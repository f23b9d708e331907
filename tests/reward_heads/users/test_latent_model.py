import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import VectorReward
from reward_heads.users.latent import LatentConfig, LatentUsers, fit_latent_texts, fit_latent_users
from reward_heads.users.posterior import UserModel


class CountingEmbedder:
    """Texts as numbers of nice words, bad words and words."""

    width = 3
    fingerprint = "counts"

    def embed(self, prompts, completions):
        words = [text.split() for text in completions]
        counts = [
            [sum(w in ("good", "nice", "fine") for w in ws), sum(w in ("bad", "awful") for w in ws), len(ws)]
            for ws in words
        ]
        return torch.tensor(counts, dtype=torch.float32).reshape(-1, 3)

    def embed_prompts(self, prompts):
        return self.embed(prompts, prompts)


@pytest.fixture(scope="module")
def of_texts(rows_of):
    return fit_latent_texts(CountingEmbedder(), rows_of(), LatentConfig(dims=1, steps=30, held_out=0))


@pytest.fixture(scope="module")
def model(plant):
    x, pairs, _ = plant()
    users = [pairs.users[i] for i in pairs.user_of.tolist()]
    return fit_latent_users(x, torch.zeros_like(x), pairs.labels, users, LatentConfig(dims=2, steps=20, held_out=0))


def test_speaks_the_language_of_user_models(model):
    assert isinstance(model, UserModel)
    population = model.population()
    assert population.n == 0
    assert torch.equal(population.mean, model.prior_mean)
    assert population.mean.tolist() == [1.0, 0.0, 0.0]
    assert_close(population.std, model.prior_variance.sqrt(), atol=1e-9, rtol=0)
    found = model.posterior_of(torch.tensor([[0.1, 2.0, 0.0], [0.0, 0.0, 1.0]]), torch.tensor([1.0, torch.nan]))
    assert found.n == 1  # a missing label says nothing
    assert found.mean[1] > 0.2
    assert found.std[1] < population.std[1]
    assert torch.equal(found.samples, model.posterior_of(torch.tensor([[0.1, 2.0, 0.0]]), torch.ones(1)).samples)
    assert_close(found.samples.mean(0), found.mean, atol=1e-9, rtol=0)
    low, high = found.interval(0.9).T
    assert ((low < found.mean) & (found.mean < high)).all()
    assert (high - low)[1].item() == pytest.approx(2 * 1.645 * found.std[1].item(), rel=0.05)


def test_users_that_were_seen(model):
    assert model.of("u0").n == 30
    assert torch.equal(model.of("u3").mean, model.means[3])
    with pytest.raises(InputError, match="unknown user 'u99'"):
        model.of("u99")


def test_reads_texts(of_texts, rows_of):
    assert isinstance(of_texts, VectorReward)
    assert of_texts.score(["x"] * 2, ["good dog", "bad dog"]).shape == (2, 2)
    contrary = [row for row in rows_of() if row["user"] == "u8"]
    ask = rows_of()[:1]
    ask[0] |= {"completion_a": " the cat good", "completion_b": " the dog bad"}
    assert of_texts.population().prefers(of_texts.differences(ask)).item() > 0.5
    assert of_texts.posterior(contrary).prefers(of_texts.differences(ask)).item() < 0.5
    assert torch.equal(of_texts.posterior([]).mean, of_texts.prior_mean)
    assert of_texts.differences([]).shape == (0, 2)


def test_comes_back_from_a_folder(of_texts, rows_of, tmp_path):
    of_texts.save_pretrained(tmp_path / "latent")
    again = LatentUsers.from_pretrained(tmp_path / "latent", embedder=CountingEmbedder())
    rows = rows_of()[:7]
    assert torch.equal(again.posterior(rows).samples, of_texts.posterior(rows).samples)
    assert again.fit == of_texts.fit
    assert again.users == of_texts.users
    assert again.table() == of_texts.table()
    bare = LatentUsers.from_pretrained(tmp_path / "latent")
    with pytest.raises(InputError, match="give it an embedder"):
        bare.posterior(rows)
    other = CountingEmbedder()
    other.fingerprint = "others"
    with pytest.raises(InputError, match="another embedder"):
        LatentUsers.from_pretrained(tmp_path / "latent", embedder=other)
    bare.save_pretrained(tmp_path / "again")  # which it is stays known where it is not there
    for unread in (bare, LatentUsers.from_pretrained(tmp_path / "again")):
        with pytest.raises(InputError, match="another embedder"):
            unread.with_embedder(other)


def test_refuses_broken_folders(model, tmp_path):
    with pytest.raises(InputError, match=r"has no latent\.json"):
        LatentUsers.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    path = tmp_path / "latent.json"
    whole = json.loads(path.read_text())
    for changes, message in (
        ({"schema_version": 2}, "schema_version' must be 1, found 2"),
        ({"refin": 1}, "did you mean 'refine'"),
        ({"fit": {}}, "field 'fit' needs"),
        ({"components": ["shared"]}, r"weights must be finite and \[1, 3\]"),
    ):
        path.write_text(json.dumps(whole | changes))
        with pytest.raises(InputError, match=message):
            LatentUsers.from_pretrained(tmp_path)
    path.write_text(json.dumps({name: value for name, value in whole.items() if name != "users"}))
    with pytest.raises(InputError, match="field 'users' is missing"):
        LatentUsers.from_pretrained(tmp_path)
    path.write_text(json.dumps(whole))
    weights = tmp_path / "latent.safetensors"
    tensors = load_file(weights)
    for content, message in (
        (
            save({**tensors, "encoder.inner.weight": tensors["encoder.inner.weight"] * torch.nan}),
            "encoder is not finite",
        ),
        (b"broken", "not valid"),
    ):
        weights.write_bytes(content)
        path.write_text(json.dumps(whole))
        with pytest.raises(InputError, match="not the one that was saved with it: save again"):
            LatentUsers.from_pretrained(tmp_path)
        path.write_text(json.dumps(whole | {"weights": hashlib.sha256(content).hexdigest()}))
        with pytest.raises(InputError, match=message):
            LatentUsers.from_pretrained(tmp_path)


def test_an_infinite_standard_error_comes_back(model, tmp_path):
    model = replace(model, fit=replace(model.fit, gain=(0.25, math.inf)))
    model.save_pretrained(tmp_path)
    assert LatentUsers.from_pretrained(tmp_path).fit.gain == (0.25, math.inf)


def test_rows_without_a_label_say_nothing_and_margins_are_ignored(of_texts, rows_of):
    rows = rows_of()[:7]
    known = of_texts.posterior(rows)
    silent = [rows[0] | {"labels": labels} for labels in (None, {}, {"liked": None}, {"liked": math.nan})]
    assert torch.equal(of_texts.posterior(rows + silent).samples, known.samples)
    assert torch.equal(of_texts.posterior([row | {"margin": {"liked": 1.0}} for row in rows]).samples, known.samples)
    with pytest.raises(InputError, match="row 2"):
        of_texts.posterior([*rows[:2], rows[2] | {"labels": {"liked": 7.0}}])


def test_refuses_wrong_answers(model, of_texts):
    with pytest.raises(InputError, match=r"differences must be \[M, 3\]"):
        model.posterior_of(torch.zeros(2, 2), torch.ones(2))
    with pytest.raises(InputError, match=r"probability in \[0, 1\]"):
        model.posterior_of(torch.zeros(1, 3), torch.tensor([2.0]))
    with pytest.raises(InputError, match=r"features must be \[N, 3\]"):
        model.components(torch.zeros(2, 4))
    row = {"prompt": "p", "completion_a": "x", "completion_b": "y", "labels": {"liked": 1.0, "brief": 0.0}}
    with pytest.raises(InputError, match="labelled for liked, brief"):
        of_texts.posterior([row])
    with pytest.raises(InputError, match="row 0, field 'labels'"):
        of_texts.posterior([row | {"labels": "liked"}])
    with pytest.raises(InputError, match="rating"):
        of_texts.differences([{"prompt": "p", "completion": "x", "scores": {}}])
    with pytest.raises(InputError, match="swap test needs"):
        model.swap_test(torch.zeros(0, 3), torch.zeros(0), [])
