import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.accuracy import agreement
from reward_heads.probes import Embedder, ProbeConfig, fit_heads, fit_probe
from reward_heads.probes.config import ALPHAS
from reward_heads.vector_reward import VectorReward
from tests.reward_heads.conftest import make_pairs, random_completion, true_scores

NAN = math.nan


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scaled(x):
    """The units in which penalties are given: centred, every feature the same mean square, rows of length 1 on average."""
    x = x - x.mean(0)
    return (x / (x.square().mean(0).sqrt() * x.shape[1] ** 0.5)).numpy()


def test_ratings_equal_a_grid_search_with_scikit_learn():
    x, groups = normal(90, 8) * torch.arange(1, 9) + 3, [f"document{i % 30}" for i in range(90)]
    ratings = x[:, :1] + 3 * normal(90, 1, seed=1) + 50
    fitted = fit_heads(x, None, ratings, ["good"], groups=groups)
    t = ((ratings - ratings.mean()) / ratings.std()).squeeze(1).numpy()
    search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, scoring="neg_mean_squared_error", cv=GroupKFold(5))
    search.fit(scaled(x), t, groups=[i % 30 for i in range(90)])
    assert fitted.fits[0].alpha == search.best_params_["alpha"]
    assert fitted.fits[0].held_out == pytest.approx(-search.cv_results_["mean_test_score"], rel=1e-6)
    expected = torch.from_numpy(search.best_estimator_.predict(scaled(x))).float()
    assert_close(fitted.heads(x).squeeze(1), expected, rtol=1e-5, atol=1e-6)
    assert_close(fitted.units.inverse(fitted.heads(x)).mean(), ratings.mean().float())


def test_pairs_equal_scikit_learn_at_the_chosen_penalty():
    a, b = normal(120, 5), normal(120, 5, seed=1)
    labels = (
        torch.sigmoid(2 * (a - b)[:, :1]) > torch.rand(120, 1, generator=torch.Generator().manual_seed(2))
    ).double()
    fitted = fit_heads(a, b, labels, ["good"])
    d = a - b
    unit = d.square().mean(0).sqrt() * 5**0.5
    model = LogisticRegression(C=1 / fitted.fits[0].alpha, fit_intercept=False, tol=1e-12, max_iter=10000)
    model.fit((d / unit).numpy(), labels.squeeze(1).numpy())
    logits = torch.from_numpy(model.decision_function((d / unit).numpy())).float()
    assert_close((fitted.heads(a) - fitted.heads(b)).squeeze(1), logits, rtol=1e-4, atol=1e-5)
    assert fitted.heads(torch.cat([a, b])).mean().item() == pytest.approx(0, abs=1e-6)
    assert fitted.units is None
    assert fitted.fits[0].held_out.index(min(fitted.fits[0].held_out)) == ALPHAS.index(fitted.fits[0].alpha)


def test_soft_labels_give_back_the_nats():
    a, b, beta = normal(400, 4), normal(400, 4, seed=1), torch.tensor([[1.0], [-2.0], [0.5], [0.0]]).double()
    fitted = fit_heads(a, b, torch.sigmoid((a - b) @ beta), ["good"])
    assert_close((fitted.heads(a) - fitted.heads(b)).double(), (a - b) @ beta, atol=0.05, rtol=0.02)


def test_flags_put_their_boundary_at_zero():
    x = normal(600, 2) + 4
    flags = torch.bernoulli(torch.sigmoid(3 * (x[:, :1] - 4.5)), generator=torch.Generator().manual_seed(0))
    fitted = fit_heads(x, None, flags, ["safe"], config=ProbeConfig(sign_aware=["safe"]))
    at = fitted.heads(torch.tensor([[4.5, 4.0], [5.5, 4.0]])).squeeze(1)
    assert at[0].item() == pytest.approx(0, abs=0.4)
    assert at[1].item() == pytest.approx(3, abs=0.7)
    assert fitted.units is None
    assert fitted.fits[0].labels == "flags"


def test_pairs_and_ratings_of_one_objective_help_each_other():
    truth = normal(30, 1, seed=5)
    x, a, b = normal(40, 30, seed=1), normal(60, 30, seed=2), normal(60, 30, seed=3)
    scale = float((x @ truth).std())
    ratings = 10 * (x @ truth) / scale + 30 + 7 * normal(40, 1, seed=6)
    labels = torch.bernoulli(torch.sigmoid(3 * (a - b) @ truth / scale), generator=torch.Generator().manual_seed(0))
    targets, is_pair = torch.cat([ratings, labels]), torch.arange(100) >= 40
    both = fit_heads(torch.cat([x, a]), torch.cat([x, b]), targets, ["good"], is_pair=is_pair)
    new = normal(500, 30, seed=4)
    alone = [fit_heads(x, None, ratings, ["good"]), fit_heads(a, b, labels, ["good"])]

    def correlation(fitted):
        return torch.corrcoef(torch.stack([fitted.heads(new).squeeze(1).double(), (new @ truth).squeeze(1)]))[0, 1]

    assert correlation(both) > max(map(correlation, alone)) + 0.01
    assert both.fits[0].labels == "pairs+ratings"
    assert both.units.location[0] == pytest.approx(float(ratings.mean()))
    deviation = (both.units.inverse(both.heads(x)) - ratings).square().mean().sqrt()
    assert deviation < ratings.std()
    assert both.fits[0].nats in (2.0, 4.0)  # drawn with 3 nats per standard deviation of the truth
    assert (alone[0].fits[0].nats, alone[1].fits[0].nats) == (None, 1.0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_a_missing_label_leaves_its_row_out_of_that_objective_only(seed):
    x, targets = normal(30, 4, seed=seed), normal(30, 2, seed=seed + 1)
    holed = targets.clone()
    holed[::3, 0] = NAN
    kept = torch.arange(30) % 3 != 0
    full, both = fit_heads(x, None, targets, ["a", "b"]), fit_heads(x, None, holed, ["a", "b"])
    part = fit_heads(x[kept], None, targets[kept, :1], ["a"])
    assert_close(both.heads(x)[:, 1], full.heads(x)[:, 1])
    assert_close(both.heads(x)[:, 0], part.heads(x)[:, 0])
    assert both.fits[0].n == 20


@pytest.mark.parametrize("n", [40, 400])
def test_ridge_uncertainty_covers_the_truth(n):
    inside, total = 0, 0
    for seed in range(60):
        beta, x = normal(12, 1, seed=seed) / 12**0.5, normal(n, 12, seed=1000 + seed)
        ratings = x @ beta + 0.7 * normal(n, 1, seed=2000 + seed)
        fitted = fit_heads(x, None, ratings, ["good"])
        new = normal(50, 12, seed=3000 + seed)
        scores, std = fitted.heads.with_uncertainty(new)
        error = (fitted.units.inverse(scores) - new @ beta).abs() / (std * fitted.units.scale[0])
        inside, total = inside + int((error < 1.645).sum()), total + 50
    assert 0.85 < inside / total < 0.95


def test_logistic_uncertainty_covers_the_truth():
    inside, total = 0, 0
    for seed in range(40):
        beta, a, b = normal(8, 1, seed=seed), normal(300, 8, seed=1000 + seed), normal(300, 8, seed=2000 + seed)
        chance = torch.sigmoid((a - b) @ beta)
        labels = torch.bernoulli(chance, generator=torch.Generator().manual_seed(seed))
        fitted = fit_heads(a, b, labels, ["good"])
        new = normal(50, 8, seed=3000 + seed)
        scores, std = fitted.heads.with_uncertainty(new)
        centre = torch.cat([a, b]).mean(0, keepdim=True)
        inside += int(((scores - (new - centre) @ beta).abs() < 1.645 * std).sum())
        total += 50
    assert 0.84 < inside / total < 0.96


def test_uncertainty_falls_with_data_and_grows_away_from_it():
    x, noise = normal(400, 3), normal(400, 1, seed=1)
    few, many = (fit_heads(x[:n], None, x[:n, :1] + noise[:n], ["good"]).heads for n in (40, 400))
    near, far = torch.zeros(1, 3), torch.full((1, 3), 10.0)
    assert many.with_uncertainty(near)[1] < 0.5 * few.with_uncertainty(near)[1]
    assert many.with_uncertainty(far)[1] > 3 * many.with_uncertainty(near)[1]


def test_noise_is_not_believed():
    fitted = fit_heads(normal(100, 50), None, normal(100, 1, seed=1), ["good"])
    assert fitted.heads(normal(100, 50, seed=2)).std() < 0.3


def test_one_pair_is_enough_and_certain_labels_stay_finite():
    fitted = fit_heads(torch.ones(1, 3), torch.zeros(1, 3), torch.ones(1, 1), ["good"])
    assert fitted.heads(torch.ones(1, 3)) > fitted.heads(torch.zeros(1, 3))
    assert fitted.fits[0].alpha == ALPHAS[len(ALPHAS) // 2]
    both = fit_heads(torch.ones(4, 3), torch.zeros(4, 3), torch.ones(4, 1), ["good"])
    assert both.heads.with_uncertainty(torch.ones(1, 3))[1].isfinite().all()


def rating_rows(n=120, seed=0):
    rng = random.Random(seed)
    texts = [random_completion(rng) for _ in range(n)]
    return [{"prompt": f"ask me {i % 20} :", "completion": t, "scores": true_scores(t)} for i, t in enumerate(texts)]


def test_a_probe_on_words_learns_what_annotators_want(bag_of_words):
    rows = make_pairs(300) + rating_rows()
    reward = fit_probe(bag_of_words, rows)
    assert isinstance(reward, VectorReward)
    assert reward.objectives == ("kind", "brief", "loud")
    assert reward.training == "pairs+ratings"
    assert [fit.labels for fit in reward.fits] == ["pairs+ratings"] * 3
    test = make_pairs(200, seed=1)
    a, b = (reward.score([r["prompt"] for r in test], [r[f"completion_{s}"] for r in test]) for s in "ab")
    labels = torch.tensor([[NAN if v is None else v for v in r["labels"].values()] for r in test])
    assert all(found.accuracy > 0.95 for found in agreement(a - b, labels))


def test_ratings_come_back_in_their_own_units(bag_of_words):
    reward = fit_probe(bag_of_words, rating_rows())
    found = reward.units.inverse(reward.score(["ask"], [" good red cat"]))
    assert_close(found, torch.tensor([[1.0, -3.0, 1.0]]), atol=0.05, rtol=0)


def test_groups_keep_documents_together(bag_of_words):
    rows = [{**row, "document": f"d{i % 3}"} for i, row in enumerate(rating_rows())]
    by_prompt, by_document = (
        fit_probe(bag_of_words, rows),
        fit_probe(bag_of_words, rows, ProbeConfig(group_by="document")),
    )
    assert by_prompt.fits[0].held_out != by_document.fits[0].held_out
    del rows[7]["document"]
    with pytest.raises(InputError, match=r"row 7: the field 'document' \(group_by\) is missing"):
        fit_probe(bag_of_words, rows, ProbeConfig(group_by="document"))


def test_refuses_bad_rows_before_anything_is_embedded():
    class Never:
        width, fingerprint = 3, "n"

        def embed(self, prompts, completions):
            raise AssertionError("embedded")

    row = {"prompt": "a", "completion": "b", "scores": {"good": 3.0}}
    for rows, config, message in [
        ([], {}, "no row has a label"),
        ([], {"objectives": ["good"]}, "rows: there is none to learn from"),
        ([row], {"objectives": ["goood"]}, "row 0, field 'scores': unknown objective 'good': did you mean 'goood'"),
        ([row], {"objectives": ["good", "kind"]}, "objective 'kind' has no label in any of the 1 rows"),
        ([row, row], {}, "objective 'good' is 3 in all 2 scores"),
        (
            [row, {**row, "scores": {"good": 7}}],
            {"rating_range": (1, 5)},
            r"row 1, objective 'good': a rating must be in \[1, 5\], found 7",
        ),
        ([row], {"sign_aware": ["safe"]}, "unknown objective in sign_aware 'safe'"),
    ]:
        with pytest.raises(InputError, match=message):
            fit_probe(Never(), rows, ProbeConfig(**config))


def test_beats_the_majority_on_real_summaries(sentence_encoder, shared_data, tmp_path):
    summaries = shared_data.summeval()
    documents = sorted({r["doc_id"] for r in summaries})[:26]
    rows = [
        {"prompt": "", "completion": " ".join(r["text"].split()[:50]), "scores": r["scores"], "document": r["doc_id"]}
        for r in summaries
        if r["doc_id"] in documents
    ]
    train = [row for row in rows if row["document"] in documents[:18]]
    test = [row for row in rows if row["document"] in documents[18:]]
    embedder = Embedder.from_pretrained(sentence_encoder, layer=3, cache=tmp_path)
    reward = fit_probe(embedder, train, ProbeConfig(group_by="document"))
    scores = reward.score(["" for _ in test], [row["completion"] for row in test])
    truth = torch.tensor([[row["scores"][name] for name in reward.objectives] for row in test])
    right, majority = [], []
    for document in documents[18:]:
        at = [i for i, row in enumerate(test) if row["document"] == document]
        first, second = torch.combinations(torch.tensor(at)).T
        told = truth[first] != truth[second]
        better = truth[first] > truth[second]
        right.append(((scores[first] > scores[second]) == better)[told])
        majority.append(better[told])
    share = torch.cat(majority).float().mean().item()
    assert torch.cat(right).float().mean().item() > max(share, 1 - share) + 0.03
