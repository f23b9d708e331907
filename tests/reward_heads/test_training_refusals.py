"""Settings that are wrong, that do not fit the data, or models that do not fit their files."""

import json

import pytest

from frontier.errors import InputError
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
