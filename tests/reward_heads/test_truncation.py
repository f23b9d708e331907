import doctest
import logging

import pytest

from frontier.errors import InputError
from reward_heads import truncation
from reward_heads.model import TransformerReward
from reward_heads.truncation import Truncation, tokenize

from .conftest import WORDS

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


def test_refuses_another_side(reward):
    with pytest.raises(InputError, match="unknown truncation_side 'lft': did you mean 'left'"):
        TransformerReward(reward.model, reward.tokenizer, truncation_side="lft")


def test_doctest():
    results = doctest.testmod(truncation)
    assert results.attempted > 0
    assert results.failed == 0
