import random

from moalign.demo.edits import edit_reply, edit_some
from moalign.demo.world import draw_replies, split_prompts, split_sentences

PROMPTS, _ = split_prompts(60, 0, seed=0)
FIRST = [reply for _, reply in draw_replies(PROMPTS, 1, seed=1)]
SECOND = [reply for _, reply in draw_replies(PROMPTS, 1, seed=2)]


def test_an_edit_changes_one_sentence_at_most_or_says_nothing():
    rng = random.Random(0)
    seen = set()
    for reply, other in list(zip(FIRST, SECOND, strict=True)) * 5:
        edited = edit_reply(reply, other, rng)
        before, after = split_sentences(reply), split_sentences(edited)
        change = len(after) - len(before)
        assert edited == "" or change in (-1, 1)
        if edited:
            longer, shorter = (after, before) if change == 1 else (before, after)
            rest = list(longer)
            for sentence in shorter:
                rest.remove(sentence)
            assert len(rest) == 1
            seen.add("repeat" if change == 1 and rest[0] in before else "add" if change == 1 else "drop")
            assert edited.startswith(" ")
        else:
            seen.add("silence")
    assert seen == {"repeat", "add", "drop", "silence"}


def test_silence_can_only_be_added_to():
    assert split_sentences(edit_reply("", " We got your message.", random.Random(0))) == ["We got your message."]


def test_the_share_is_kept_and_the_seed_decides():
    assert edit_some(FIRST, SECOND, 0.0, 1) == SECOND
    half = edit_some(FIRST, SECOND, 0.5, 1)
    assert half == edit_some(FIRST, SECOND, 0.5, 1)
    assert half != edit_some(FIRST, SECOND, 0.5, 2)
    kept = sum(a == b for a, b in zip(half, SECOND, strict=True))
    assert 15 <= kept <= 45
