import pytest
import torch
from transformers import AutoModelForSequenceClassification

from frontier.errors import InputError
from reward_heads.general_preference import (
    GeneralPreferenceConfig,
    GeneralPreferenceModel,
    GeneralPreferenceReward,
    finetune_preference_model,
)


@pytest.fixture(scope="module")
def settings():
    return {"epochs": 20, "learning_rate": 1e-3, "batch_size": 9}


def test_a_transformer_learns_the_cycle_and_comes_back(base, tokenizer, pairs, settings, tmp_path):
    model = finetune_preference_model(base, pairs, tokenizer=tokenizer, **settings)
    assert model.accuracy(pairs)["round"].accuracy > 0.95
    a, b = [" good", " sky cat"], [" bad sea", " good"]
    there = model.preference(["ask me :"] * 2, a, b)
    assert torch.equal(there, 1 - model.preference(["ask me :"] * 2, b, a))
    model.save_pretrained(tmp_path / "model")
    loaded = GeneralPreferenceModel.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.preference(["ask me :"] * 2, a, b), there)
    # The trunk is an ordinary sequence classifier with 2k labels.
    trunk = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model" / "trunk")
    assert trunk.config.num_labels == 8
    assert trunk.config.id2label[0] == "round.1"
    reward = model.as_reward([" good", " cat"])
    reward.save_pretrained(tmp_path / "reward")
    found = GeneralPreferenceReward.from_pretrained(tmp_path / "reward").score(["ask me :"], [" bad"])
    assert torch.equal(found, reward.score(["ask me :"], [" bad"]))


def test_refuses_a_trunk_of_another_save(base, tokenizer, pairs, tmp_path):
    config = GeneralPreferenceConfig(blocks=1, unit_norm=True, temperature=0.1)
    finetune_preference_model(base, pairs[:9], config, tokenizer=tokenizer, epochs=1).save_pretrained(tmp_path)
    weights = tmp_path / "trunk" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"1")
    with pytest.raises(InputError, match="not the one that was saved with it"):
        GeneralPreferenceModel.from_pretrained(tmp_path)


def test_refuses_settings(base, tokenizer, pairs):
    with pytest.raises(InputError, match="epochs, learning_rate and batch_size must be positive, found 0"):
        finetune_preference_model(base, pairs, tokenizer=tokenizer, epochs=0)
    with pytest.raises(InputError, match="prompt_scales needs features"):
        finetune_preference_model(base, pairs, GeneralPreferenceConfig(prompt_scales=True), tokenizer=tokenizer)
