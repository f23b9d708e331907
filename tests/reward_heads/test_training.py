import json
import math
import random

import pytest
import torch
from datasets import Dataset
from torch.testing import assert_close
from transformers import HfArgumentParser, LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from frontier.errors import InputError
from reward_heads.accuracy import pairwise_accuracy
from reward_heads.batching import PairCollator, texts_of
from reward_heads.model import TransformerReward
from reward_heads.training import RewardHeadsTrainer
from reward_heads.training_config import RewardHeadsConfig

from .conftest import make_pairs, random_completion, true_scores

OBJECTIVES = ["kind", "brief", "loud"]


def config(folder, **settings):
    defaults = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "per_device_train_batch_size": 32,
        "learning_rate": 3e-3,
        "num_train_epochs": 1,
    }
    return RewardHeadsConfig(**(defaults | settings))


def make_ratings(n, seed=0, missing=0.3):
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        completion = random_completion(rng)
        # Ratings in the annotators' own units: 10 points a nice word, from 50.
        scores = {name: 50 + 10 * value for name, value in true_scores(completion).items()}
        rows.append(
            {
                "prompt": "ask me :",
                "completion": completion,
                "scores": {name: value if rng.random() >= missing else None for name, value in scores.items()},
            }
        )
    return rows


def test_recovers_planted_rewards_from_pairs_with_missing_labels(reward, tmp_path):
    trainer = RewardHeadsTrainer(
        reward, config(tmp_path, num_train_epochs=4), make_pairs(800, missing=0.4), eval_dataset=make_pairs(200, seed=9)
    )
    trainer.train()
    found = pairwise_accuracy(trainer.reward, make_pairs(300, seed=7))
    assert {name: round(value.accuracy, 2) for name, value in found.items() if value.accuracy < 0.9} == {}
    assert all(value.n > 100 for value in found.values())
    assert trainer.reward.training == "pairs"
    metrics = trainer.evaluate()
    assert metrics["eval_accuracy/kind"] > 0.9
    assert metrics["eval_loss"] < 0.5
    # Evaluation and pairwise_accuracy say the same.
    same = pairwise_accuracy(trainer.reward, make_pairs(200, seed=9))
    assert metrics["eval_accuracy/brief"] == pytest.approx(same["brief"].accuracy)
    # The level is pinned: the mean score over the training completions is 0.
    rows = make_pairs(800, missing=0.4)
    completions = [row["completion_a"] for row in rows] + [row["completion_b"] for row in rows]
    scores = trainer.reward.score([row["prompt"] for row in rows] * 2, completions)
    assert_close(scores.mean(dim=0), torch.zeros(3), atol=1e-4, rtol=0)
    assert trainer.reward.offset.abs().max() > 1e-3


def test_recovers_ratings_in_their_own_units(reward, tmp_path):
    trainer = RewardHeadsTrainer(
        reward, config(tmp_path, num_train_epochs=8), make_ratings(800), eval_dataset=make_ratings(100, seed=5)
    )
    metrics = trainer.evaluate()
    assert "eval_accuracy/kind" not in metrics
    before = metrics["eval_mse/kind"]
    trainer.train()
    assert trainer.evaluate()["eval_mse/kind"] < min(0.2, before / 3)
    assert trainer.reward.training == "ratings"
    held_out = make_ratings(100, seed=6, missing=0.0)
    scores = trainer.reward.score([row["prompt"] for row in held_out], [row["completion"] for row in held_out])
    data_units = trainer.reward.units.inverse(scores)
    truth = torch.tensor([[row["scores"][name] for name in OBJECTIVES] for row in held_out])
    assert (data_units - truth).abs().mean() < 5.0  # points; the standard deviation is above 10
    assert trainer.reward.offset.eq(0).all()  # ratings fix the level themselves


def test_learns_from_pairs_and_ratings_at_once(reward, tmp_path):
    pairs = [dict(row, labels={"kind": row["labels"]["kind"]}) for row in make_pairs(500)]
    ratings = [dict(row, scores={"brief": row["scores"]["brief"]}) for row in make_ratings(500, missing=0)]
    loud = [dict(row, labels={"loud": row["labels"]["loud"]}) for row in make_pairs(500, seed=3)]
    trainer = RewardHeadsTrainer(reward, config(tmp_path, num_train_epochs=4), pairs + ratings + loud)
    trainer.train()
    assert trainer.reward.training == "pairs+ratings"
    found = pairwise_accuracy(trainer.reward, make_pairs(300, seed=7))
    assert {name: round(value.accuracy, 2) for name, value in found.items() if value.accuracy < 0.9} == {}
    assert trainer.reward.offset[1] == 0
    assert trainer.reward.units.location[0] == 0
    assert trainer.reward.units.scale[0] == 1


def test_a_missing_label_gives_its_head_exactly_zero_gradient(reward, tmp_path):
    rows = make_pairs(6)
    for row in rows:
        row["labels"] = {"kind": 1.0, "brief": None}
    rows.append(dict(rows[0], labels={"brief": 1.0, "loud": 0.0}))
    trainer = RewardHeadsTrainer(reward, config(tmp_path), rows)
    items = trainer.train_dataset.items
    batch = trainer._prepare_inputs(PairCollator(reward)(items[:6]))
    trainer.compute_loss(trainer.model, batch).backward()
    gradient = reward.model.score.weight.grad
    assert gradient[1:].eq(0).all()
    assert gradient[0].abs().max() > 0
    assert all(weight.grad.isfinite().all() for weight in reward.model.parameters() if weight.grad is not None)


def test_loss_of_a_batch_by_hand(reward, tmp_path):
    rows = make_pairs(3)
    rows[0]["labels"] = {"kind": 1.0}
    rows[1]["labels"] = {"kind": 0.25, "brief": 0.0}
    rows[2]["labels"] = {"loud": 0.5}
    trainer = RewardHeadsTrainer(reward, config(tmp_path, objective_weights={"kind": 3}), rows)
    batch = PairCollator(reward)(trainer.train_dataset.items)
    score = lambda field: reward.score([row["prompt"] for row in rows], [row[field] for row in rows])  # noqa: E731
    delta = (score("completion_a") - score("completion_b")).double()

    def bradley_terry(row, objective, p):
        chance = 1 / (1 + math.exp(-delta[row, objective]))
        return -(p * math.log(chance) + (1 - p) * math.log(1 - chance))

    kind = (bradley_terry(0, 0, 1.0) + bradley_terry(1, 0, 0.25)) / 2
    expected = (3 * kind + bradley_terry(1, 1, 0.0) + bradley_terry(2, 2, 0.5)) / 5
    assert trainer.compute_loss(trainer.model.eval(), batch).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("batch", [1, 4, 10])
def test_the_evaluation_loss_is_the_mean_over_all_labels(reward, tmp_path, batch):
    rows = make_pairs(10, missing=0.7, seed=3)
    args = config(tmp_path, per_device_eval_batch_size=batch, objective_weights={"kind": 3})
    trainer = RewardHeadsTrainer(reward, args, make_pairs(20), rows)
    score = lambda field: reward.score([row["prompt"] for row in rows], [row[field] for row in rows])  # noqa: E731
    delta = score("completion_a") - score("completion_b")
    total, weights = 0.0, 0.0
    for k, name in enumerate(OBJECTIVES):
        labels = [(row["labels"][name], delta[i, k].item()) for i, row in enumerate(rows)]
        losses = [math.log1p(math.exp(-d if p else d)) for p, d in labels if p is not None]
        assert 0 < len(losses) < 10
        weight = 3 if name == "kind" else 1
        total, weights = total + weight * sum(losses) / len(losses), weights + weight
    for _ in range(2):  # evaluations do not add up
        assert trainer.evaluate()["eval_loss"] == pytest.approx(total / weights, abs=1e-6)
    found = trainer.predict(rows)
    assert found.metrics["test_loss"] == pytest.approx(total / weights, abs=1e-6)
    assert "test_accuracy/kind" in found.metrics
    assert_close(torch.tensor(found.predictions), delta, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("batch", "steps"), [(2, 4), (1, 8)])
def test_the_update_does_not_depend_on_how_the_batch_is_cut(base, tokenizer, tmp_path, batch, steps):
    def train(batch, steps):
        reward = TransformerReward.from_base(base, OBJECTIVES, tokenizer=tokenizer)
        settings = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps, "learning_rate": 0.1}
        args = config(tmp_path, optim="sgd", lr_scheduler_type="constant", center_scores=False, **settings)
        rows = [row | {"labels": dict(row["labels"])} for row in make_pairs(32, missing=0.5)]
        trainer = RewardHeadsTrainer(reward, args, rows + make_ratings(16, missing=0.5))
        trainer.train()
        return trainer.state.global_step, [weight.detach() for weight in reward.model.parameters()]

    steps_taken, weights = train(batch, steps)
    expected_steps, expected = train(8, 1)
    assert steps_taken == expected_steps == 6
    for weight, other in zip(weights, expected, strict=True):
        assert_close(weight, other, atol=2e-6, rtol=1e-5)


def test_training_is_reproducible_and_resumes(base, tokenizer, tmp_path):
    def train(folder, resume=None, **settings):
        reward = TransformerReward.from_base(base, OBJECTIVES, tokenizer=tokenizer)
        args = config(folder, save_strategy="steps", save_steps=2, per_device_train_batch_size=16, **settings)
        trainer = RewardHeadsTrainer(reward, args, make_pairs(64) + make_ratings(16))
        trainer.train(resume_from_checkpoint=resume)
        return trainer.reward

    whole = train(tmp_path / "whole")
    assert (tmp_path / "whole" / "checkpoint-2" / "reward_heads.json").is_file()
    resumed = train(tmp_path / "resumed", resume=str(tmp_path / "whole" / "checkpoint-2"))
    for weight, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert weight.equal(other)
    assert whole.offset.equal(resumed.offset)


def test_tokens_of_both_texts_lie_side_by_side(reward, tmp_path):
    rows = [*make_pairs(3), *make_ratings(2, missing=0)]
    trainer = RewardHeadsTrainer(reward, config(tmp_path), rows)
    items = trainer.train_dataset.items
    assert [len(texts_of(item)) for item in items] == [2, 2, 2, 1, 1]
    assert texts_of(items[0]) == reward.encode(
        [rows[0]["prompt"]] * 2, [rows[0]["completion_a"], rows[0]["completion_b"]]
    )
    batch = PairCollator(reward)([items[3], items[0], items[4], items[1]])
    texts = batch["texts"]  # of six texts, those that come again are read once
    assert len(texts) == 6
    assert batch["input_ids"].shape[0] == texts.max() + 1
    assert batch["is_pair"].tolist() == [False, True, False, True]
    # The second texts follow in the order of the pairs.
    second = texts_of(items[1])[1]
    assert batch["input_ids"][texts[5], : len(second)].tolist() == second
    assert batch["attention_mask"][texts[5]].sum() == len(second)


def test_takes_a_datasets_dataset_and_new_heads_on_a_folder(base_folder, tmp_path):
    rows = Dataset.from_list(make_pairs(40, missing=0.3))
    trainer = RewardHeadsTrainer(base_folder, config(tmp_path), rows, eval_dataset={"held": rows})
    assert trainer.reward.objectives == ("kind", "brief", "loud")
    trainer.train()
    assert "eval_held_accuracy/kind" in trainer.evaluate()
    assert "eval_accuracy/kind" in trainer.evaluate(make_pairs(5))
    assert "eval_new_accuracy/kind" in trainer.evaluate({"new": make_pairs(5)})
    with pytest.raises(InputError, match="eval_dataset 'new', row 0"):
        trainer.evaluate({"new": [{"prompt": "p"}]})
    trainer.save_model(tmp_path / "saved")
    again = RewardHeadsTrainer(tmp_path / "saved", config(tmp_path), rows)
    assert again.reward.objectives == trainer.reward.objectives
    assert again.reward.model.model.embed_tokens.weight.equal(trainer.reward.model.model.embed_tokens.weight)


@pytest.mark.parametrize("bf16", [False, True])
def test_the_saved_model_scores_as_the_trained_one(reward, tmp_path, bf16):
    rows = make_pairs(64) + make_ratings(8, missing=0)
    trainer = RewardHeadsTrainer(reward, config(tmp_path, bf16=bf16), rows, eval_dataset=rows)
    trainer.train()
    trainer.evaluate()
    trainer.save_model(str(tmp_path / "saved"))
    texts = [random_completion(random.Random(index)) for index in range(9)]
    again = TransformerReward.from_pretrained(tmp_path / "saved")
    assert_close(again.score(["please"] * 9, texts), trainer.reward.score(["please"] * 9, texts), atol=1e-6, rtol=1e-5)
    assert again.units == trainer.reward.units


def test_center_can_be_left_out(reward, tmp_path):
    trainer = RewardHeadsTrainer(reward, config(tmp_path, center_scores=False), make_pairs(16))
    trainer.train()
    assert trainer.reward.offset.eq(0).all()


@pytest.mark.parametrize("samples", [4, 7, 10, 99])
def test_centring_reads_completions_spread_evenly(reward, tmp_path, samples):
    trainer = RewardHeadsTrainer(reward, config(tmp_path, center_samples=samples), make_pairs(10))
    chosen = {4: (0, 2, 5, 7), 7: (0, 1, 2, 4, 5, 7, 8)}.get(samples, range(10))
    rows = [row for i in chosen for row in texts_of(trainer.tokenized.items[i])]
    trainer._center()
    assert_close(reward.offset, reward.outputs(rows).mean(dim=0))


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_dropout_is_off_where_it_is_a_function(tokenizer, tmp_path, kind):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    if kind == "opt":
        base = OPTForCausalLM(OPTConfig(vocab_size=64, word_embed_proj_dim=16, ffn_dim=16, dropout=0.5, **sizes))
    else:
        base = LlamaForCausalLM(LlamaConfig(vocab_size=64, intermediate_size=16, attention_dropout=0.5, **sizes))
    outputs = {}
    for off in (True, False):
        reward = TransformerReward.from_base(base, OBJECTIVES, tokenizer=tokenizer)
        RewardHeadsTrainer(reward, config(tmp_path, disable_dropout=off), make_pairs(20))
        ids, mask = reward.pad(reward.encode(["ask me :"], [" good dog ran"]))
        with torch.no_grad():
            outputs[off] = [reward.model.train()(ids, attention_mask=mask).logits for _ in range(2)]
    assert outputs[True][0].equal(outputs[True][1])
    assert not outputs[False][0].equal(outputs[False][1])


# --- settings and refusals -------------------------------------------------------------------------------------------------------


def test_every_own_field_has_help_and_the_parser_reads_them(tmp_path):
    own = [
        field
        for name, field in RewardHeadsConfig.__dataclass_fields__.items()
        if name in RewardHeadsConfig.__annotations__
    ]
    assert len(own) >= 8
    assert all(field.metadata["help"] for field in own)
    parser = HfArgumentParser(RewardHeadsConfig)
    parser.format_help()
    line = [
        "--output_dir",
        str(tmp_path),
        "--use_cpu",
        "true",
        "--objective_weights",
        '{"kind": 2}',
        "--max_length",
        "12",
    ]
    (args,) = parser.parse_args_into_dataclasses([*line, "--objectives", "kind", "brief"])
    assert args.objective_weights == {"kind": 2}
    assert args.objectives == ["kind", "brief"]
    assert (args.max_length, args.bf16, args.remove_unused_columns) == (12, False, False)
    json.dumps(args.to_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective_weights": {"kind": 0.0}}, "weight of 'kind' must be a positive number, found 0.0"),
        ({"objective_weights": "kind"}, "must map objectives to numbers"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"remove_unused_columns": True}, "remove_unused_columns must be false"),
        ({"objectives": ["a", "a"]}, "objective 'a' is named twice"),
    ],
)
def test_refuses_bad_settings(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        config(tmp_path, **settings)


def test_refuses_an_objective_without_any_label(reward, tmp_path):
    rows = [dict(row, labels={"kind": 1.0, "brief": 0.5, "loud": None}) for row in make_pairs(5)]
    with pytest.raises(InputError, match="objective 'loud' has no label in any of the 5 rows"):
        RewardHeadsTrainer(reward, config(tmp_path), rows)


def test_refuses_unknown_objectives(reward, tmp_path):
    rows = [*make_pairs(1), dict(make_pairs(1)[0], labels={"kindd": 1.0})]
    with pytest.raises(
        InputError, match="train_dataset, row 1, field 'labels': unknown objective 'kindd': did you mean 'kind'"
    ):
        RewardHeadsTrainer(reward, config(tmp_path), rows)
    with pytest.raises(InputError, match="objective in objective_weights 'bried': did you mean 'brief'"):
        RewardHeadsTrainer(reward, config(tmp_path, objective_weights={"bried": 1}), make_pairs(30))
    with pytest.raises(InputError, match="the reward model has kind, brief, loud, found kind"):
        RewardHeadsTrainer(reward, config(tmp_path, objectives=["kind"]), make_pairs(5))


def test_refuses_ratings_that_are_all_the_same(reward, tmp_path):
    rows = make_pairs(30) + [dict(row, scores={"kind": 3.0}) for row in make_ratings(4)]
    with pytest.raises(InputError, match="objective 'kind' is 3 in all 4 scores"):
        RewardHeadsTrainer(reward, config(tmp_path), rows)


@pytest.mark.parametrize("rows", [[], None])
def test_refuses_no_data(reward, tmp_path, rows):
    with pytest.raises(InputError, match="train_dataset"):
        RewardHeadsTrainer(reward, config(tmp_path), rows)
