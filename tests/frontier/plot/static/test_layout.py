"""Every picture, with typical and nasty input: no text covers another or leaves the picture."""

import numpy as np
import pytest

from frontier.plot.static.comparison import draw_comparison
from frontier.plot.static.front import draw_front
from frontier.plot.static.history import draw_history, runs_of
from frontier.plot.static.parallel import draw_all_parallel
from frontier.plot.static.space import draw_space
from frontier.plot.static.steering import draw_steering
from frontier.plot.static.ternary import draw_ternary
from frontier.plot.view import view_of

CASES = ("typical", "long names", "one point", "equal points", "large numbers", "unknown errors", "forty", "several")
LONG = "A title that goes on and on, with $x$ and <tags>, because someone put a whole sentence into it, and then another one"


def picked(fronts, k):
    front = fronts if not isinstance(fronts, dict) else next(iter(fronts.values()))
    last = len(front.points) - 1
    picks = {
        "knee": last // 2,
        "the same": last // 2,
        "also the same": last // 2,
        "chosen by someone with much to say": last,
    }
    return view_of(fronts, picks=picks)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [2, 3, 4])
def test_front(many_fronts, readable, k, case):
    iso = {"helpful": 0.7, "brief": 0.3} if k == 2 and case != "long names" else None
    texts = readable(lambda: draw_front(picked(many_fronts(k, case), k), LONG, iso))
    assert {"a", "b", "c", "d"} <= set(texts)
    assert any("higher is better" in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [5, 6])
def test_front_of_many_objectives(many_fronts, readable, k, case):
    readable(lambda: draw_front(picked(many_fronts(k, case), k), LONG))


@pytest.mark.parametrize("case", CASES)
def test_space(many_fronts, readable, case):
    texts = readable(lambda: draw_space(picked(many_fronts(3, case), 3), LONG))
    assert any("higher is better" in text for text in texts)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("by", ["best", "second"])
def test_ternary(many_fronts, readable, by, case):
    view = picked(many_fronts(3, case), 3)
    texts = readable(lambda: draw_ternary(view, view.objectives[1] if by == "second" else by, LONG))
    assert any("higher is better" in text for text in texts)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [2, 3, 6])
def test_parallel(many_fronts, readable, k, case):
    readable(lambda: draw_all_parallel(picked(many_fronts(k, case), k), LONG))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_steering(many_fronts, readable, k, case):
    texts = readable(lambda: draw_steering(view_of(many_fronts(k, case), least=1), LONG))
    assert any("higher is better" in text for text in texts)


@pytest.mark.parametrize("case", CASES[:-1])
@pytest.mark.parametrize("k", [2, 3, 6])
def test_comparison(many_fronts, readable, k, case):
    fronts = {
        "steerable": many_fronts(k, case),
        "soups with a label that is rather long for a heading": many_fronts(k, case),
    }
    texts = readable(lambda: draw_comparison(view_of(fronts), LONG))
    assert any("higher is better" in text for text in texts)


@pytest.mark.parametrize("steps", [1, 5, 500])
@pytest.mark.parametrize("factor", [1.0, 1e9, 1e-9])
def test_history(readable, steps, factor):
    x = np.arange(steps) * 1e6
    y = factor * np.arange(steps)
    runs = runs_of({f"run {'x' * 40} {i}": (x, y, y - factor, y + factor) for i in range(8)})
    readable(lambda: draw_history(runs, "hypervolume\n(unit; higher is better)", "training step", LONG, LONG))
