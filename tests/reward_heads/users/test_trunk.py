import pytest
import torch
from torch.testing import assert_close
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from frontier.errors import InputError
from reward_heads.model import TransformerReward
from reward_heads.users.trunk import (
    head_of,
    merge_lora,
    new_reward,
    pooled_features,
    reduced,
    set_trainable,
    take_heads,
)

PROMPTS, TEXTS = ["ask me :"] * 3, [" good cat", " the bad dog sat", " sky"]


def test_features_are_the_last_state_and_the_mean_whatever_the_batch(reward):
    rows = reward.encode(PROMPTS, TEXTS)
    together = pooled_features(reward, rows)
    assert together.shape == (3, 64)
    for row, found in zip(rows, together, strict=True):
        with torch.no_grad():
            hidden = reward.model.base_model(torch.tensor([row])).last_hidden_state[0]
        assert_close(found, torch.cat([hidden[-1], hidden.mean(0)]), atol=1e-5, rtol=1e-4)


def test_the_head_reads_the_first_half_of_the_features(reward):
    rows = reward.encode(PROMPTS, TEXTS)
    _, head = head_of(reward.model)
    assert_close(pooled_features(reward, rows)[:, :32] @ head.weight.T, reward.outputs(rows), atol=1e-5, rtol=1e-4)


def test_few_features_stay_and_many_keep_what_differs(reward):
    x = torch.randn(400, 20, generator=torch.Generator().manual_seed(0))
    assert reduced(x, 0) is x
    wide = x @ torch.randn(20, 300, generator=torch.Generator().manual_seed(1))  # rank 20 in 300 columns
    small = reduced(wide, 0)
    assert small.shape == (400, 256)
    scaled = wide / wide.square().mean(0).sqrt()
    assert_close(small @ small.T, scaled @ scaled.T, rtol=1e-3, atol=1e-1)
    assert torch.equal(small, reduced(wide, 0))


def test_takes_heads_in_another_order(reward, tmp_path):
    reward.offset = torch.tensor([1.0, 2.0, 3.0])
    before = reward.score(PROMPTS, TEXTS)
    fewer = take_heads(reward, [2, 0], ["group1", "group2"])
    assert fewer.objectives == ("group1", "group2")
    assert_close(fewer.score(PROMPTS, TEXTS), before[:, [2, 0]])
    fewer.save_pretrained(tmp_path / "r")
    back = TransformerReward.from_pretrained(tmp_path / "r")
    assert back.training == "pairs"
    assert_close(back.score(PROMPTS, TEXTS), before[:, [2, 0]])


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_takes_heads_of_encoders(kind, tokenizer):
    config_class, model_class = {
        "bert": (BertConfig, BertForSequenceClassification),
        "roberta": (RobertaConfig, RobertaForSequenceClassification),
    }[kind]
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = config_class(vocab_size=64, num_labels=16, pad_token_id=0, max_position_embeddings=40, **size)
    many = TransformerReward(model_class(config).eval(), tokenizer, max_length=20)  # as many heads as the width
    before = many.score(PROMPTS, TEXTS)
    assert_close(take_heads(many, [5], ["only"]).score(PROMPTS, TEXTS), before[:, [5]])


def test_a_merged_lora_is_an_ordinary_model_again(reward):
    names = list(reward.model.state_dict())
    set_trainable(reward, "lora", 4, seed=0)
    assert {n.split(".")[0] for n, w in reward.model.named_parameters() if w.requires_grad and "lora" not in n} == {
        "score"
    }
    with torch.no_grad():
        for name, weight in reward.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(len(name)), std=0.1)
    rows = reward.encode(PROMPTS, TEXTS)
    with_lora = reward.outputs(rows)
    merge_lora(reward.model)
    assert list(reward.model.state_dict()) == names
    assert_close(reward.outputs(rows), with_lora, atol=1e-5, rtol=1e-4)


def test_what_is_trained(reward):
    def trained():
        return {name for name, weight in reward.model.named_parameters() if weight.requires_grad}

    set_trainable(reward, "heads", 4, 0)
    assert trained() == {"score.weight"}
    set_trainable(reward, "all", 4, 0)
    assert trained() == set(dict(reward.model.named_parameters()))


def test_new_heads_on_the_trunk_of_a_reward(reward):
    found = new_reward(reward, ["group1", "group2"], max_length=9)
    assert found.objectives == ("group1", "group2")
    assert found.max_length == 9
    assert found.joining == reward.joining
    rows = reward.encode(PROMPTS, TEXTS)
    assert_close(pooled_features(found, rows), pooled_features(reward, rows))


def test_refuses_a_model_without_a_linear_head(reward):
    reward.model.score = torch.nn.Identity()
    with pytest.raises(InputError, match="no linear layer with 3 outputs outside its trunk"):
        head_of(reward.model)
