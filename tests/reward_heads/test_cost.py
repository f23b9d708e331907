import doctest
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import cost
from reward_heads.accuracy import pairwise_accuracy
from reward_heads.cost import pairs_and_flags, sign_aware_losses, sign_aware_mask
from reward_heads.losses import element_losses, label_counts, mean_loss
from reward_heads.model import TransformerReward
from reward_heads.training import RewardHeadsTrainer

from .conftest import make_pairs, true_scores
from .test_training import config

NAN = math.nan


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def paper(c_safer, c_unsafer, safer_is_unsafe, unsafer_is_unsafe):
    """Safe-RLHF's loss of one pair, in costs, as the paper writes it."""
    s_safer, s_unsafer = (1 if unsafe else -1 for unsafe in (safer_is_unsafe, unsafer_is_unsafe))
    return -(
        math.log(sigmoid(c_unsafer - c_safer))
        + math.log(sigmoid(s_safer * c_safer))
        + math.log(sigmoid(s_unsafer * c_unsafer))
    )


def test_by_hand():
    # A pair with r_a = log 3, r_b = 0 (a is safer): sigma(log 3) = 3/4. a is safe: 3/4 again. b, at the boundary, is unsafe: 1/2.
    predictions = torch.tensor([[math.log(3)], [math.log(3)], [0.0]])
    targets = torch.tensor([[1.0], [1.0], [0.0]])
    got = sign_aware_losses(predictions, targets, torch.tensor([True, False, False]), torch.tensor([True]))
    assert_close(got, torch.tensor([[math.log(4 / 3)], [math.log(4 / 3)], [math.log(2)]]))
    assert got.sum().item() == pytest.approx(paper(-math.log(3), 0.0, False, True))


@pytest.mark.parametrize("flags", [(False, True), (False, False), (True, True), (True, False)])
def test_is_the_papers_loss_with_the_sign_turned(flags):
    c_safer, c_unsafer = -0.4, 1.3
    r_safer, r_unsafer = -c_safer, -c_unsafer
    predictions = torch.tensor([[r_safer - r_unsafer], [r_safer], [r_unsafer]])
    targets = torch.tensor([[1.0], [float(not flags[0])], [float(not flags[1])]])
    got = sign_aware_losses(predictions, targets, torch.tensor([True, False, False]), torch.tensor([True]))
    assert got.sum().item() == pytest.approx(paper(c_safer, c_unsafer, *flags))


def test_other_objectives_keep_their_loss():
    generator = torch.Generator().manual_seed(0)
    predictions, targets = torch.randn(6, 3, generator=generator), torch.rand(6, 3, generator=generator)
    is_pair = torch.tensor([True, False] * 3)
    got = sign_aware_losses(predictions, targets, is_pair, torch.tensor([False, True, False]))
    plain = element_losses(predictions, targets, is_pair)
    assert got[:, [0, 2]].equal(plain[:, [0, 2]])
    assert got[is_pair].equal(plain[is_pair])
    assert got[~is_pair, 1].ne(plain[~is_pair, 1]).all()


def test_a_missing_flag_has_exactly_zero_loss_and_gradient():
    predictions = torch.tensor([[0.3, -0.7], [1.1, 0.2]], requires_grad=True)
    targets = torch.tensor([[NAN, 1.0], [NAN, NAN]])
    losses = sign_aware_losses(predictions, targets, torch.tensor([False, False]), torch.tensor([True, True]))
    mean_loss(losses, label_counts(targets), torch.ones(2)).backward()
    assert losses[targets.isnan()].eq(0).all()
    assert predictions.grad[targets.isnan()].eq(0).all()
    assert predictions.grad[0, 1] < 0  # flagged safe: the score must rise


def test_survives_huge_scores():
    got = sign_aware_losses(
        torch.tensor([[1e4], [-1e4]]), torch.tensor([[0.0], [0.0]]), torch.tensor([False, False]), torch.tensor([True])
    )
    assert_close(got, torch.tensor([[1e4], [0.0]]))


# --- rows ------------------------------------------------------------------------------------------------------------------------

PAIR = {"prompt": "p", "completion_a": "x", "completion_b": "y", "labels": {"kind": 1.0, "loud": None}}


def test_pairs_and_flags():
    rows = [
        PAIR | {"safe_a": {"kind": True, "loud": None}, "safe_b": {"kind": np.bool_(False), "loud": 0.25}},
        PAIR | {"safe_a": {"kind": None}, "safe_b": {"kind": NAN}},
        PAIR,
        {"prompt": "p", "completion": "z", "scores": {"kind": 1}},
    ]
    assert pairs_and_flags(rows) == [
        PAIR,
        {"prompt": "p", "completion": "x", "scores": {"kind": 1.0}},
        {"prompt": "p", "completion": "y", "scores": {"kind": 0.0, "loud": 0.25}},
        PAIR,
        PAIR,
        rows[3],
    ]


@pytest.mark.parametrize("flag", ["yes", 2, -0.1, [1], math.inf])
def test_refuses_a_flag_that_is_none(flag):
    with pytest.raises(InputError, match="row 1, field 'safe_b', objective 'kind': must be true"):
        pairs_and_flags([PAIR, PAIR | {"safe_b": {"kind": flag}}])


def test_refuses_flags_without_an_objective():
    with pytest.raises(InputError, match="row 0, field 'safe_a': must be a dictionary of objective"):
        pairs_and_flags([PAIR | {"safe_a": True}])
    with pytest.raises(InputError, match="row 0: must be a dictionary"):
        pairs_and_flags(["text"])


def test_the_mask_names_objectives():
    assert sign_aware_mask(["loud"], ["kind", "loud"]).tolist() == [False, True]
    assert sign_aware_mask(None, ["kind", "loud"]).tolist() == [False, False]
    with pytest.raises(InputError, match="objective in sign_aware 'lout': did you mean 'loud'"):
        sign_aware_mask(["lout"], ["kind", "loud"])


def test_doctests():
    results = doctest.testmod(cost)
    assert results.attempted > 0
    assert results.failed == 0


# --- training --------------------------------------------------------------------------------------------------------------------

FIELDS = ("completion_a", "completion_b")
PAIR_OF_KIND = PAIR | {"labels": {"kind": 1.0}}
SAFE_ABOVE = 1.0  # only the kindest third or so is safe, so the boundary is far from the mean score


def flagged_pairs(n, seed=0, missing=0.0):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for row in make_pairs(n, seed=seed, missing=missing):
        flags = {}
        for field in FIELDS:
            known = torch.rand((), generator=generator) >= missing
            flags[field] = true_scores(row[field])["kind"] > SAFE_ABOVE if known else None
        row["labels"] = {"kind": row["labels"]["kind"]}
        rows.append(row | {"safe_a": {"kind": flags["completion_a"]}, "safe_b": {"kind": flags["completion_b"]}})
    return rows


def new_reward(base, tokenizer):
    return TransformerReward.from_base(base, ["kind"], tokenizer=tokenizer)


def sign_accuracy(reward, rows):
    texts = [row[field] for row in rows for field in FIELDS]
    positive = reward.score(["ask me :"] * len(texts), texts)[:, 0] > 0
    safe = torch.tensor([true_scores(text)["kind"] > SAFE_ABOVE for text in texts])
    return (positive == safe).float().mean().item()


def test_puts_the_boundary_at_zero_where_pairs_alone_do_not(base, tokenizer, tmp_path):
    rows, held_out = flagged_pairs(400, missing=0.3), flagged_pairs(150, seed=9)
    args = config(tmp_path, num_train_epochs=4, sign_aware=["kind"])
    trainer = RewardHeadsTrainer(
        new_reward(base, tokenizer), args, pairs_and_flags(rows), eval_dataset=pairs_and_flags(held_out)
    )
    trainer.train()
    compared = RewardHeadsTrainer(new_reward(base, tokenizer), config(tmp_path, num_train_epochs=4), rows)
    compared.train()
    aware, unaware = sign_accuracy(trainer.reward, held_out), sign_accuracy(compared.reward, held_out)
    assert aware > 0.93
    assert unaware < 0.8
    # The order is learned all the same, the zero is the boundary and not the mean, and evaluation says what was measured here.
    assert pairwise_accuracy(trainer.reward, held_out)["kind"].accuracy > 0.9
    assert trainer.reward.offset.eq(0).all()
    assert trainer.reward.units is None
    metrics = trainer.evaluate()
    assert metrics["eval_sign_accuracy/kind"] == pytest.approx(aware)
    assert "eval_mse/kind" not in metrics


def test_loss_of_a_batch_is_a_third_of_the_papers(base, tokenizer, tmp_path):
    rows = [row for row in make_pairs(8) if row["labels"]["kind"] == 1.0][:2]
    flags = [(True, False), (True, True)]
    given = [
        {**row, "labels": {"kind": 1.0}, "safe_a": {"kind": a}, "safe_b": {"kind": b}}
        for row, (a, b) in zip(rows, flags, strict=True)
    ]
    reward = new_reward(base, tokenizer)
    trainer = RewardHeadsTrainer(reward, config(tmp_path, sign_aware=["kind"]), pairs_and_flags(given))
    batch = trainer.data_collator(trainer.train_dataset.items)
    assert len(batch["targets"]) == 6
    safer, unsafer = (-reward.score(["ask me :"] * 2, [row[field] for row in rows])[:, 0] for field in FIELDS)
    expected = sum(
        paper(c_a.item(), c_b.item(), not a, not b) for c_a, c_b, (a, b) in zip(safer, unsafer, flags, strict=True)
    )
    assert trainer.compute_loss(trainer.model.eval(), batch).item() == pytest.approx(expected / 2 / 3, abs=1e-5)


def test_flags_and_ratings_of_another_objective(base, tokenizer, tmp_path):
    ratings = [
        {"prompt": "ask me :", "completion": text, "scores": {"kind": flag, "brief": score}}
        for text, flag, score in ((" good cat", 1, 10.0), (" bad", 0, 30.0), (" sky", 1, None), (" sea", None, 20.0))
    ]
    reward = TransformerReward.from_base(base, ["kind", "brief"], tokenizer=tokenizer)
    trainer = RewardHeadsTrainer(reward, config(tmp_path, sign_aware=["kind"]), ratings)
    assert trainer.reward.units.location == (0.0, 20.0)
    assert trainer.reward.units.scale == (1.0, 10.0)
    targets = torch.stack([item["target"] for item in trainer.tokenized.items])
    assert_close(targets, torch.tensor([[1.0, -1.0], [0.0, 1.0], [1.0, NAN], [NAN, 0.0]]), equal_nan=True)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1, 3], "scores must be 1 .safe., 0 .unsafe. or a probability between, found 3"),
        ([1, 0.8], "none of its 2 flags says unsafe"),
        ([0, 0.5], "none of its 2 flags says safe"),
        ([None, None], "no completion has a flag"),
    ],
)
def test_refuses_flags_that_fix_no_boundary(base, tokenizer, tmp_path, scores, message):
    rows = [{"prompt": "p", "completion": "good", "scores": {"kind": score}} for score in scores]
    with pytest.raises(InputError, match=f"train_dataset: objective 'kind' is sign-aware, .*{message}"):
        RewardHeadsTrainer(new_reward(base, tokenizer), config(tmp_path, sign_aware=["kind"]), [PAIR_OF_KIND, *rows])


def test_held_out_flags_may_all_say_the_same_but_must_be_flags(base, tokenizer, tmp_path):
    rows = pairs_and_flags([PAIR_OF_KIND | {"safe_a": {"kind": 1}, "safe_b": {"kind": 0}}])
    trainer = RewardHeadsTrainer(new_reward(base, tokenizer), config(tmp_path, sign_aware=["kind"]), rows)
    rating = {"prompt": "p", "completion": "good", "scores": {"kind": 1}}
    assert "eval_sign_accuracy/kind" in trainer.evaluate([rating])
    with pytest.raises(InputError, match="eval_dataset: objective 'kind' is sign-aware, so its scores must be 1"):
        trainer.evaluate([rating | {"scores": {"kind": 7.0}}])


def test_flags_that_nobody_compared_are_no_pair():
    row = {"prompt": "p", "completion_a": "a", "completion_b": "b", "safe_a": {"harmless": True}, "safe_b": None}
    assert pairs_and_flags([row]) == [{"prompt": "p", "completion": "a", "scores": {"harmless": 1.0}}]
