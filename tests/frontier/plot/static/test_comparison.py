import dataclasses

import pytest

from frontier import FrontPoint, InputError, ParetoFront
from frontier.plot.static.comparison import compared_figures, draw_comparison, plot_comparison
from frontier.plot.view import view_of


def front(*rewards):
    k = len(rewards[0])
    return ParetoFront(tuple("abcd"[:k]), tuple(FrontPoint(r, [0.1] * k, 8) for r in rewards))


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_writes_a_picture(make_front, tmp_path, k, suffix):
    fronts = {"steerable": make_front(k, 2), "soups": make_front(k, 2, best=0.5)}
    assert plot_comparison(fronts, tmp_path / f"c.{suffix}", dpi=50).stat().st_size > 1000


def test_areas_by_hand(readable):
    # The reference point lies a tenth of the range below the worst: at (-0.1, -0.1).
    view = view_of({"A": front((0.0, 1.0), (0.5, 0.5)), "B": front((1.0, 0.0))})
    place = view.reference_point
    box = (0 - place[0]) * (1 - place[1]) + 0.5 * (0.5 - place[1])
    right = (1 - place[0]) * (0 - place[1])
    both = (0.5 - place[0]) * (0 - place[1])
    texts = " ".join(readable(lambda: draw_comparison(view))).replace("\n", " ")
    assert f"only A {box - both:.3g}, only B {right - both:.3g}, both {both:.3g}" in texts


def test_the_better_of_each_figure(make_front):
    rows = {
        row.name: row for row in compared_figures(view_of({"A": make_front(3, 2), "B": make_front(3, 2, best=0.5)}))
    }
    assert rows["hypervolume"].better == 1
    assert float(rows["best reward of brief"].difference) == pytest.approx(0.5 * 1.01**0.5, abs=1e-3)
    assert rows["steering brief"].better == 0
    assert rows["steering brief"].difference == "0.000"
    swapped = {r.name: r for r in compared_figures(view_of({"B": make_front(3, 2, best=0.5), "A": make_front(3, 2)}))}
    assert swapped["hypervolume"].better == 2
    assert swapped["hypervolume"].difference.startswith("−")


def test_a_smaller_gap_is_better():
    def steered(*rewards):
        asked = ({"weights": {"a": 1.0}}, {"weights": {"b": 1.0}}, {"weights": {"c": 1.0}})
        points = tuple(FrontPoint(r, [0.1] * 3, 8, w) for r, w in zip(rewards, asked, strict=True))
        return ParetoFront(("a", "b", "c"), points)

    obeys = steered((1, 0, 0), (0, 1, 0), (0, 0, 1))
    swaps = steered((0, 1, 0), (1, 0, 0), (0, 0, 1))
    rows = {row.name: row for row in compared_figures(view_of({"obeys": obeys, "swaps": swaps}))}
    gap = next(row for name, row in rows.items() if "gap" in name)
    assert (gap.first, gap.second, gap.better) == ("0.000", "0.667", 1)


def test_what_is_not_known_is_not_compared():
    rows = {r.name: r for r in compared_figures(view_of({"A": front((0, 1, 0)), "B": front((1, 0, 0))}))}
    mip = next(row for name, row in rows.items() if name.startswith("MIP"))
    assert (mip.first, mip.difference, mip.better) == ("–", "–", 0)


def test_equal_points_have_an_equal_eum_whatever_they_were_asked_for():
    def asked(first, second):
        one = FrontPoint((1, 0, 0), [0.1] * 3, 8, {"weights": {first: 1.0}})
        return ParetoFront(tuple("abc"), (one, FrontPoint((0, 0.1, 0.1), [0.1] * 3, 8, {"weights": {second: 1.0}})))

    rows = compared_figures(view_of({"A": asked("a", "a"), "B": asked("b", "c")}))
    eum = next(row for row in rows if row.name.startswith("EUM"))
    assert "91 even weights" in eum.name  # 12 steps on an edge: the finest lattice of at most 101
    assert (eum.difference, eum.better) == ("0.000", 0)
    assert next(row for row in rows if row.name.startswith("MIP")).better == 1


def test_differences_are_taken_before_rounding():
    # 0.35149 and 0.35151 read 0.351 and 0.352, and a hypervolume of 1e-6 would read 0.000.
    rows = {r.name: r for r in compared_figures(view_of({"A": front((0.35149, 0, 0)), "B": front((0.35151, 0, 0))}))}
    row = rows["best reward of a"]
    assert (row.first, row.second, row.difference, row.better) == ("0.351", "0.352", "−2e-05".replace("-", "−"), 2)
    small = {"A": front((1e-3, 2e-3, 0)), "B": front((2e-3, 3e-3, 1e-3), (0, 0, 0))}
    volume = compared_figures(view_of(small))[0]
    assert (volume.name, volume.better) == ("hypervolume", 2)
    assert "0.000" not in (volume.first, volume.second, volume.difference)


def test_what_differs_by_rounding_is_equal():
    rows = {r.name: r for r in compared_figures(view_of({"A": front((0.1 + 0.2, 0, 0)), "B": front((0.3, 0, 0))}))}
    row = rows["best reward of a"]
    assert (row.difference, row.better) == ("0.000", 0)


@pytest.mark.parametrize("labels", [("A",), ("A", "B", "C")])
def test_refuses_other_than_two(make_front, tmp_path, labels):
    with pytest.raises(InputError, match=f"a comparison needs two fronts by label, found {len(labels)}"):
        plot_comparison({label: make_front(2, 2) for label in labels}, tmp_path / "c.png")


def test_refuses_units_that_differ(make_front, tmp_path):
    scaled = dataclasses.replace(make_front(2, 2), normalizer={"helpful": {"scale": 2.0}})
    with pytest.raises(InputError, match="normali"):
        plot_comparison({"A": make_front(2, 2), "B": scaled}, tmp_path / "c.png")
    assert list(tmp_path.iterdir()) == []
