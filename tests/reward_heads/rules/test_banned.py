import pytest

from frontier.errors import InputError
from reward_heads import rules


def test_banned_words():
    rule = rules.BannedWords(["darn", "shut up"])
    assert rule("", "Darn, darn it: shut up! Shut the door up.") == -3.0
    assert str(rule("", "all is well")) == "0.0"


def test_a_symbol_belongs_to_the_word():
    rule = rules.BannedWords(["a$$"])
    assert rule("", "a day, a cat") == 0.0
    assert rule("", "You a$$!") == -1.0


def test_from_file(tmp_path):
    (tmp_path / "list.txt").write_text("darn\n\n shut up \n", encoding="utf-8")
    assert rules.BannedWords.from_file(tmp_path / "list.txt")("", "darn! Shut up.") == -2.0


def test_from_file_reads_a_published_list(shared_data):
    rule = rules.BannedWords.from_file(shared_data.ROOT / "ldnoobw" / "en")
    listed = shared_data.bad_words()
    assert all(rule("", f"well, {entry}.") <= -1 for entry in listed)
    stories = shared_data.tinystories()[:200]
    assert sum(rule("", story) == 0 for story in stories) >= 198  # whole words: "class" and "grass" are no profanity


@pytest.mark.parametrize("banned", [[], ["ok", "!!"], "darn"])
def test_refuses(banned):
    with pytest.raises(InputError, match="banned"):
        rules.BannedWords(banned)
