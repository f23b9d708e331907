import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads import rules


def test_ascii_share():
    assert rules.ascii_share("", "abc é") == 3 / 4
    assert rules.ascii_share("", "  \n") is None


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("Latin", "Où est-ce?"),
        ("Cyrillic", "Привет!"),
        ("CJK", "你好。"),
        ("Hiragana", "ひらがな"),
        ("Arabic", "سلام"),
        ("Katakana", "ｶﾀｶﾅ"),
        ("Katakana", "コーヒー"),
        ("Latin", "Ｆｕｌｌ"),
    ],
)
def test_scripts(script, text):
    assert rules.ScriptShare(script)("", text) == 1.0


def test_script_share_counts_letters_only():
    assert rules.ScriptShare()("", "ab 12 !! вг") == 1 / 2
    assert rules.ScriptShare()("", "12 !!") is None


def test_refuses_an_unknown_script():
    with pytest.raises(InputError, match="unknown script 'Cyrilic': did you mean 'Cyrillic'"):
        rules.ScriptShare("Cyrilic")


@settings(deadline=None)
@given(st.text(max_size=100))
def test_shares(text):
    for rule in (rules.ascii_share, rules.ScriptShare()):
        share = rule("", text)
        assert share is None or 0 <= share <= 1
