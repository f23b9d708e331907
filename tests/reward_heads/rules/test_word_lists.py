import pytest

from frontier.errors import InputError
from reward_heads.rules.word_lists import Phrases, read_lines


def test_counts_words_phrases_and_symbols():
    phrases = Phrases.of("words", ["Shut up", "shut", "🖕"])
    assert phrases.counts("Shut up! SHUT, up shut the door 🖕🖕") == {("shut", "up"): 2, ("shut",): 3, "🖕": 2}


def test_a_repeated_phrase_may_overlap_itself():
    assert Phrases.of("words", ["no no"]).counts("no no no").total() == 2


def test_entries_with_the_same_words_are_one():
    assert len(Phrases.of("words", ["well done", "Well, done!", "ok"])) == 2


@pytest.mark.parametrize(
    ("entries", "message"),
    [([], "at least one"), (["ok", "!!"], "found '!!'"), ([""], "found ''"), ("refund", r"write \['refund'\]")],
)
def test_refuses(entries, message):
    with pytest.raises(InputError, match=message):
        Phrases.of("words", entries)


def test_lines_keep_their_numbers(tmp_path):
    (tmp_path / "list.txt").write_bytes("a\r\n\nb\u2028c\n".encode())
    assert [(number, line.strip()) for number, line in read_lines(tmp_path / "list.txt")] == [(1, "a"), (3, "b\u2028c")]


def test_entries_with_symbols_are_looked_for_as_they_are():
    phrases = Phrases.of("words", ["a$$", "C++", "f*ck", "s&m", "@Bob's", "cat"])
    assert phrases.counts("A cat in class C, a bob, an f ck, s and m") == {("cat",): 1}
    assert phrases.counts("A$$ c++, (C++) F*CK! S&M; to @bob’s; ba$$, C++11") == {
        "a$$": 1,
        "c++": 2,
        "f*ck": 1,
        "s&m": 1,
        "@bob's": 1,
    }
    assert len(phrases) == 6
    assert len(Phrases.of("words", ["C++"])) == 1
