import json
import math

import pytest
import torch

from frontier.errors import InputError
from reward_heads.general_preference import (
    GeneralPreferenceConfig,
    GeneralPreferenceModel,
    GeneralPreferenceReward,
    PreferenceNetwork,
    fit_preference_model,
)
from reward_heads.probes import Embedder

CONFIG = GeneralPreferenceConfig(blocks=1, steps=150, held_out=0.0, weight_decay=0.0)


@pytest.fixture
def model(source, pairs):
    return fit_preference_model(source, pairs, CONFIG)


@pytest.fixture
def folder_model(base_folder, pairs):
    return fit_preference_model(
        Embedder.from_pretrained(base_folder), pairs, GeneralPreferenceConfig(blocks=2, steps=100)
    )


def test_learns_the_cycle(model, pairs):
    found = model.accuracy(pairs)
    assert found["round"].accuracy == 1.0
    assert found["round"].n == len(pairs)
    p = model.preference(["ask"] * 3, ["good", "bad", "cat"], ["bad", "cat", "good"])
    assert p.shape == (3, 1)
    assert (p < 0.1).all()


def test_accuracy_of_rows_with_other_or_no_labels(model, pairs):
    others = [{**row, "labels": {"other": 1.0}} for row in pairs[:4]]
    found = model.accuracy([*pairs, *others])
    assert found == model.accuracy(pairs)
    without = model.accuracy(others)["round"]
    assert without.n == 0
    assert math.isnan(without.accuracy)
    with pytest.raises(InputError, match="pairs, row 0: is a rating"):
        model.accuracy([{"prompt": "p", "completion": "good", "scores": {"round": 1.0}}])
    with pytest.raises(InputError, match="no rows"):
        model.accuracy([])


def test_swapped_is_exactly_one_minus(folder_model):
    prompts, a, b = ["ask me :", "please", "ask"], [" good", " bad cat", " sky"], [" cat cat", " sea", " sky"]
    there, back = folder_model.preference(prompts, a, b), folder_model.preference(prompts, b, a)
    assert torch.equal(there, 1 - back)
    assert torch.equal(there + back, torch.ones(3, 1))
    assert there[2].item() == 0.5


@pytest.mark.parametrize("weights", ["uniform", "nash"])
def test_reward_is_the_expected_win(model, weights):
    reward = model.as_reward(["good", "bad", "cat"], weights=weights)
    found = reward.score(["p", "p"], ["good", "bad bad"])
    by_hand = torch.stack(
        [model.preference(["p"] * 3, [text] * 3, ["good", "bad", "cat"]).mean(0) for text in ("good", "bad bad")]
    )
    # In a fair circle both mixtures are a third each.
    assert torch.allclose(found, by_hand, atol=1e-6 if weights == "uniform" else 0.05)
    assert reward.objectives == ("round",)


def test_nash_does_not_count_copies_of_a_weak_opponent(model):
    # "cat" beats "bad": ten copies of bad make it look strong, but good beats cat.
    crowd = ["bad"] * 10 + ["good", "cat"]
    score = lambda weights: model.as_reward(crowd, weights=weights).score(["p"], ["cat"]).item()  # noqa: E731
    assert score("uniform") > 0.75
    assert abs(score("nash") - 0.5) < 0.1


def test_log_odds_of_a_bradley_terry_model_are_its_reward(source):
    network = PreferenceNetwork(3, ("good",), GeneralPreferenceConfig(blocks=1))
    with torch.no_grad():
        network.out.weight.copy_(torch.tensor([[2.0, -1.0, 0.0], [0.0, 0.0, 0.0]]))
        network.out.bias.copy_(torch.tensor([0.0, 1.0]))
    reward = GeneralPreferenceModel(source, network).as_reward(["good", "bad"], scale="log_odds")
    # Rewards 4 and −1; the opponents' are 2 and −1, in the mean ½.
    assert torch.allclose(reward.score(["p", "p"], ["good good", "bad"]), torch.tensor([[3.5], [-1.5]]), atol=1e-6)


def test_opponents_by_prompt_or_from_a_function(model):
    by_prompt = model.as_reward({"p": ["good"], "q": ["cat"]})
    function = model.as_reward(lambda prompt: ["good"] if prompt == "p" else ["cat"])
    prompts, completions = ["p", "q"], ["bad", "bad"]
    expected = model.preference(prompts, completions, ["good", "cat"])
    assert torch.allclose(by_prompt.score(prompts, completions), expected)
    assert torch.equal(function.score(prompts, completions), by_prompt.score(prompts, completions))
    with pytest.raises(InputError, match="the prompt 'r' has no opponents"):
        by_prompt.score(["r"], ["bad"])


def test_prompt_scales_reach_texts(source, pairs):
    config = GeneralPreferenceConfig(blocks=1, prompt_scales=True, steps=50)
    model = fit_preference_model(source, pairs, config)
    with torch.no_grad():
        model.network.gate.weight.copy_(torch.tensor([[5.0, 0.0, -20.0]]))
    p = model.preference(["good", "cat"], ["bad"] * 2, ["good"] * 2)
    assert p[0] > p[1]
    assert abs(p[1].item() - 0.5) < 1e-3  # a scale near 0: it hardly matters
    scored = model.as_reward(["good"]).score(["good", "cat"], ["bad"] * 2)
    assert torch.allclose(scored, p, atol=1e-6)
    assert model.as_reward(["good", "bad"], weights="nash").score(["good"], ["bad"]).shape == (1, 1)


def test_comes_back_from_its_folder(folder_model, tmp_path):
    prompts, a, b = ["ask me :", "please"], [" good", " bad cat"], [" cat", " sea"]
    folder_model.save_pretrained(tmp_path)
    loaded = GeneralPreferenceModel.from_pretrained(tmp_path)
    assert torch.equal(loaded.preference(prompts, a, b), folder_model.preference(prompts, a, b))
    with pytest.raises(InputError, match="without opponents"):
        GeneralPreferenceReward.from_pretrained(tmp_path)


@pytest.mark.parametrize("opponents", [[" good", " bad"], {"ask me :": [" good", " cat"], "please": [" bad"]}])
def test_a_reward_comes_back_with_its_opponents(folder_model, tmp_path, opponents):
    reward = folder_model.as_reward(opponents, weights="nash", scale="log_odds")
    reward.save_pretrained(tmp_path)
    texts = ["ask me :", "please"], [" sky cat", " good"]
    assert torch.equal(GeneralPreferenceReward.from_pretrained(tmp_path).score(*texts), reward.score(*texts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 9}, "schema_version"),
        ({"weight": 1}, "did you mean 'weights'"),
        ({"weights": "0"}, "not the one that was saved with it"),
        ({"config": {"block": 1}}, "TypeError"),
    ],
)
def test_refuses_a_broken_folder(folder_model, tmp_path, change, message):
    folder_model.save_pretrained(tmp_path)
    path = tmp_path / "general_preference.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message) as error:
        GeneralPreferenceModel.from_pretrained(tmp_path)
    assert str(path) in str(error.value)


def test_refuses_another_encoder(folder_model, tmp_path, source):
    folder_model.save_pretrained(tmp_path)
    path = tmp_path / "general_preference.json"
    content = json.loads(path.read_text())
    content["source"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="fitted on the encoder with fingerprint 0000000000000000"):
        GeneralPreferenceModel.from_pretrained(tmp_path)


def test_refuses(model, source, tmp_path):
    with pytest.raises(InputError, match="unknown weights 'nsh': did you mean 'nash'"):
        model.as_reward(["good"], weights="nsh")
    with pytest.raises(InputError, match="unknown scale 'odds'"):
        model.as_reward(["good"], scale="odds")
    with pytest.raises(InputError, match="no opponents"):
        model.as_reward([])
    with pytest.raises(InputError, match=r"write \[text\]"):
        model.as_reward("good")
    with pytest.raises(InputError, match="this WordCounts has none"):
        model.save_pretrained(tmp_path / "m")
    assert not (tmp_path / "m").exists()
    with pytest.raises(InputError, match="can't be saved"):
        model.as_reward(lambda prompt: ["good"]).save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match="reads 4 features, but the source gives 3"):
        GeneralPreferenceModel(source, PreferenceNetwork(4, ("a",), CONFIG))
    with pytest.raises(InputError, match="pairs, row 0: is a rating"):
        fit_preference_model(source, [{"prompt": "p", "completion": "good", "scores": {"a": 1.0}}])
    with pytest.raises(InputError, match="no row has a label"):
        fit_preference_model(source, [])
    with pytest.raises(InputError, match="no general preference model in"):
        GeneralPreferenceModel.from_pretrained(tmp_path)
