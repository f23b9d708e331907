"""Settings that are wrong, that do not fit the data, or models that do not fit their files."""

import json

import pytest
import torch
from datasets import Dataset, DatasetDict

from frontier.errors import InputError
from reward_heads.head import Head
from reward_heads.model import TransformerReward
from reward_heads.training import RewardHeadsTrainer

from .conftest import make_base, make_pairs
from .encoders import make_encoder
from .test_training import config
from .test_training_options import levelled, new_reward


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pair_loss": "davidsen"}, "unknown pair_loss 'davidsen': did you mean 'davidson'"),
        ({"rating_loss": {"kind": "ordnal"}}, "unknown rating_loss 'ordnal': did you mean 'ordinal'"),
        ({"noise_correction": "bounded"}, "unknown noise_correction 'bounded'"),
        ({"pooling": "last"}, "unknown pooling 'last'"),
        ({"truncation_side": "middle"}, "unknown truncation_side 'middle'"),
        ({"label_noise": {"kind": 0.5}}, "flip rate of 'kind' must be at least 0 and below 0.5, found 0.5"),
        ({"label_noise": 0.1}, "label_noise must map objectives to numbers"),
        ({"rating_range": {"kind": [5, 1]}}, r"rating_range of 'kind' must be \[lowest, highest\], found \[5, 1\]"),
        ({"tie_parameter": 2.0}, "tie_parameter belongs to pair_loss rao_kupper or davidson"),
        ({"tie_parameter": 0.5, "pair_loss": "rao_kupper"}, "tie_parameter must be at least 1, found 0.5"),
        ({"huber_delta": 0.0}, "huber_delta must be a positive number"),
        ({"lora_rank": 0}, "lora_rank must be at least 1"),
        ({"lora_alpha": 8.0}, "lora_alpha does nothing without lora_rank"),
        ({"lora_rank": 4, "freeze_trunk": True}, "choose one"),
    ],
)
def test_refuses_bad_settings(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        config(tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_noise": {"knd": 0.1}}, "objective in label_noise 'knd': did you mean 'kind'"),
        ({"rating_range": {"knd": [1, 5]}}, "objective in rating_range 'knd'"),
        ({"pair_loss": {"knd": "davidson"}}, "objective in pair_loss 'knd'"),
        (
            {"rating_range": {"kind": [1, 3]}},
            r"train_dataset, row \d+, field 'scores', objective 'kind': .* found [45]",
        ),
        ({"sign_aware": ["kind"], "rating_loss": {"kind": "huber"}}, "is sign_aware, so its rating_loss is 'binary'"),
        ({"rating_loss": {"loud": "ordinal"}}, "objective 'loud' has rating_loss 'ordinal', but no rating"),
        ({"lora_rank": 2, "lora_target_modules": ["qproj"]}, "linear layer of the trunk 'qproj'"),
    ],
)
def test_refuses_settings_that_do_not_fit_the_data(base, tokenizer, tmp_path, settings, message):
    rows = levelled(20) + [row | {"labels": {"loud": 1.0}} for row in make_pairs(1)]
    with pytest.raises(InputError, match=message):
        RewardHeadsTrainer(new_reward(base, tokenizer, ["kind", "loud"]), config(tmp_path, **settings), rows)


def test_refuses_a_scheduler_without_the_group_of_what_losses_learn(base, tokenizer, tmp_path):
    reward, rows = new_reward(base, tokenizer, ["kind"]), levelled(20)
    optimizer = torch.optim.SGD(reward.model.parameters(), lr=0.1)
    given = (optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer))
    with pytest.raises(InputError, match="a scheduler can't be given where the losses learn"):
        RewardHeadsTrainer(reward, config(tmp_path, rating_loss="ordinal"), rows, optimizers=given)
    RewardHeadsTrainer(reward, config(tmp_path), rows, optimizers=given).train()


@pytest.mark.parametrize(("rows", "settings"), [("pairs", {}), ("flags", {}), ("pairs", {"rating_loss": "binary"})])
def test_refuses_to_move_the_boundary_of_a_sign_aware_head(base, tokenizer, tmp_path, rows, settings):
    reward = new_reward(base, tokenizer, ["kind"], heads=[Head(ratings="binary")])
    pairs = [row | {"labels": {"kind": 1.0}} for row in make_pairs(4)]
    flags = [row | {"scores": {"kind": float(i % 2)}} for i, row in enumerate(levelled(4))]
    rows = pairs if rows == "pairs" else flags
    with pytest.raises(InputError, match="objective 'kind' is sign-aware in the model to go on with"):
        RewardHeadsTrainer(reward, config(tmp_path, **settings), rows)
    assert RewardHeadsTrainer(reward, config(tmp_path, sign_aware=["kind"]), pairs + flags).reward.heads[0].sign_aware
    given_up = RewardHeadsTrainer(reward, config(tmp_path, rating_loss={"kind": "squared"}), rows).reward.heads[0]
    assert not given_up.sign_aware


@pytest.mark.parametrize("where", ["rows", "evaluation", "transformers"])
def test_a_refusal_leaves_the_given_reward_as_it_was(base, tokenizer, tmp_path, where):
    reward = new_reward(base, tokenizer, ["kind"], offset=[0.5])
    for module in reward.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.25
    before = {name: value for name, value in vars(reward).items() if name not in ("model", "tokenizer")}
    settings = {"rating_loss": "ordinal", "max_length": 9, "truncation_side": "right", "pooling": "mean"}
    bad = [levelled(1)[0] | {"scores": {"kind": 3}}]
    rows = {"rows": levelled(20)[:1], "evaluation": levelled(20), "transformers": levelled(20)}[where]
    settings |= {"eval_strategy": "epoch"} if where == "transformers" else {}  # which needs an eval_dataset
    with pytest.raises(ValueError, match=r"at least two|none of the levels|eval_dataset"):
        RewardHeadsTrainer(reward, config(tmp_path, **settings), rows, bad if where == "evaluation" else None)
    assert {name: vars(reward)[name] for name in before} == before
    assert (reward.pooling, reward.tokenizer.truncation_side) == ("model", "left")
    assert any(getattr(module, "attention_dropout", 0.0) == 0.25 for module in reward.model.modules())
    settings.pop("eval_strategy", None)
    assert RewardHeadsTrainer(reward, config(tmp_path, **settings), levelled(20)).reward is reward
    assert (reward.pooling, reward.max_length, reward.tokenizer.truncation_side) == ("mean", 9, "right")
    assert reward.offset.tolist() == [0.0]
    assert reward.heads[0].ratings == "ordinal"


def test_refuses_splits_and_lengths_beyond_the_positions(base_folder, tokenizer, tmp_path):
    splits = DatasetDict(train=Dataset.from_list(make_pairs(20)))
    with pytest.raises(
        InputError, match=r"train_dataset is a mapping of splits, not rows: pass train_dataset\['train'\]"
    ):
        RewardHeadsTrainer(base_folder, config(tmp_path), splits)
    with pytest.raises(InputError, match="train_dataset, row 0: must be a dictionary, found 'text'"):
        RewardHeadsTrainer(base_folder, config(tmp_path), ["text"])
    rows = [row | {"labels": {"kind": 1.0, "brief": 0.0}} for row in make_pairs(4)]
    with pytest.raises(InputError, match=r"max_length must be at most 48, .* found 49"):
        RewardHeadsTrainer(make_encoder("bert", tokenizer), config(tmp_path, max_length=49), rows)
    trainer = RewardHeadsTrainer(make_encoder("bert", tokenizer), config(tmp_path), rows)
    with pytest.raises(
        InputError, match=r"test_dataset is a mapping of splits, not rows: pass test_dataset\['train'\]"
    ):
        trainer.predict(splits)


def test_refuses_ratings_that_are_no_levels(base, tokenizer, tmp_path):
    args = config(tmp_path, rating_loss="ordinal")
    many = [row | {"scores": {"kind": float(i)}} for i, row in enumerate(levelled(40))]
    with pytest.raises(InputError, match="has 40 different ratings, and rating_loss 'ordinal' learns at most 32"):
        RewardHeadsTrainer(new_reward(base, tokenizer, ["kind"]), args, many)
    with pytest.raises(InputError, match="is 3 in all 2 ratings: ordinal levels need at least two"):
        RewardHeadsTrainer(
            new_reward(base, tokenizer, ["kind"]), args, [row | {"scores": {"kind": 3}} for row in many[:2]]
        )
    with pytest.raises(InputError, match=r"eval_dataset, row 0, .* 3 is none of the levels .* \(1, 2, 4, 5\)"):
        RewardHeadsTrainer(
            new_reward(base, tokenizer, ["kind"]), args, levelled(60), [many[0] | {"scores": {"kind": 3}}]
        )


def test_refuses_an_encoder_whose_hidden_size_changed(base, tokenizer, tmp_path):
    reward = make_encoder("bert", tokenizer)
    reward.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": 24}))
    with pytest.raises(InputError, match=r"is saved as .*16.*hidden size 24 with 2 heads needs .*24"):
        TransformerReward.from_pretrained(tmp_path / "saved")
    with pytest.raises(InputError, match="hidden size 24"):
        TransformerReward.from_base(tmp_path / "saved", ["x"])
    rows, args = make_pairs(16), {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    RewardHeadsTrainer(new_reward(base, tokenizer), config(tmp_path / "run", **args), rows).train()
    wider = RewardHeadsTrainer(new_reward(make_base(hidden=48), tokenizer), config(tmp_path / "run", **args), rows)
    with pytest.raises(InputError, match=r"is \[27, 32\], but the model to go on with has \[27, 48\]"):
        wider.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-1"))


def test_refuses_a_language_model_as_a_trained_reward(base_folder):
    with pytest.raises(InputError, match=r"the weight score\.weight is missing .* by TransformerReward\.from_base"):
        TransformerReward.from_pretrained(base_folder)
