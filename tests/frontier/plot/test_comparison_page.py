import dataclasses

import numpy as np
import pytest

from frontier import FrontPoint, InputError, ParetoFront
from frontier.plot.comparison_page import beaten, comparison_page, comparison_rows
from frontier.plot.view import view_of


def rows_of(view):
    return {row.name: row for row in comparison_rows(view)}


def front(*rewards):
    return ParetoFront(("a", "b"), tuple(FrontPoint(r, [np.nan] * 2, 1) for r in rewards))


def test_figures_by_hand():
    view = view_of({"A": front((2, 1), (1, 2)), "B": front((1, 1))})
    object.__setattr__(view, "reference_point", np.zeros(2))
    rows = rows_of(view)
    assert (rows["hypervolume"].first, rows["hypervolume"].second) == (3, 1)
    # max(2w + 1 - w, w + 2 - 2w) = max(1 + w, 2 - w): mean 1.75 over the even weights 0, 0.01, ..., 1, a little more on the lattice.
    assert rows["EUM"].first == pytest.approx(1.75, abs=0.01)
    assert rows["EUM"].second == 1
    assert (rows["ε to cover the other"].first, rows["ε to cover the other"].second) == (0, 1)
    assert not rows["ε to cover the other"].higher
    assert (rows["best a"].first, rows["best a"].second) == (2, 1)
    assert "MIP" not in rows  # nothing was asked for


def test_beaten():
    assert beaten(np.array([[1, 1], [3, 0], [2, 2]]), np.array([[2, 2]])) == 1  # an equal point does not dominate


def test_page(make_front, tmp_path):
    path = comparison_page(make_front(2), make_front(2, best=0.5), tmp_path / "c.html", labels=("mine", "<b>theirs"))
    text = path.read_text("utf8")
    assert "mine is better for 100 % of the weights" in text
    assert "<td>1 of 6</td><td>6 of 6</td>" in text  # each front's bad point, and all that is half as good
    assert "&lt;b&gt;theirs" in text
    assert "<b>theirs" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["c.html"]


def test_a_front_against_itself_is_equal_everywhere(make_front):
    for row in comparison_rows(view_of({"A": make_front(3), "B": make_front(3)})):
        assert row.first == row.second


def test_intervals_where_both_answered_the_same_prompts(measured):
    view = view_of({"A": measured(2, 0), "B": measured(2, 1, best=0.5)})
    rows = rows_of(view)
    for name in ("hypervolume", "EUM", "MIP"):
        assert rows[name].difference.low > 0  # half the rewards: far worse than the noise
    assert rows_of(view_of({"A": measured(2, 0), "B": measured(2, 1, prompts="q")}))["EUM"].difference is None


def test_refuses(make_front, tmp_path):
    front = make_front(2)
    scaled = dataclasses.replace(front, normalizer={"helpful": {"scale": 2.0}})
    for other, labels, message in (
        (front, ("A", "A"), "must be two that differ"),
        (make_front(3), ("A", "B"), "same objectives"),
        (scaled, ("A", "B"), "normalisers of A and B differ"),
    ):
        with pytest.raises(InputError, match=message):
            comparison_page(front, other, tmp_path / "c.html", labels=labels)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_no_texts(make_front, tmp_path):
    path = comparison_page(make_front(2), make_front(2), tmp_path / "c.html", labels=(1, "\ud800"))
    assert "1 is better for 0 % of the weights" in path.read_text("utf8")
    with pytest.raises(InputError, match="two that differ"):
        comparison_page(make_front(2), make_front(2), tmp_path / "c.html", labels=(1, "1"))
