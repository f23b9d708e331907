import pytest
import torch

from frontier.errors import InputError
from reward_heads import FunctionReward, TransformerReward
from reward_heads.saved import MARKERS, load_reward, marker_of, save_reward


def test_a_transformer_comes_back(reward, tmp_path):
    save_reward(reward, tmp_path / "r")
    loaded = load_reward(tmp_path / "r")
    assert isinstance(loaded, TransformerReward)
    assert marker_of(tmp_path / "r") == "reward_heads.json"
    assert torch.equal(loaded.score(["ask"], [" good"]), reward.score(["ask"], [" good"]))


def test_an_ordinary_classifier_is_read_too(reward, tmp_path):
    reward.model.save_pretrained(tmp_path)
    reward.tokenizer.save_pretrained(tmp_path)
    assert marker_of(tmp_path) is None
    assert load_reward(tmp_path).objectives == reward.objectives


def test_every_marker_names_a_class_that_reads_folders():
    import importlib

    for target in MARKERS.values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name).from_pretrained)


def test_refuses_two_rewards_in_one_folder(tmp_path):
    for marker in ("probe.json", "reward_heads.json"):
        (tmp_path / marker).write_text("{}")
    with pytest.raises(InputError, match=r"two rewards, reward_heads\.json and probe\.json"):
        load_reward(tmp_path)


def test_refuses_a_reward_made_of_code(tmp_path):
    with pytest.raises(InputError, match=r"FunctionReward can't be saved.*FILE\.py:NAME"):
        save_reward(FunctionReward({"long": lambda prompt, completion: 1.0}), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_refuses_an_empty_place(tmp_path):
    with pytest.raises(InputError, match="no model folder"):
        load_reward(tmp_path / "missing")


def test_a_model_of_users_is_named(tmp_path):
    (tmp_path / "latent.json").write_text("{}")
    with pytest.raises(InputError, match=r"model of users.*LatentUsers\.from_pretrained"):
        load_reward(tmp_path)
