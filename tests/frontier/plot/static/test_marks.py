from frontier.plot.static.marks import front_marks, line_of, marker_of, series_of
from frontier.plot.view import view_of


def test_fronts_differ_without_colour():
    assert len({(marker_of(i), line_of(i)) for i in range(24)}) == 24
    assert len({series_of(i) for i in range(6)}) == 6


def test_the_legend_says_what_is_drawn(make_front):
    view = view_of({"A": make_front(2), "B": make_front(2)}, picks={"knee": 2})
    labels = [mark.get_label() for mark in front_marks(view, lines=True, ellipses=True)]
    assert labels == [
        "A",
        "B",
        "dominated (hollow)",
        "95 % region of the two means",
        "reference policy",
        "a: knee (picked)",
    ]
    assert len(front_marks(view_of(make_front(2)), lines=True)) == 3
