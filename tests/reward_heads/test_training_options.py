"""What can be chosen in training beyond the defaults: losses, adapters, pooling, truncation; saved, resumed and evaluated."""

import logging
import math
import random

import pytest
import torch
from datasets import Dataset
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

from frontier.errors import InputError
from reward_heads.accuracy import pairwise_accuracy
from reward_heads.batching import PairCollator
from reward_heads.head import Head
from reward_heads.model import TransformerReward
from reward_heads.saved import load_reward
from reward_heads.training import RewardHeadsTrainer
from reward_heads.trl_functions import as_reward_funcs

from .conftest import make_base, make_pairs, make_tokenizer, random_completion, true_scores
from .encoders import make_encoder
from .test_training import config, make_ratings

OBJECTIVES = ["kind", "brief", "loud"]
TEXTS = [random_completion(random.Random(index)) for index in range(9)]


def new_reward(base, tokenizer, objectives=OBJECTIVES, **settings):
    return TransformerReward.from_base(base, objectives, tokenizer=tokenizer, **settings)


def tied_pairs(n, seed=0):
    """Kindness; words that differ by less than two are a tie."""
    rows = []
    for row in make_pairs(n, seed=seed):
        difference = true_scores(row["completion_a"])["kind"] - true_scores(row["completion_b"])["kind"]
        rows.append(row | {"labels": {"kind": 0.5 if abs(difference) < 2 else float(difference > 0)}})
    return rows


def levelled(n, seed=0):
    """Kindness in four levels, named 1, 2, 4 and 5."""
    rows = []
    for row in make_ratings(n, seed=seed, missing=0):
        kind = true_scores(row["completion"])["kind"]
        level = 1 + (kind > -1) + 2 * (kind > 0) + (kind > 2)
        rows.append(row | {"scores": {"kind": float(level)}})
    return rows


def batch_loss(trainer):
    trainer.model.eval()
    return trainer.compute_loss(trainer.model, PairCollator(trainer.reward)(trainer.tokenized.items)).item()


def differences(reward, rows):
    a, b = (reward.score([r["prompt"] for r in rows], [r[f"completion_{x}"] for r in rows]) for x in "ab")
    return (a - b).double()


# --- losses ----------------------------------------------------------------------------------------------------------------------


def test_margins_and_noise_by_hand(base, tokenizer, tmp_path):
    rows = [row | {"labels": {"kind": 1.0}} for row in make_pairs(2)]
    rows[1]["margin"] = {"kind": 0.7}
    settings = {"label_noise": {"kind": 0.1}, "noise_correction": "unbiased"}
    trainer = RewardHeadsTrainer(new_reward(base, tokenizer, ["kind"]), config(tmp_path, **settings), rows)
    total = 0.0
    for delta, margin in zip(differences(trainer.reward, rows)[:, 0].tolist(), (0.0, 0.7), strict=True):
        win, lose = math.log1p(math.exp(margin - delta)), math.log1p(math.exp(margin + delta))
        total += (0.9 * win - 0.1 * lose) / 0.8
    assert batch_loss(trainer) == pytest.approx(total / 2, abs=1e-6)


@pytest.mark.parametrize("kind", ["rao_kupper", "davidson"])
def test_ties_are_learned_reported_and_kept(base, tokenizer, tmp_path, kind):
    args = config(tmp_path / "run", pair_loss={"kind": kind}, num_train_epochs=6)
    pairs = tied_pairs(400)
    more = [row | {"labels": {"loud": row["labels"]["loud"]}} for row in make_pairs(40)]
    trainer = RewardHeadsTrainer(new_reward(base, tokenizer, ["kind", "loud"]), args, pairs + more, tied_pairs(150, 7))
    start = trainer.reward.heads[0].tie
    before = trainer.evaluate()["eval_outcome_accuracy/kind"]
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_outcome_accuracy/kind"] > max(0.7, before + 0.1)
    assert metrics["eval_accuracy/kind"] > 0.95
    learned = trainer.reward.heads[0]
    assert learned.pairs == kind
    assert abs(learned.tie - start) > 1e-3
    assert trainer.reward.heads[1] == Head("bradley_terry")
    trainer.reward.save_pretrained(tmp_path / "saved")
    assert load_reward(tmp_path / "saved").heads == trainer.reward.heads
    # Another training starts with what was learned.
    again = RewardHeadsTrainer(tmp_path / "saved", args, pairs + more)
    assert again.losses.heads()[0].tie == pytest.approx(learned.tie)


def test_without_any_tie_bradley_terry_is_kept(base, tokenizer, tmp_path):
    rows = [row for row in tied_pairs(40) if row["labels"]["kind"] != 0.5]
    made = [
        RewardHeadsTrainer(new_reward(base, tokenizer, ["kind"]), config(tmp_path, **settings), rows)
        for settings in ({}, {"pair_loss": "davidson"}, {"pair_loss": "rao_kupper", "tie_parameter": 1.0})
    ]
    assert made[1].reward.heads[0] == Head("bradley_terry")
    assert made[2].reward.heads[0] == Head("rao_kupper", 1.0)
    assert [batch_loss(trainer) for trainer in made[1:]] == pytest.approx([batch_loss(made[0])] * 2)


def test_ordinal_ratings(base, tokenizer, tmp_path):
    args = config(tmp_path / "run", rating_loss={"kind": "ordinal"}, num_train_epochs=6)
    pairs = [row | {"labels": {"loud": row["labels"]["loud"]}} for row in make_pairs(30)]
    trainer = RewardHeadsTrainer(
        new_reward(base, tokenizer, ["kind", "loud"]), args, levelled(500) + pairs, levelled(150, 5)
    )
    assert trainer.reward.heads[0].levels == (1.0, 2.0, 4.0, 5.0)
    assert trainer.reward.units is None
    start = trainer.reward.heads[0].thresholds
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_level_accuracy/kind"] > 0.8
    assert metrics["eval_level_error/kind"] < 0.5
    assert "eval_mse/kind" not in metrics
    assert trainer.reward.offset[0] == 0
    thresholds = trainer.reward.heads[0].thresholds
    assert (
        thresholds[-1] - thresholds[0] > start[-1] - start[0] + 0.1
    )  # the scores tell levels apart, so they lie further apart
    trainer.reward.save_pretrained(tmp_path / "saved")
    again = TransformerReward.from_pretrained(tmp_path / "saved")
    assert again.heads == trainer.reward.heads
    held_out = levelled(150, 6)
    scores = again.score([row["prompt"] for row in held_out], [row["completion"] for row in held_out])
    found = again.expected_ratings(scores)
    truth = torch.tensor([row["scores"]["kind"] for row in held_out])
    assert (found[:, 0] - truth).abs().mean() < 0.5
    assert found[:, 1].isnan().all()


def test_expected_ratings_of_every_kind(base, tokenizer, tmp_path):
    rows = [
        {"prompt": "ask me :", "completion": text, "scores": {"kind": i % 3, "brief": 40 + i, "loud": i % 2}}
        for i, text in enumerate(TEXTS)
    ]
    args = config(tmp_path, rating_loss={"kind": "ordinal", "brief": "huber", "loud": "binary"})
    trainer = RewardHeadsTrainer(new_reward(base, tokenizer), args, rows, rows)
    scores = torch.tensor([[0.0, 1.0, math.log(3)]])
    expected = [trainer.reward.heads[0].expected_rating(scores[:, 0]).item(), 44 + 7.5**0.5, 0.75]
    assert_close(trainer.reward.expected_ratings(scores), torch.tensor([expected]))
    assert {"eval_level_error/kind", "eval_mse/brief", "eval_sign_accuracy/loud"} <= set(trainer.evaluate())


def test_binary_is_sign_aware(base, tokenizer, tmp_path):
    rows = [row | {"scores": {"kind": float(row["scores"]["kind"] > 2)}} for row in levelled(20)]
    trainers = [
        RewardHeadsTrainer(new_reward(base, tokenizer, ["kind"]), config(tmp_path, **settings), rows)
        for settings in ({"sign_aware": ["kind"]}, {"rating_loss": {"kind": "binary"}}, {"rating_loss": "binary"})
    ]
    assert len({batch_loss(trainer) for trainer in trainers}) == 1
    assert all(trainer.reward.heads == (Head(ratings="binary"),) for trainer in trainers)


# --- weights ---------------------------------------------------------------------------------------------------------------------


def test_lora_trains_little_and_saves_an_ordinary_model(base, tokenizer, tmp_path):
    reward = new_reward(base, tokenizer)
    before = {name: weight.clone() for name, weight in reward.model.state_dict().items()}
    args = config(
        tmp_path / "run", lora_rank=4, lora_target_modules=["q_proj", "up_proj"], save_strategy="steps", save_steps=1
    )
    trainer = RewardHeadsTrainer(reward, args, make_pairs(64), make_pairs(20))
    trainer.train()
    trainer.evaluate()
    after = reward.model.state_dict()
    assert set(after) == set(before)
    changed = {name.split(".")[-2] for name in before if not after[name].equal(before[name])}
    assert changed == {"q_proj", "up_proj", "score"}
    assert all(weight.requires_grad for weight in reward.model.parameters())
    expected = reward.score(["please"] * 9, TEXTS) + reward.offset
    trainer.save_model(str(tmp_path / "saved"))
    for folder in (tmp_path / "saved", tmp_path / "run" / "checkpoint-2"):
        ids, mask = reward.pad(reward.encode(["please"] * 9, TEXTS))
        with torch.no_grad():
            logits = AutoModelForSequenceClassification.from_pretrained(folder)(ids, attention_mask=mask).logits
        assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    trainer.train()  # new layers on what was merged
    assert set(reward.model.state_dict()) == set(before)


def test_a_frozen_trunk_stays(base, tokenizer, tmp_path):
    reward = new_reward(base, tokenizer)
    before = {name: weight.clone() for name, weight in reward.model.state_dict().items()}
    RewardHeadsTrainer(reward, config(tmp_path, freeze_trunk=True), make_pairs(64)).train()
    assert [name for name, weight in reward.model.state_dict().items() if not weight.equal(before[name])] == [
        "score.weight"
    ]


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4}, {"freeze_trunk": True, "pooling": "mean"}])
def test_resumes_bit_for_bit_with_what_the_losses_learn(base, tokenizer, tmp_path, settings):
    rows = tied_pairs(48) + levelled(16)

    def train(folder, resume=None):
        args = config(
            folder,
            save_strategy="steps",
            save_steps=2,
            per_device_train_batch_size=16,
            pair_loss="davidson",
            rating_loss="ordinal",
            **settings,
        )
        trainer = RewardHeadsTrainer(new_reward(base, tokenizer, ["kind"]), args, rows)
        trainer.train(resume_from_checkpoint=resume)
        return trainer.reward

    whole = train(tmp_path / "whole")
    halfway = tmp_path / "whole" / "checkpoint-2"
    resumed = train(tmp_path / "resumed", str(halfway))
    for weight, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert weight.equal(other)
    assert whole.heads == resumed.heads
    # A checkpoint is a reward too, with what was learned so far.
    saved = TransformerReward.from_pretrained(halfway)
    assert saved.heads[0].tie != whole.heads[0].tie
    assert saved.heads[0].levels == whole.heads[0].levels
    (halfway / "training_parameters.safetensors").unlink()
    with pytest.raises(InputError, match=r"no training_parameters\.safetensors"):
        train(tmp_path / "again", str(halfway))


def test_the_best_checkpoint_brings_back_what_its_losses_learned(base, tokenizer, tmp_path):
    args = config(
        tmp_path,
        rating_loss="ordinal",
        lora_rank=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_level_error/kind",
        greater_is_better=True,  # so that the first, worst one is the best
        eval_strategy="epoch",
        save_strategy="epoch",
        num_train_epochs=4,
    )
    trainer = RewardHeadsTrainer(new_reward(base, tokenizer, ["kind"]), args, levelled(64), levelled(64, 4))
    trainer.train()
    saved = TransformerReward.from_pretrained(trainer.state.best_model_checkpoint)
    assert trainer.reward.heads == saved.heads
    assert_close(trainer.reward.score(["p"] * 9, TEXTS), saved.score(["p"] * 9, TEXTS), atol=1e-5, rtol=1e-4)


# --- texts -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_mean_pooling_is_trained_and_kept(kind, base, tokenizer, tmp_path):
    reward = new_reward(base, tokenizer, ["kind"]) if kind == "llama" else make_encoder(kind, tokenizer, ["kind"])
    rows = [row | {"labels": {"kind": row["labels"]["kind"]}} for row in make_pairs(300)]
    trainer = RewardHeadsTrainer(reward, config(tmp_path / "run", pooling="mean", num_train_epochs=6), rows)
    trainer.train()
    assert pairwise_accuracy(reward, rows)["kind"].accuracy > 0.9
    trainer.save_model(str(tmp_path / "saved"))
    again = TransformerReward.from_pretrained(tmp_path / "saved")
    assert again.pooling == "mean"
    assert_close(again.score(["p"] * 9, TEXTS), reward.score(["p"] * 9, TEXTS), atol=1e-6, rtol=1e-5)


def test_an_encoder_gives_the_same_numbers_as_an_ordinary_classifier(tokenizer, tmp_path):
    reward = make_encoder("bert", tokenizer, OBJECTIVES)
    trainer = RewardHeadsTrainer(reward, config(tmp_path / "run"), make_pairs(32))
    trainer.train()
    reward.save_pretrained(tmp_path / "saved")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    ids, mask = reward.pad(reward.encode(["p"] * 9, TEXTS))
    with torch.no_grad():
        got = model(ids, attention_mask=mask).logits - reward.offset
    assert_close(got, reward.score(["p"] * 9, TEXTS), atol=1e-6, rtol=1e-5)


def test_says_how_many_texts_were_cut(base, tokenizer, tmp_path, caplog):
    rows = [row | {"labels": {"kind": row["labels"]["kind"]}} for row in make_pairs(8)]
    rows[0]["labels"]["kind"] = 1.0
    args = config(tmp_path, max_length=8, truncation_side="right")
    with caplog.at_level(logging.WARNING, logger="reward_heads"):
        trainer = RewardHeadsTrainer(new_reward(base, tokenizer, ["kind"]), args, rows, {"held": rows[:3]})
    # <s> ask me : and </s> beside the words
    lengths = [5 + len(row[field].split()) for field in ("completion_a", "completion_b") for row in rows]
    cut = [length - 8 for length in lengths if length > 8]
    assert trainer.reward.tokenizer.truncation_side == "right"
    assert caplog.records[0].getMessage().startswith(f"train_dataset: {len(cut)} of 16 texts")
    assert "cut on the right" in caplog.records[0].getMessage()
    metrics = trainer.train().metrics
    assert (metrics["train_truncated_texts"], metrics["train_truncated_tokens"]) == (len(cut), sum(cut))
    assert trainer.evaluate()["eval_held_truncated_texts"] <= 6
    assert any("train_truncated_texts" in entry for entry in trainer.state.log_history)


def test_the_heads_pass_to_grpo_by_name(base, tokenizer, tmp_path):
    from trl import GRPOConfig, GRPOTrainer

    RewardHeadsTrainer(new_reward(base, tokenizer), config(tmp_path / "run"), make_pairs(16)).reward.save_pretrained(
        tmp_path / "reward"
    )
    args = GRPOConfig(
        output_dir=str(tmp_path / "grpo"),
        use_cpu=True,
        bf16=False,
        report_to="none",
        max_steps=1,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=4,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=make_base(),
        reward_funcs=as_reward_funcs(TransformerReward.from_pretrained(tmp_path / "reward")),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "ask me"}]),
        processing_class=make_tokenizer(),
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    assert all(math.isfinite(logged[f"rewards/{name}/mean"]) for name in OBJECTIVES)
