import pytest

from reward_heads import rules


@pytest.mark.parametrize(("text", "score"), [("", 0.0), ("one", -1.0), ("one, two; don't!", -3.0)])
def test_brevity(text, score):
    assert rules.brevity("ignored prompt", text) == score


@pytest.mark.parametrize(("text", "score"), [("", None), ("...", None), ("One two three. Four.", 2.0), ("no end", 2.0)])
def test_sentence_length(text, score):
    assert rules.sentence_length("", text) == score


def test_counts():
    text = " One, two. Three!\n"
    assert rules.word_count("a prompt", text) == 3.0
    assert rules.character_count("a prompt", text) == len("One, two. Three!")
    assert rules.sentence_count("a prompt", text) == 2.0
    assert rules.word_count("", "") == rules.character_count("", " ") == rules.sentence_count("", "?!") == 0.0
