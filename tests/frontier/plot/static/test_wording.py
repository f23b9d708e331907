import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.plot.static.canvas import picture_style
from frontier.plot.static.wording import NumberFormatter, text_width, wrap


@pytest.fixture(autouse=True)
def _style():
    with picture_style():
        yield


def test_widths_add_up():
    assert text_width("mm", 10) == pytest.approx(2 * text_width("m", 10), rel=0.02)
    assert text_width("m", 20) == pytest.approx(2 * text_width("m", 10), rel=0.02)
    assert text_width("m", 10, "bold") > text_width("m", 10)


def test_wraps_at_spaces_then_within_words():
    assert wrap("one two", 9, 10) == "one two"
    assert wrap("one two", text_width("one t", 10), 10) == "one\ntwo"
    assert wrap("mmmmm", text_width("mmm", 10) + 0.001, 10) == "mmm\nmm"
    assert wrap("a\nb", 9, 10) == "a\nb"
    assert wrap("", 1, 10) == ""


def test_what_can_not_be_printed_goes():
    assert wrap("a\x00b\x1b\ud800 c\td\ne", 9, 10) == "ab c d\ne"


def test_what_is_cut_off_is_marked():
    room = text_width("one tw…", 10)
    assert wrap("one two three four", room, 10, lines=1) == "one tw…"
    assert wrap("one two", text_width("one two", 10), 10, lines=1) == "one two"


@settings(deadline=None, max_examples=60)
@given(st.text("abc W_.-", max_size=60), st.floats(0.3, 3), st.integers(1, 4))
def test_no_line_is_too_wide_and_no_letter_is_lost(text, room, lines):
    wrapped = wrap(text, room, 10)
    assert all(text_width(line, 10) <= room for line in wrapped.split("\n"))
    assert wrapped.replace("\n", "").replace(" ", "") == text.replace(" ", "")
    assert wrap(text, room, 10, lines=lines).count("\n") < lines


def labels(places):
    formatter = NumberFormatter()
    formatter.set_locs(places)
    return [formatter(x) for x in places]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1.0"]),
        ([-0.25, 0, 0.25], ["−0.25", "0", "0.25"]),
        ([0, 2.5, 5], ["0", "2.5", "5.0"]),
        ([0, 200, 400], ["0", "200", "400"]),
        ([0, 50000, 100000], ["0", "0.5e5", "1.0e5"]),
        ([1e9, 2e9], ["1e9", "2e9"]),
        ([0.0, 1e-9], ["0", "1e−9"]),
        ([0.1 + 0.2], ["0.3"]),
    ],
)
def test_numbers(places, expected):
    assert labels(places) == expected


@settings(deadline=None)
@given(st.integers(-50, 50), st.sampled_from([1, 2, 2.5, 5]), st.integers(-12, 12), st.integers(2, 8))
def test_neighbours_differ_and_read_back(start, step, exponent, count):
    places = [(start + i) * step * 10.0**exponent for i in range(count)]
    shown = labels(places)
    assert all(a != b for a, b in itertools.pairwise(shown))
    back = [float(text.replace("−", "-")) for text in shown]
    np.testing.assert_allclose(back, places, atol=1e-6 * step * 10.0**exponent)
