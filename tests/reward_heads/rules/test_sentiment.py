import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads import rules


def test_mean_of_known_words():
    rule = rules.Sentiment({"Good": 2.0, "bad": -1.0, "fine": 1})
    assert rule("", "good GOOD bad, unknown") == pytest.approx((2 + 2 - 1) / 3)
    assert rule("good", "nothing known") == 0.0
    assert rules.Sentiment({"good": 2.0}, neutral=None)("", "nothing known") is None


def test_signs_are_found_as_they_are_written():
    rule = rules.Sentiment({"good": 1.0, ":)": 2.0, ":(": -3.0})
    assert rule("", "good :)") == 1.5
    assert rule("", ":( ") == -3.0
    assert rule("", "(see:)") == 0.0  # part of something else


def test_from_file(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("good\t1.9\t0.9\t[2, 1]\n\nBad\t-2.5\n:)\t2.0\t0.1\n", encoding="utf-8")
    rule = rules.Sentiment.from_file(path, neutral=None)
    assert rule("", "Good, bad :)") == pytest.approx((1.9 - 2.5 + 2.0) / 3)
    assert rule("", "none") is None


def test_from_file_reads_the_published_lexicon(shared_data):
    rule = rules.Sentiment.from_file(shared_data.ROOT / "vader" / "vader_lexicon.txt")
    assert rule("", "A wonderful day!") == shared_data.vader_lexicon()["wonderful"][0] > 0
    assert rule("", "horrible") < 0
    assert rule("", "it is here :-)") > 0


@pytest.mark.parametrize("line", ["good 1.9", "good\tvery", "\t1.0", "good\tnan", "good\t"])
def test_from_file_names_the_line(tmp_path, line):
    path = tmp_path / "lexicon.txt"
    path.write_text(f"fine\t1\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"lexicon\.txt:2: expected a token, a tab and a number"):
        rules.Sentiment.from_file(path)


def test_refuses(tmp_path):
    with pytest.raises(InputError, match="at least one word"):
        rules.Sentiment({})
    with pytest.raises(InputError, match="valence of 'good' must be finite"):
        rules.Sentiment({"good": float("inf")})
    with pytest.raises(InputError, match=r"missing\.txt: cannot be read: No such file"):
        rules.Sentiment.from_file(tmp_path / "missing.txt")
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9\t1\n")
    with pytest.raises(InputError, match="cannot be read"):
        rules.Sentiment.from_file(tmp_path / "latin1.txt")


def test_signs_with_a_letter_or_a_digit():
    rule = rules.Sentiment({":p": 1.0, "<3": 2.0, "can’t": -1.0})
    assert rule("", "well :p") == 1.0
    assert rule("", "you <3 :p") == 1.5
    assert rule("", "p 3") == 0.0
    assert rule("", "can't") == rule("", "can’t") == -1.0


@settings(deadline=None)
@given(st.text(max_size=200))
def test_stays_within_the_lexicon(text):
    assert -1 <= rules.Sentiment({"a": 1, "b": -1, "!": 0.5})("", text) <= 1
