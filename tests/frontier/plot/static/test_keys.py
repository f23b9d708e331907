import dataclasses

import pytest

from frontier.plot.colours import BASE
from frontier.plot.static.canvas import picture_style
from frontier.plot.static.keys import COLOURS, bar_key, triangle_key, weights_key
from frontier.plot.static.sheet import new_sheet
from frontier.plot.view import view_of


def test_bars_run_from_low_to_high():
    with picture_style():
        figure = new_sheet(5, 3, title="", key=bar_key("reward", -2.0, 6.0))
        (axes,) = figure.axes
        assert axes.get_ylim() == (-2, 6)
        (image,) = axes.get_images()
        assert image.get_array()[0, 0] == 1.0  # the top of the picture is the high end
        assert image.get_cmap() is COLOURS


def test_triangles_name_their_corners(readable):
    texts = readable(lambda: new_sheet(5, 3, title="", key=triangle_key(("one", "two $", "w" * 90))))
    assert {"1", "2", "3"} <= set(texts)
    (names,) = (text for text in texts if text.startswith("1: one\n2: two $\n3:"))
    assert names.endswith("…")


def test_corners_have_the_base_colours():
    with picture_style():
        (axes,) = new_sheet(5, 3, title="", key=triangle_key(("a", "b", "c"))).axes
    assert [line.get_color() for line in axes.lines] == list(BASE)


@pytest.mark.parametrize("k", [2, 3])
def test_no_key_without_weights(make_front, k):
    front = make_front(k)
    assert weights_key(view_of(front)) is not None
    assert weights_key(view_of(dataclasses.replace(front, points=front.points[-1:]))) is None
