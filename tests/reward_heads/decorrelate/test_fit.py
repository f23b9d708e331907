import math
import random

import pytest
import torch

from frontier.errors import InputError
from reward_heads import FunctionReward, NormalizedReward, Normalizer, as_reward_funcs
from reward_heads.decorrelate import Length, decorrelation_of, fit_decorrelation, spearman
from reward_heads.saved import load_reward, save_reward
from reward_heads.transforms import TransformedReward


def noise(text, seed):
    return random.Random(f"{seed}{text}").gauss(0, 1)


def rows_of(n, seed=0):
    rng = random.Random(seed)
    return [
        {"prompt": f"p{rng.randrange(n // 4)}", "completion": "w " * rng.randint(1, 200) + str(i)} for i in range(n)
    ]


WORDY = FunctionReward(
    {
        "long": lambda prompt, completion: 0.03 * len(completion.split()) + noise(completion, 1),
        "middling": lambda prompt, completion: -abs(len(completion.split()) - 60) / 20 + noise(completion, 2),
        "terse": lambda prompt, completion: -math.log(len(completion.split())) + 0.5 * noise(completion, 3),
        "free": lambda prompt, completion: noise(completion, 4),
    }
)


def test_takes_length_out_of_texts_that_it_has_not_seen():
    held = rows_of(6000, seed=1)
    reward, report = fit_decorrelation(WORDY, rows_of(6000), held_out=held)
    assert report.fitted.n == 6000
    assert min(abs(x) for x in report.held_out.before[:3]) > 0.3
    assert abs(report.held_out.before[3]) < 0.05
    # Both fits and held-out texts scatter by 1/√6000 = 0.013.
    assert all(abs(x) < 0.045 for x in report.held_out.after)
    assert report.holds
    texts = [row["prompt"] for row in held], [row["completion"] for row in held]
    scores, words = reward.score(*texts), Length()(texts[1])
    assert [spearman(column.double(), words) for column in scores.T] == list(report.held_out.after)


def test_the_mean_stays_and_what_is_free_is_left_alone():
    rows = rows_of(3000)
    reward, report = fit_decorrelation(WORDY, rows, held_out=rows_of(50, seed=2), threshold=0.1)
    texts = [row["prompt"] for row in rows], [row["completion"] for row in rows]
    assert torch.allclose(reward.score(*texts).mean(0), WORDY.score(*texts).mean(0), atol=1e-4)
    assert report.strengths[3] == 0.0
    assert torch.equal(reward.score(*texts)[:, 3], WORDY.score(*texts)[:, 3])


def test_without_margin_the_smallest_correction_that_meets_the_threshold():
    scores = torch.tensor([[0.03 * n + noise(str(n), 5)] for n in range(1, 400)])
    texts = ["w " * n for n in range(1, 400)]
    mild = decorrelation_of(scores, ["long"], texts, threshold=0.3, margin=0.0, knots=2)
    after = spearman(mild(scores, texts, texts)[:, 0].double(), Length()(texts))
    assert 0.2 < after < 0.35  # cross-fitted, so not 0.3 to the last digit
    full = decorrelation_of(scores, ["long"], texts, threshold=0.3, margin=10.0, knots=2)
    assert abs(spearman(full(scores, texts, texts)[:, 0].double(), Length()(texts))) < 0.05


def test_against_an_objective():
    generator = torch.Generator().manual_seed(0)
    v, a, b = torch.randn(3, 4000, generator=generator)
    scores = torch.stack([a + 2 * v, b - v, v], dim=1)
    found = decorrelation_of(
        scores, ["good", "kind", "wordy"], [""] * 4000, against="wordy", threshold=0.03, margin=0.0
    )
    assert found.terms[2] == 0.0
    assert 1.8 < found.terms[0] < 2.0  # a little less than all of it: the threshold allows 0.03
    assert -1.0 < found.terms[1] < -0.9
    after = found(scores, [""] * 4000, [""] * 4000)
    assert abs(spearman(after[:, 0].double(), v.double())) <= 0.03 + 1e-5
    assert abs(spearman(after[:, 1].double(), v.double())) <= 0.03 + 1e-5
    only = decorrelation_of(scores, ["good", "kind", "wordy"], [""] * 4000, against="wordy", only=["kind"])
    assert only.terms[0] == 0.0
    assert only.terms[1] != 0.0


def test_the_same_numbers_in_training_evaluation_and_export(reward, tmp_path):
    rng = random.Random(0)
    rows = [
        {"prompt": f"ask me {i}:", "completion": " good" * rng.randint(1, 20) + " cat" * (i % 3)} for i in range(60)
    ]
    corrected, _ = fit_decorrelation(reward, rows)
    prompts, completions = [row["prompt"] for row in rows[:9]], [row["completion"] for row in rows[:9]]
    expected = corrected.score(prompts, completions)
    assert not torch.equal(expected, reward.score(prompts, completions))
    save_reward(corrected, tmp_path)
    loaded = load_reward(tmp_path)
    assert isinstance(loaded, TransformedReward)
    assert torch.equal(loaded.score(prompts, completions), expected)
    assert [f(prompts=prompts, completions=completions) for f in as_reward_funcs(loaded)] == expected.T.tolist()
    unit = Normalizer(loaded.objectives, (0.0,) * 3, (1.0,) * 3, 1)
    assert torch.equal(NormalizedReward(loaded, unit).score(prompts, completions), expected)


def test_reports_what_it_costs():
    # Labels that are the length itself: without length there is nothing left to be right with.
    rng = random.Random(0)
    rows = []
    for i in range(2000):
        a, b = rng.sample(range(1, 100), 2)
        pair = {"completion_a": f"{'w ' * a}{i}", "completion_b": f"{'w ' * b}{i}"}
        rows.append({"prompt": f"p{i}", **pair, "labels": {"long": float(a > b), "other": None}})
    reward = FunctionReward({"long": lambda p, c: len(c.split()) + 5 * noise(c, 1)})
    _, report = fit_decorrelation(reward, rows)
    assert report.held_out.accuracy_before[0] > 0.9
    assert abs(report.held_out.accuracy_after[0] - 0.5) < 0.1
    assert report.held_out.comparisons == (500,)
    assert "long" in report.table()
    assert report.to_json()["held_out"]["comparisons"] == [500]


def test_ratings_of_one_prompt_are_compared_and_unlabelled_rows_are_enough():
    rated = [{"prompt": "p", "completion": "w " * n, "scores": {"long": float(n)}} for n in (1, 2, 3)]
    reward = FunctionReward({"long": lambda p, c: float(len(c.split())) + noise(c, 1) / 9})
    _, report = fit_decorrelation(reward, rows_of(40), held_out=rated)
    assert report.held_out.comparisons == (3,)
    assert report.held_out.accuracy_before == (1.0,)
    assert math.isnan(report.fitted.accuracy_before[0])
    assert report.to_json()["fitted"]["accuracy_before"] == [None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"against": "verbosty"}, "unknown objective to decorrelate from 'verbosty'.*Valid: length, long, middling"),
        ({"only": ["fre"]}, "unknown objective 'fre': did you mean 'free'"),
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\)"),
        ({"margin": math.nan}, "margin not negative, found 0.05 and nan"),
        ({"held_out": 1.5}, "held_out must be between 0 and 1, found 1.5"),
        ({"knots": 1}, "knots must be at least 2"),
    ],
)
def test_refuses_settings(change, message):
    with pytest.raises(InputError, match=message):
        fit_decorrelation(WORDY, rows_of(40), **change)


def test_refuses_scores_that_tell_nothing():
    texts = ["w", "w w", "w w w", "w w"]
    good = torch.tensor([[1.0], [2.0], [4.0], [2.5]])
    with pytest.raises(InputError, match="length in words is the same in all 4 texts"):
        decorrelation_of(good, ["good"], ["w"] * 4)
    with pytest.raises(InputError, match="'good' is 1 in all 4 texts"):
        decorrelation_of(torch.ones(4, 1), ["good"], texts)
    with pytest.raises(InputError, match="has 0 texts with known scores"):
        decorrelation_of(torch.full((4, 1), math.nan), ["good"], texts)
    with pytest.raises(InputError, match="found an infinite one"):
        decorrelation_of(good.where(good < 4, math.inf), ["good"], texts)
    with pytest.raises(InputError, match="nothing but a multiple of objective 'wordy'"):
        decorrelation_of(torch.cat([good, -3 * good], 1), ["good", "wordy"], texts, against="wordy")
    with pytest.raises(InputError, match=r"must be \[4, 1\]"):
        decorrelation_of(good[:3], ["good"], texts)
    with pytest.raises(InputError, match="write Length"):
        decorrelation_of(good, ["length"], texts)
    assert decorrelation_of(good, ["length"], texts, against=Length()).objectives == ("length",)


def test_refuses_rows_that_are_broken():
    with pytest.raises(InputError, match="rows, row 0"):
        fit_decorrelation(WORDY, [{"prompt": "p"}, {"prompt": "q"}])
    with pytest.raises(InputError, match="no rows to measure"):
        fit_decorrelation(WORDY, [], held_out=[])
    with pytest.raises(InputError, match="at least 2 prompts, found 1"):
        fit_decorrelation(WORDY, [{"prompt": "p", "completion": "a"}, {"prompt": "p", "completion": "b"}])


def test_texts_of_one_prompt_are_decorrelated_too():
    rows = [{**row, "prompt": "p"} for row in rows_of(2000)]
    reward = FunctionReward({"long": lambda prompt, completion: len(completion.split()) / 30 + noise(completion, 1)})
    _, report = fit_decorrelation(reward, rows, held_out=rows_of(2000, seed=1))
    assert report.held_out.before[0] > 0.7
    assert abs(report.held_out.after[0]) < 0.08
    assert report.strengths[0] > 0


def test_an_objective_whose_known_scores_share_one_prompt():
    texts = ["w " * n for n in range(1, 401)]
    scores = torch.tensor([[0.03 * n + noise(str(n), 5)] * 2 for n in range(1, 401)])
    scores[::2, 1] = math.nan
    groups = [n if n % 2 == 0 else "p" for n in range(400)]
    found = decorrelation_of(scores, ["all", "some"], texts, groups=groups)
    assert 0.0 not in found.terms
    after = found(scores, texts, texts)[:, 1].double()
    assert abs(spearman(after, Length()(texts))) < 0.1
