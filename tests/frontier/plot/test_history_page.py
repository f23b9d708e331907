import numpy as np
import pytest

from frontier import InputError
from frontier.plot.history_page import checked, history_figure, history_page


def test_page(tmp_path):
    runs = {"steerable <b>": ([0, 10, 20], [0, 1, 2], [0, 0.5, 1.5], [0, 1.5, 2.5]), "soups": ([0, 20], [0, 1.25])}
    text = history_page(runs, tmp_path / "new" / "h.html", title="Growth & <i>", note="8 prompts").read_text("utf8")
    assert "<h1>Growth &amp; &lt;i&gt;</h1>" in text
    assert "steerable &lt;b&gt;" in text
    assert "<td>1.25</td><td>20</td><td>1.25 at 20</td>" in text
    assert "2<small>1.5 to 2.5</small>" in text
    assert "8 prompts" in text
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["h.html"]


def test_gaps_stay_gaps():
    curve = checked("a", ([0, 1, 2, 3, 4], [0, 1, np.nan, 3, 4], [0, 1, np.nan, 3, 4], [1, 2, np.nan, 4, 5]))
    figure = history_figure({"a": curve}, "hypervolume (higher is better)", "step")
    bands = [t for t in figure.data if t.name == "band"]
    assert [list(t.x) for t in bands] == [[0, 1, 1, 0], [3, 4, 4, 3]]
    line = next(t for t in figure.data if t.name == "curve")
    assert line.y[2] is None


def test_curves_differ_without_colour():
    curves = {name: checked(name, ([0, 1], [0, 1])) for name in "abcdef"}
    lines = [t for t in history_figure(curves, "v", "s").data if t.name == "curve"]
    assert len({(t.line.dash, t.marker.symbol) for t in lines}) == 6


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (([0, 1],), "found 1 parts"),
        (([0, 1], [1]), "one length"),
        (([], []), "one length, at least 1"),
        (([0, 0], [1, 2]), "must rise"),
        (([0, 1], [1, np.inf]), "must be finite"),
        (([0, 1], [1, 1], [2, 0], [1, 1]), "low <= high"),
        (([0, 1], [1, 1], [0, np.nan], [1, 1]), "both known or neither"),
        ((["a"], [1]), "must hold numbers"),
    ],
)
def test_refuses(tmp_path, history, message):
    with pytest.raises(InputError, match=message) as caught:
        history_page({"the run": history}, tmp_path / "h.html")
    assert "the run" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_refuses_nothing(tmp_path):
    with pytest.raises(InputError, match="no history to draw"):
        history_page({}, tmp_path / "h.html")


def test_labels_that_are_no_texts(tmp_path):
    text = history_page({1: ([0, 1], [0.1, 0.2]), "\ud800": ([0], [0.1])}, tmp_path / "h.html").read_text("utf8")
    assert '<td class="name wider">1</td>' in text
    assert '<td class="name wider">\ufffd</td>' in text
