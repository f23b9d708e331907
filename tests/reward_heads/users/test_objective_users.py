"""Weights of known objectives: recovery, uncertainty, texts, files, refusals."""

import json
import os
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users import (
    LowRankConfig,
    LowRankUsers,
    ObjectiveUsers,
    UserModel,
    fit_objective_texts,
    fit_objective_users,
)

NAMES = ("helpful", "harmless", "brief")
CONFIG = LowRankConfig(draws=64, samples=500)


def crowd(users=60, pairs=40, nats=8.0, seed=0):
    draw = torch.Generator().manual_seed(seed)
    weights = torch.softmax(torch.randn(users, 3, generator=draw).double(), dim=1)
    x = torch.randn(users, pairs, 3, generator=draw).double()
    margins = nats * torch.einsum("hnk,hk->hn", x, weights)
    labels = (torch.rand(users, pairs, generator=draw) < torch.sigmoid(margins)).double()
    return x, labels, weights


def flat(x, labels):
    users = [f"u{i}" for i in range(len(x)) for _ in range(x.shape[1])]
    return x.flatten(0, 1), torch.zeros_like(x.flatten(0, 1)), labels.flatten(), users


@pytest.fixture(scope="module")
def fitted():
    x, labels, weights = crowd()
    return fit_objective_users(*flat(x, labels), NAMES, CONFIG), x, labels, weights


def test_finds_weights_and_temperature(fitted):
    model, _, _, weights = fitted
    assert isinstance(model, UserModel)
    both = torch.stack([(w - w.mean(0)).flatten() for w in (model.seen.means, weights)])
    assert torch.corrcoef(both)[0, 1] > 0.93
    assert model.prior.mean[-1].exp().item() == pytest.approx(8, rel=0.25)
    ends = model.seen.intervals
    assert 0.8 < ((weights >= ends[..., 0]) & (weights <= ends[..., 1])).double().mean() < 0.97
    assert model.weights_of("u3") == pytest.approx(dict(zip(NAMES, model.seen.means[3].tolist(), strict=True)))
    assert_close(model.interval_of("u3"), ends[3])
    assert "helpful" in model.table()


def test_a_new_user_is_learned_from_pairs(fitted):
    model, x, labels, weights = fitted
    nobody = model.population()
    assert nobody.n == 0
    assert_close(nobody.mean, weights.mean(dim=0), atol=0.06, rtol=0)
    few, many = (model.posterior_of(x[0, :n], labels[0, :n]) for n in (3, 40))
    assert (few.n, many.n) == (3, 40)
    width = [(p.interval()[:, 1] - p.interval()[:, 0]).mean().item() for p in (nobody, few, many)]
    assert width[0] > width[1] > width[2]
    truth = (x[1] @ weights[0] > 0).double()
    assert ((many.prefers(x[1]) > 0.5).double() == truth).double().mean() > 0.85


def test_a_shared_temperature():
    x, labels, weights = crowd(users=50, pairs=30)
    model = fit_objective_users(*flat(x, labels), NAMES, LowRankConfig(draws=64, samples=500, temperature="shared"))
    assert model.prior.log_temperature is not None
    assert torch.tensor(model.prior.log_temperature).exp().item() == pytest.approx(8, rel=0.25)
    assert_close(model.population().tastes.sum(dim=1).std().item(), 0.0, atol=1e-9, rtol=0)
    assert torch.corrcoef(torch.stack([model.seen.means.flatten(), weights.flatten()]))[0, 1] > 0.9


def test_the_units_of_the_scores_only_move_the_temperature(fitted):
    model, x, labels, _ = fitted
    other = fit_objective_users(*flat(100 * x, labels), NAMES, CONFIG)
    assert_close(other.seen.means, model.seen.means, atol=0.02, rtol=0)


def test_equal_seeds_give_equal_models(fitted):
    model, x, labels, _ = fitted
    again = fit_objective_users(*flat(x, labels), NAMES, CONFIG)
    assert torch.equal(model.prior.covariance, again.prior.covariance)
    assert torch.equal(model.seen.means, again.seen.means)


class Counts:
    """How often each of three letters comes."""

    objectives = NAMES

    def score(self, prompts, completions):
        return torch.tensor([[float(text.count(letter)) for letter in "abc"] for text in completions])


def rows_of(x_labels_users):
    return [
        {"prompt": "p", "completion_a": a, "completion_b": b, "labels": {"liked": label}, "user": user}
        for a, b, label, user in x_labels_users
    ]


def test_texts():
    rows = rows_of([("aa", "bb", 1.0, "u1"), ("c", "a", 0.0, "u1"), ("bb", "c", 1.0, "u2"), ("a", "bb", 0.0, "u2")] * 4)
    model = fit_objective_texts(Counts(), rows, CONFIG)
    assert model.objective == "liked"
    assert_close(model.differences(rows[:2]), torch.tensor([[2.0, -2.0, 0.0], [-1.0, 0.0, 1.0]]).double())
    assert model.differences([{"prompt": "p", "completion_a": "a", "completion_b": "b"}]).shape == (1, 3)
    found = model.posterior(rows[:2])
    assert found.n == 2
    assert found.weights["helpful"] > model.posterior([]).weights["helpful"]
    assert torch.equal(model.posterior([]).samples, model.population().samples)
    with pytest.raises(InputError, match="no reward to read texts with"):
        ObjectiveUsers(model.prior, model.seen).posterior(rows)


def test_saves_and_loads(fitted, tmp_path):
    model, x, labels, _ = fitted
    model.save_pretrained(tmp_path / "m")
    again = ObjectiveUsers.from_pretrained(tmp_path / "m", reward=Counts())
    assert torch.equal(again.posterior_of(x[0], labels[0]).samples, model.posterior_of(x[0], labels[0]).samples)
    assert again.weights_of("u5") == model.weights_of("u5")
    with pytest.raises(InputError, match="holds ObjectiveUsers, not LowRankUsers"):
        LowRankUsers.from_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "low_rank.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"sede": 1}))
    with pytest.raises(InputError, match="unknown field 'sede': did you mean 'seed'"):
        ObjectiveUsers.from_pretrained(tmp_path / "m")
    path.write_text(json.dumps({name: value for name, value in content.items() if name != "users"}))
    with pytest.raises(InputError, match="field 'users' is missing"):
        ObjectiveUsers.from_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match="holds no ObjectiveUsers"):
        ObjectiveUsers.from_pretrained(tmp_path)


def test_refuses(fitted):
    model, x, labels, _ = fitted
    a, b, p, users = flat(x, labels)
    with pytest.raises(InputError, match="at least two objectives, found only 'helpful'"):
        fit_objective_users(a[:, :1], b[:, :1], p, users, ["helpful"])
    with pytest.raises(InputError, match=r"scores must both be \[2400, 2\]"):
        fit_objective_users(a, b, p, users, ["helpful", "brief"])
    with pytest.raises(InputError, match="objective 'brief' scores both completions of every pair alike"):
        fit_objective_users(a * torch.tensor([1, 1, 0]), b, p, users, NAMES)
    with pytest.raises(InputError, match="component 'harmless' is nan"):
        fit_objective_users(a * torch.tensor([1, torch.nan, 0]), b, p, users, NAMES)
    with pytest.raises(InputError, match=r"'u99' is none of the 60 users .*did you mean 'u9'"):
        model.weights_of("u99")
    with pytest.raises(InputError, match="unknown temperature 'usr': did you mean 'user'"):
        LowRankConfig(temperature="usr")
    with pytest.raises(InputError, match="give rank, or hold some out"):
        LowRankConfig(held_out=0.0)
    with pytest.raises(InputError, match="ridge must be positive, found 0"):
        LowRankConfig(ridge=0.0)


def test_opposed_objectives_do_not_hide_the_temperature():
    draw = torch.Generator().manual_seed(0)
    x, wish = torch.randn(600, 1, generator=draw).double(), torch.rand(24, generator=draw).double().repeat(25)
    margins = 3 * (2 * wish - 1) * x[:, 0]
    labels = (torch.rand(600, generator=draw) < torch.sigmoid(margins)).double()
    scores, users = torch.cat([x, -x], dim=1), [f"u{i}" for i in range(24)] * 25
    model = fit_objective_users(scores, torch.zeros_like(scores), labels, users, ["more", "less"], CONFIG)
    assert model.prior.mean[-1].exp().item() == pytest.approx(3, rel=0.5)
    assert model.population().std[0] > 0.15  # of uniform weights it is 0.29
    found = model.posterior_of(scores[::24][:5], labels[::24][:5])
    assert found.prefers(torch.tensor([[0.01, -0.01]])).item() == pytest.approx(0.5, abs=0.05)


def test_a_score_that_is_unknown_matters_only_where_there_is_a_label(fitted):
    model, x, labels, _ = fitted
    known = model.posterior_of(x[0, :4], labels[0, :4])
    more, silent = (
        torch.cat([x[0, :4], torch.full((1, 3), torch.nan)]),
        torch.cat([labels[0, :4], torch.tensor([torch.nan])]),
    )
    assert torch.equal(model.posterior_of(more, silent).samples, known.samples)
    with pytest.raises(InputError, match="difference 4 of component 'helpful' is nan"):
        model.posterior_of(more, silent.nan_to_num(1.0))


def test_a_save_that_is_cut_off_mixes_no_two_models(fitted, tmp_path, monkeypatch):
    model = fitted[0]
    model.save_pretrained(tmp_path / "m")
    whole, calls = os.replace, []

    def cut(*paths):
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        whole(*paths)

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        replace(model, prior=replace(model.prior, mean=model.prior.mean + 1)).save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match="not the one that was saved with it: save again"):
        ObjectiveUsers.from_pretrained(tmp_path / "m")


def test_users_may_have_numbers_for_names():
    x, labels, _ = crowd(users=4, pairs=8)
    a, b, p, _ = flat(x, labels)
    users = torch.arange(4).repeat_interleave(8)
    model = fit_objective_users(a, b, p, users, NAMES, CONFIG)
    assert model.seen.names == ("0", "1", "2", "3")
    assert model.weights_of(2) == model.weights_of("2")
    with pytest.raises(InputError, match="'7' is none of the 4 users"):
        model.interval_of(7)
