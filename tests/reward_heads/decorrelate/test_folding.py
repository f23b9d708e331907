import copy

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from frontier.errors import InputError
from reward_heads import FunctionReward, TransformerReward
from reward_heads.decorrelate import Curve, Decorrelation, Length, fold
from reward_heads.saved import load_reward
from reward_heads.transforms import TransformedReward

TEXTS = (["ask me :", "please ask me :", "ask :"], [" good cat", " bad", " the big red sky ran"])
AGAINST = Decorrelation(("kind", "brief", "loud"), "brief", (0.7, 0.0, -1.3))


@pytest.fixture
def encoder(tokenizer):
    labels = {0: "kind", 1: "brief", 2: "loud"}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        id2label=labels,
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([0.5, -2.0, 1.0]))
    return TransformerReward(model, tokenizer, offset=(0.1, 0.2, 0.3))


@pytest.fixture(params=["decoder", "encoder"])
def model(request, reward, encoder):
    if request.param == "encoder":
        return encoder
    reward.offset = torch.tensor([1.0, 2.0, 3.0])
    return reward


def test_a_plain_model_gives_the_same_numbers(model, tmp_path):
    corrected = TransformedReward(model, [AGAINST])
    expected = corrected.score(*TEXTS)
    folded = fold(corrected)
    folded.save_pretrained(tmp_path)
    assert torch.allclose(load_reward(tmp_path).score(*TEXTS), expected, atol=1e-5)
    # Without anything of ours: the outputs are the scores plus the offset.
    plain, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    for row, (prompt, completion) in enumerate(zip(*TEXTS, strict=True)):
        with torch.no_grad():
            logits = plain(**tokenizer(folded.join(prompt, completion), return_tensors="pt")).logits[0]
        assert torch.allclose(logits - folded.offset, expected[row], atol=1e-5)


def test_leaves_the_model_that_it_was_given_alone(model):
    before = model.score(*TEXTS)
    state = copy.deepcopy(model.model.state_dict())
    assert not torch.allclose(fold(TransformedReward(model, [AGAINST])).score(*TEXTS), before, atol=1e-3)
    assert torch.equal(model.score(*TEXTS), before)
    assert all(torch.equal(value, state[name]) for name, value in model.model.state_dict().items())


def test_several_fold_in_order(model):
    second = Decorrelation(("kind", "brief", "loud"), "kind", (0.0, 2.0, 0.5))
    corrected = TransformedReward(model, [AGAINST, second])
    assert torch.allclose(fold(corrected).score(*TEXTS), corrected.score(*TEXTS), atol=1e-5)


def test_refuses_what_no_last_layer_can_hold(reward):
    line = Curve((0.0, 1.0), (0.0, 1.0))
    with pytest.raises(InputError, match="no matrix"):
        fold(TransformedReward(reward, [Decorrelation(reward.objectives, Length(), (line, 0.0, 0.0))]))
    programme = FunctionReward({name: lambda prompt, completion: 1.0 for name in reward.objectives})
    with pytest.raises(InputError, match=r"only a transformer .* found FunctionReward"):
        fold(TransformedReward(programme, [AGAINST]))

    class Other:
        kind = "calibration"
        objectives = reward.objectives

    with pytest.raises(InputError, match=r"only a decorrelation .* found a calibration"):
        fold(TransformedReward(reward, [Other()]))


def test_refuses_a_model_with_something_after_its_last_layer(encoder):
    forward = encoder.model.forward

    def bent(**inputs):
        found = forward(**inputs)
        found.logits = found.logits.tanh()
        return found

    encoder.model.forward = bent
    strong = Decorrelation(encoder.objectives, "brief", (5.0, 0.0, -5.0))
    with pytest.raises(InputError, match="not those of its last linear layer"):
        fold(TransformedReward(encoder, [strong]))
