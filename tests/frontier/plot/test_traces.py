import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontier.plot.traces import AXIS_WIDTH, HOVER_WIDTH, about, axis_label, cut, reward_label, safe, span, wrapped
from frontier.plot.view import view_of


def test_about_says_what_was_asked_and_what_it_got(make_front):
    view = view_of(make_front(2))
    text = about(view.layers[0].front.points[1], view, "front, point 1", "</script><b>asked 0.25</b> & more")
    assert text.startswith("<b>front, point 1</b><br>weights: helpful 0.25, brief 0.75<br>")
    assert "helpful: 0.510 ± 0.020" in text
    assert "KL to the reference: 1.000 nats" in text
    assert "32 prompts" in text
    assert "&lt;/script&gt;&lt;b&gt;asked 0.25" in text


def test_about_leaves_out_what_is_not_known(make_front):
    view = view_of(make_front(2))
    text = about(view.layers[0].front.points[-1], view, "x", None)
    assert "±" not in text
    assert "weights" not in text


@given(st.text(max_size=400), st.integers(2, 60))
def test_cut_and_wrapped_keep_their_promises(text, width):
    assert len(cut(text, width)) <= width
    lines = wrapped(text, width, 3)
    assert len(lines) <= 3
    assert all(len(line) <= width for line in lines)


def test_a_sample_without_spaces_is_shown_cut():
    # textwrap.shorten would leave nothing of it but the ellipsis.
    assert cut("字" * 500, 10) == "字" * 9 + "…"


@given(st.text(alphabet="<>&ab ", max_size=200))
def test_nothing_in_a_label_is_markup(text):
    assert "<" not in safe(text)
    assert "<" not in axis_label(text).replace("<br>", "")


def test_reward_label_keeps_direction_and_units_of_any_name(make_front):
    view = view_of(make_front(2))
    assert reward_label(view, 0) == "reward of helpful<br>higher is better; raw units"
    object.__setattr__(view, "objectives", ("x" * 300, "brief"))
    lines = reward_label(view, 0).split("<br>")
    assert lines[-1] == "higher is better; raw units"
    assert max(map(len, lines)) <= AXIS_WIDTH
    assert len(lines) == 3


def test_hover_lines_fit_a_phone(make_front):
    view = view_of(make_front(3))
    text = about(view.layers[0].front.points[0], view, "a label that is long " * 5, "word " * 300)
    plain = text.replace("<b>", "").replace("</b>", "").replace("<i>", "").replace("</i>", "")
    assert all(len(line) <= HOVER_WIDTH for line in plain.split("<br>"))


@pytest.mark.parametrize("values", [[3.0], [3.0, np.nan], [], [0.0, 1e-300], [-1e9, 1e9]])
def test_span_is_a_range(values):
    low, high = span(np.array(values))
    assert low < high
    assert all(low < v < high for v in values if np.isfinite(v))
