"""The rows of the soup benchmark, from hand-made results and from a search over a toy."""

from types import SimpleNamespace

import pytest

from benchmarks.jobs import Job, Result
from benchmarks.soup import stories
from benchmarks.soup.context import RATIOS, SIMPLEX, WIDE, Context, kinds, ordering, searches
from benchmarks.soup.stories import volumes
from frontier.points import FrontPoint
from frontier.realize.soup import Evaluation

KINDS = kinds(SIMPLEX, "global_nsga2", "layerwise_nsga2", "global_wide", "layerwise_wide")


def one(seed):  # stands for a training and its searches
    return {}


def result(seed, error=None, **found):
    figures = dict.fromkeys(KINDS, 1.0) | found
    return Result(Job(one, {"seed": seed}, 1.0), {} if error else figures, 2.0, error)


def rows_of(*results, **options):
    return {row.id: row for row in ordering("part", results, options.pop("kinds", KINDS), "what", "unit", **options)}


def test_ratios_are_means_over_seeds_of_the_same_seed():
    found = rows_of(
        result(0, linear=0.5, **{"global": 1.0}, layerwise=1.1),
        result(1, linear=1.0, **{"global": 0.9}, layerwise=0.9),
    )
    assert found["part.linear.hv"].value == 0.75
    assert found["part.linear.hv"].interval == [0.5, 1.0]
    # (1 / 0.5 + 0.9 / 1) / 2 and (1.1 / 1 + 0.9 / 0.9) / 2
    assert found["part.global_over_linear"].value == pytest.approx(1.45)
    assert found["part.layerwise_over_global"].value == pytest.approx(1.05)
    assert found["part.layerwise_over_global"].interval == pytest.approx([1.0, 1.1])
    assert found["part.layerwise_over_global"].holds
    assert "2 seeds" in found["part.linear.hv"].what


def test_a_simpler_soup_that_wins_misses_the_bar():
    found = rows_of(result(0, layerwise=0.99), result(1))
    assert not found["part.layerwise_over_global"].holds
    assert found["part.global_over_linear"].holds
    assert found["part.layerwise_over_global_wide"].holds is None


def test_a_failed_seed_is_a_row_and_the_others_count():
    found = rows_of(result(0, error="out of luck"), result(1, linear=0.5))
    assert not found["part.failed"].holds
    assert "seed 0: out of luck" in found["part.failed"].what
    assert found["part.linear.hv"].value == 0.5
    assert set(rows_of(result(0, error="out of luck"))) == {"part.failed"}


def test_figures_in_groups():
    grouped = Result(Job(one, {"seed": 0}, 1.0), {"held_out": dict.fromkeys(KINDS, 2.0)})
    assert rows_of(grouped, group="held_out")["part.global.hv"].value == 2.0
    few = Result(Job(one, {"seed": 0}, 1.0), dict.fromkeys(kinds(WIDE), 2.0))
    named = {f"part.{name}.hv" for name in ("linear", "global", "layerwise")}
    assert set(rows_of(few, kinds=kinds(WIDE))) == named | {"part.layerwise_over_global", "part.global_over_linear"}


@pytest.mark.parametrize("limits", [SIMPLEX, WIDE])
def test_layerwise_searches_are_compared_with_the_same_search_of_one_block(limits):
    made = kinds(limits, "global_nsga2", "layerwise_nsga2", "global_wide", "layerwise_wide")
    for one, other, _ in RATIOS.values():
        if one.startswith("layerwise"):
            assert made[one].blockwise
            assert not made[other].blockwise
            assert (made[one].optimizer, made[one].limits) == (made[other].optimizer, made[other].limits)
    assert made["linear"].limits is None
    assert ("simplex" in made["global"].what) == (limits is SIMPLEX)


def test_volumes_share_their_reference_point():
    found = volumes({"a": [(1.0, 0.0), (0.0, 1.0)], "b": [(1.0, 1.0), (0.0, 0.0)]})
    # Above (-0.1, -0.1): two overlapping rectangles, and one whole square.
    assert found["a"] == pytest.approx(2 * 1.1 * 0.1 - 0.1**2)
    assert found["b"] == pytest.approx(1.1**2)


class Judge:
    def __init__(self):
        self.calls = 0

    def __call__(self, soup):
        self.calls += 1
        share = soup.at_place("0")[0]
        return Evaluation(FrontPoint((share, 1 - share**2), (0.1, 0.1), 4))


def test_every_kind_spends_its_budget_and_soups_in_common_are_judged_once():
    experts, judge = SimpleNamespace(names=("a", "b"), places=("0", "1")), Judge()
    fronts = searches(judge, experts, ("r", "s"), budget=6, layers=2, seed=0, kinds=KINDS)
    assert set(fronts) == set(KINDS)
    assert {front.info["search"]["evaluations"] for front in fronts.values()} == {6}
    assert [front.info["search"]["blocks"] for front in fronts.values()].count(["all"]) == 4
    assert judge.calls < 6 * len(KINDS)
    again = stories.Judged(Judge(), SimpleNamespace(experts=experts))
    first = again(fronts["linear"])
    asked = again.judge.calls
    assert first == again(fronts["linear"]) == [point.rewards for point in fronts["linear"].points]
    assert again.judge.calls == asked == len(first)


def test_stories_need_their_data():
    (row,) = stories.rows(Context())
    assert row.id == "stories.skipped"
