import random

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from frontier.errors import InputError
from reward_heads.decorrelate import Length, erase_length, spearman
from reward_heads.decorrelate.head import head_inputs, head_of


def rows_of(n, seed):
    rng = random.Random(seed)
    words = ["good", "bad", "cat", "dog", "sat", "ran", "big", "red", "sky", "sea"]
    return [
        {"prompt": f"ask me {i} :", "completion": " " + " ".join(rng.choice(words) for _ in range(rng.randint(1, 30)))}
        for i in range(n)
    ]


def texts_of(rows):
    return [row["prompt"] for row in rows], [row["completion"] for row in rows]


@pytest.fixture
def biased(reward):
    """Heads that follow the length as far as the features know it: `kind` up, `brief` down, `loud` as it is."""
    prompts, completions = texts_of(rows_of(300, seed=5))
    features, z = head_inputs(reward, prompts, completions).double(), Length().log(completions)
    x = features - features.mean(0)
    u = torch.linalg.solve(x.T @ x + 1e-2 * torch.eye(x.shape[1]).double(), x.T @ (z - z.mean()))
    with torch.no_grad():
        reward.model.score.weight[0] += (0.2 * u).float()
        reward.model.score.weight[1] -= (0.2 * u).float()
    return reward


def test_features_of_the_head_give_the_scores(reward):
    prompts, completions = texts_of(rows_of(40, seed=0))
    features = head_inputs(reward, prompts, completions)
    assert torch.allclose(features @ head_of(reward)[1].weight.T, reward.score(prompts, completions), atol=1e-5)
    assert head_of(reward)[0] == "score"


def test_a_plain_exported_model_follows_length_less(biased, tmp_path):
    held = rows_of(500, seed=1)
    erased, report = erase_length(biased, rows_of(500, seed=0), held_out=held)
    assert report.held_out.before[0] > 0.7
    assert report.held_out.before[1] < -0.7
    # The features know the length only in part, and in a curve: what is left is small but not nothing.
    assert all(abs(after) < 0.2 for after in report.held_out.after)
    erased.save_pretrained(tmp_path)
    plain, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    prompts, completions = texts_of(held)
    with torch.no_grad():
        logits = torch.cat(
            [
                plain(**tokenizer(erased.join(*text), return_tensors="pt")).logits
                for text in zip(prompts, completions, strict=True)
            ]
        )
    after = [spearman(column.double(), Length()(completions)) for column in logits.T]
    assert torch.allclose(torch.tensor(after), torch.tensor(report.held_out.after), atol=1e-3)  # float32 may turn a tie


def test_the_mean_and_the_given_model_stay(biased):
    rows = rows_of(200, seed=0)
    before = biased.score(*texts_of(rows))
    erased, report = erase_length(biased, rows, held_out=rows_of(20, seed=3))
    assert report.strengths[0] > 0 > report.strengths[1]
    assert torch.allclose(erased.score(*texts_of(rows)).mean(0), before.mean(0), atol=1e-4)
    assert torch.equal(biased.score(*texts_of(rows)), before)


def test_refuses_too_few_or_equal_texts(reward):
    with pytest.raises(InputError, match="at least 10 texts, found 5"):
        erase_length(reward, rows_of(5, seed=0), held_out=rows_of(5, seed=1))
    same = [{"prompt": f"p{i}", "completion": "good cat"} for i in range(20)]
    with pytest.raises(InputError, match="length in words is the same in all 20 texts"):
        erase_length(reward, same, held_out=same)


def test_texts_of_one_prompt(biased):
    one = lambda seed: [{**row, "prompt": "ask me :"} for row in rows_of(300, seed)]  # noqa: E731
    _, report = erase_length(biased, one(0), held_out=one(1))
    assert abs(report.held_out.after[0]) < 0.3 < report.held_out.before[0]
