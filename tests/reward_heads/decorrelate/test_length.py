import math

import pytest

from frontier.errors import InputError
from reward_heads.decorrelate.length import Length


def test_counts_words_of_texts_and_of_chats():
    chat = [{"role": "assistant", "content": "Don't stop,"}, {"role": "assistant", "content": "now!"}]
    assert Length()(["", "Well-known 42.", chat]).tolist() == [0.0, 2.0, 3.0]


def test_counts_characters():
    assert Length("characters")(["你好。", ""]).tolist() == [3.0, 0.0]


def test_log_is_of_one_more_and_the_same_in_any_batch():
    texts = ["word " * n for n in range(40)]
    together = Length().log(texts).tolist()
    assert together == [Length().log([text]).item() for text in texts]
    assert together[0] == 0.0
    assert together[3] == math.log1p(3)


def test_refuses_an_unknown_unit():
    with pytest.raises(InputError, match="unknown unit of length 'word': did you mean 'words'"):
        Length("word")
