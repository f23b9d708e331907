from reward_heads import rules


def test_words():
    assert rules.words("It’s a well-known fact: 3 snake_cases, née 2024!") == [
        "it's", "a", "well-known", "fact", "3", "snake", "cases", "née", "2024",
    ]  # fmt: skip
    assert rules.words(" -- ... ' ") == []


def test_sentences():
    assert rules.sentences('He said "no." Then he left... ') == ['He said "no', "Then he left"]
    assert rules.sentences("Version 2.5 works. !!!") == ["Version 2.5 works"]
    assert rules.sentences("") == []
