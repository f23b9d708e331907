import math

import numpy as np
import pytest

from frontier import InputError
from frontier.plot.static.history import draw_history, plot_history, runs_of

STEPS, VALUES = [0, 10, 20], [0.1, 0.4, 0.5]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_writes_a_picture(tmp_path, suffix):
    runs = {"a": (STEPS, VALUES), "b": (STEPS, VALUES, [0.0, 0.3, math.nan], [0.2, 0.5, math.nan])}
    assert plot_history(runs, tmp_path / f"h.{suffix}", dpi=50).stat().st_size > 1000


def test_svg_says_what_it_shows(tmp_path):
    text = plot_history({"run": (STEPS, VALUES)}, tmp_path / "h.svg", note="Reference point (0, 0).").read_text()
    for words in ("higher is better", "training step", "Reference point (0, 0).", ">run<", "Hypervolume over training"):
        assert words in text
    text = plot_history(
        {"run": (STEPS, VALUES)}, tmp_path / "l.svg", indicator="IGD+", unit="", higher_is_better=False
    ).read_text()
    assert "lower is better" in text


def test_draws_what_it_was_given():
    figure = draw_history(runs_of({"a": (STEPS, [0.1, math.nan, 0.5])}), "y", "x", "", "")
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), [0.1, math.nan, 0.5])


def test_runs_differ_without_colour():
    figure = draw_history(runs_of({str(i): (STEPS, VALUES) for i in range(24)}), "y", "x", "", "")
    looks = {(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].lines}
    assert len(looks) == 24  # all pairs of 6 markers and 4 line styles


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({}, "must map labels"),
        ([(STEPS, VALUES)], "must map labels"),
        ({"a": (STEPS,)}, r"history 'a' must be \(steps, values\) or"),
        ({"a": (STEPS, VALUES, VALUES)}, r"must be \(steps, values\) or"),
        ({"a": (STEPS, VALUES[:2])}, "values of history 'a' must be finite numbers, one a step"),
        ({"a": (STEPS, [0, 1, math.inf])}, "values of history 'a' must be finite"),
        ({"a": (STEPS, ["x", 1, 2])}, "values of history 'a' must be numbers"),
        ({"a": ([0, 20, 10], VALUES)}, "steps of history 'a' must rise"),
        ({"a": ([0, math.nan, 10], VALUES)}, "steps of history 'a' must rise"),
        ({"a": (STEPS, [math.nan] * 3)}, "no value that is known"),
        ({"a": ([], [])}, "no value that is known"),
        ({"a": (STEPS, VALUES, [0, 0, 0], [1, 0.3, 1])}, "at step 10 must contain 0.4, found 0 to 0.3"),
    ],
)
def test_refuses(tmp_path, runs, message):
    with pytest.raises(InputError, match=message):
        plot_history(runs, tmp_path / "h.png")
    assert list(tmp_path.iterdir()) == []
