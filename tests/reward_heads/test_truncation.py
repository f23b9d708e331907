import doctest
import logging

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from frontier.errors import InputError
from reward_heads import truncation
from reward_heads.model import TransformerReward
from reward_heads.truncation import Truncation, tokenize, usable_positions

from .conftest import WORDS
from .encoders import make_encoder

LONG = " ".join(WORDS[:10])


def test_cuts_the_side_that_is_asked_for_and_keeps_special_tokens(tokenizer):
    tokenizer.truncation_side = "left"
    whole = tokenizer(LONG)["input_ids"]  # <s> and ten words
    rows, found = tokenize(tokenizer, ["cat", LONG, LONG], 6)
    assert [len(row) for row in rows] == [2, 6, 6]
    assert rows[1] == [whole[0], *whole[-5:]]
    assert found == Truncation(texts=3, cut=2, tokens=10)
    tokenizer.truncation_side = "right"
    assert tokenize(tokenizer, [LONG], 6)[0][0] == whole[:6]
    assert tokenize(tokenizer, [LONG], 11) == ([whole], Truncation(1))
    assert tokenize(tokenizer, [], 6) == ([], Truncation())


def test_the_reward_counts_and_warns_once(reward, caplog):
    reward.max_length = 6
    with caplog.at_level(logging.WARNING, logger="reward_heads"):
        reward.score([LONG, ""], ["", "cat"])
        assert reward.last_truncation == Truncation(2, 1, 6)  # <s>, ten words and </s>
        reward.score([LONG], [" " + LONG])
        reward.score(["a"], ["cat"])
    assert reward.last_truncation == Truncation(1)
    assert reward.truncation == Truncation(4, 2, 22)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 2 texts (50 %) are longer than 6 tokens and were cut on the left, by 6 tokens in all"
    ]


def test_the_right_side_keeps_the_prompt(reward, tmp_path):
    reward.tokenizer.truncation_side, reward.max_length = "right", 6
    assert reward.encode([LONG], ["good"]) == reward.encode([LONG], ["bad"])
    reward.save_pretrained(tmp_path)
    again = TransformerReward.from_pretrained(tmp_path)
    assert again.encode([LONG], ["good"]) == reward.encode([LONG], ["good"])


def test_all_texts_are_a_hundred_percent():
    assert Truncation(3, 3, 9).describe(8, "left").startswith("3 of 3 texts (100 %) are longer than 8 tokens")


@pytest.mark.parametrize(("kind", "usable"), [("bert", 48), ("distilbert", 48), ("roberta", 47), ("opt", 48)])
def test_no_text_is_longer_than_the_table_of_positions(kind, usable, tokenizer):
    if kind == "opt":
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16, "num_attention_heads": 2}
        base = OPTForCausalLM(OPTConfig(vocab_size=64, num_hidden_layers=1, max_position_embeddings=48, **sizes))
        model = TransformerReward.from_base(base, ["x"], tokenizer=tokenizer).model
    else:
        model = make_encoder(kind, tokenizer).model
    reward = TransformerReward(model, tokenizer)
    assert reward.max_length == usable_positions(model) == usable
    long = " ".join(["cat"] * 100)
    assert reward.score([long], [""]).isfinite().all()
    assert len(reward.encode([long], [""])[0]) == usable
    with pytest.raises((IndexError, RuntimeError)):  # one more is more than the model can read
        reward.outputs([[5] * (usable + 1)])
    with pytest.raises(InputError, match=f"max_length must be at most {usable}, the positions that .* has, found 49"):
        TransformerReward(model, tokenizer, max_length=49)


def test_rotary_positions_have_no_end(reward):
    assert usable_positions(reward.model) is None
    assert TransformerReward(reward.model, reward.tokenizer, max_length=100).max_length == 100


def test_a_file_that_allows_more_than_the_positions_still_loads(tokenizer, tmp_path):
    reward = make_encoder("roberta", tokenizer)
    reward.max_length = 48
    reward.save_pretrained(tmp_path)
    assert TransformerReward.from_pretrained(tmp_path).max_length == 47


def test_refuses_another_side(reward):
    with pytest.raises(InputError, match="unknown truncation_side 'lft': did you mean 'left'"):
        TransformerReward(reward.model, reward.tokenizer, truncation_side="lft")


def test_doctest():
    results = doctest.testmod(truncation)
    assert results.attempted > 0
    assert results.failed == 0
