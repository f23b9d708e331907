import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from moalign.serving.text import StopTexts, TextStream


def byte_tokenizer():
    """One token per byte, so that every character beyond ASCII takes several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
    fast.add_special_tokens({"eos_token": "<eos>"})
    return fast


TOKENIZER = byte_tokenizer()


def pieces(tokenizer, ids):
    stream = TextStream(tokenizer)
    return [stream.push(token, last=i == len(ids) - 1) for i, token in enumerate(ids)]


@given(st.text(max_size=30))
@settings(deadline=None)
def test_pieces_are_whole_characters_and_join_to_the_text(text):
    shown = pieces(TOKENIZER, TOKENIZER(text)["input_ids"])
    assert "".join(shown) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in shown)


def test_an_emoji_of_four_tokens_comes_at_once():
    ids = TOKENIZER("a🙂b")["input_ids"]
    assert pieces(TOKENIZER, ids) == ["a", "", "", "", "🙂", "b"]


def test_half_a_character_is_given_out_only_at_the_end():
    ids = TOKENIZER("é")["input_ids"][:1]
    stream = TextStream(TOKENIZER)
    assert stream.push(ids[0]) == ""
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""


def offsets(tokenizer, ids):
    stream, found = TextStream(tokenizer), []
    for i, token in enumerate(ids):
        found.append(stream.length)
        stream.push(token, last=i == len(ids) - 1)
    return [*found, stream.length]


def test_every_token_begins_where_its_character_does():
    assert offsets(TOKENIZER, TOKENIZER("a🙂bé")["input_ids"]) == [0, 1, 1, 1, 1, 2, 3, 3, 4]


def test_a_token_that_ends_within_a_character_tells_where_that_begins():
    class Pieces:
        """'ab' with half of an é, its other half with 'c', and one more letter."""

        def decode(self, token_ids, skip_special_tokens=False):
            text = b"".join((b"ab\xc3", b"\xa9c", b"d")[i] for i in token_ids)
            return text.decode("utf-8", "replace")

    assert offsets(Pieces(), [0, 1, 2]) == [0, 2, 4, 5]


@given(st.text(st.characters(exclude_characters="\ufffd", exclude_categories=["Cs"]), max_size=30))
@settings(deadline=None)
def test_offsets_are_those_of_the_bytes(text):
    """One token a byte: each begins at the character that its byte belongs to."""
    expected = [at for at, character in enumerate(text) for _ in character.encode()]
    assert offsets(TOKENIZER, TOKENIZER(text)["input_ids"]) == [*expected, len(text)]


def test_words_begin_at_the_space_before_them(policy):
    ids = policy.encode(["w1 w22 w3"])[0]
    joined = policy.tokenizer.decode(ids)
    found = offsets(policy.tokenizer, ids)
    assert [joined[a:b].strip() for a, b in itertools.pairwise(found)] == joined.split()
    assert found[-1] == len(joined)


def test_special_tokens_leave_no_text():
    ids = [*TOKENIZER("a")["input_ids"], TOKENIZER.eos_token_id, *TOKENIZER("b")["input_ids"]]
    assert pieces(TOKENIZER, ids) == ["a", "", "b"]


def test_spaces_between_words_are_kept(policy):
    ids = policy.encode(["w1 w2 w3"])[0]
    assert pieces(policy.tokenizer, ids) == ["w1", " w2", " w3"]


def test_work_per_token_does_not_grow_with_the_text():
    seen = []

    class Counting:
        def decode(self, token_ids, skip_special_tokens=False):
            seen.append(len(token_ids))
            return TOKENIZER.decode(token_ids, skip_special_tokens=skip_special_tokens)

    pieces(Counting(), TOKENIZER("plain text " * 50)["input_ids"])
    assert max(seen) <= 2


# ---- stop texts


def split(text, sizes):
    out, at = [], 0
    for size in sizes:
        out.append(text[at : at + size])
        at += size
    return [*out, text[at:]]


def run(stops, parts):
    matcher = StopTexts(stops)
    shown = ""
    for part in parts:
        text, stopped = matcher.push(part)
        shown += text
        if stopped:
            return shown, True
    return shown + matcher.flush(), False


@given(st.text("ab", max_size=20), st.lists(st.integers(0, 4), max_size=12), st.text("ab", min_size=1, max_size=4))
@settings(deadline=None)
def test_one_stop_text_cuts_where_find_says_however_the_text_is_split(text, sizes, stop):
    at = text.find(stop)
    assert run([stop], split(text, sizes)) == ((text, False) if at < 0 else (text[:at], True))


def test_nothing_of_a_stop_text_is_ever_shown_and_nothing_more_is_held_back():
    matcher = StopTexts(["END"])
    assert matcher.push("a E") == ("a ", False)
    assert matcher.push("N") == ("", False)
    assert matcher.push("x E") == ("ENx ", False)
    assert matcher.push("ND b") == ("", True)


def test_the_first_of_several_wins():
    assert run(["d", "b"], ["abcd"]) == ("a", True)


@pytest.mark.parametrize("parts", [["abc"], ["a", "b", "c"], []])
def test_without_stops_all_text_passes_at_once(parts):
    matcher = StopTexts(())
    assert [matcher.push(p) for p in parts] == [(p, False) for p in parts]
