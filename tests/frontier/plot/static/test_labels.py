import itertools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from frontier.plot.static.canvas import picture_style
from frontier.plot.static.labels import Label, drawn_ticks, settle
from frontier.plot.static.sheet import new_sheet


def panel():
    figure = new_sheet(5, 4, title="")
    return figure, figure.add_subplot(xlim=(0, 1), ylim=(0, 1))


def placed(figure, axes):
    figure.canvas.draw()  # annotations find their places as they are drawn
    renderer = figure.canvas.get_renderer()
    return [Text.get_window_extent(text, renderer) for text in axes.texts]


def test_forty_labels_of_one_point_cover_neither_each_other_nor_the_edge():
    with picture_style():
        figure, axes = panel()
        settle(figure, [Label(axes, np.array([0.6, 0.5]), str(i)) for i in range(40)])
        boxes = placed(figure, axes)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(box.x1 <= axes.bbox.x1 and box.y1 <= axes.bbox.y1 for box in boxes)


def test_a_label_leaves_marks_uncovered_and_stands_on_a_free_place_if_centred():
    with picture_style():
        figure, axes = panel()
        place = np.array([0.5, 0.5])
        settle(figure, [Label(axes, place, "on", centred=True)])
        (box,) = placed(figure, axes)
        np.testing.assert_allclose(
            [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2], axes.transData.transform(place), atol=2
        )

        figure, axes = panel()
        marks = np.array([[0.5, 0.5], [0.53, 0.54], [0.55, 0.56]])  # where the first label would go
        settle(figure, [Label(axes, place, "beside", centred=True)], [(axes, marks)])
        (box,) = placed(figure, axes)
        assert not any(box.contains(*dot) for dot in axes.transData.transform(marks))


def test_ticks_that_run_into_each_other_become_fewer():
    with picture_style():
        figure = Figure(figsize=(2, 2))
        axes = figure.add_subplot(xlim=(1e6, 1e6 + 1))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.4f}")
        before = len(drawn_ticks(axes))
        settle(figure)
        boxes = [tick.get_window_extent() for tick in drawn_ticks(axes)]
        assert 1 <= len(boxes) < before
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
