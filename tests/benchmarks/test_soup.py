"""The rows of the soup benchmark, from hand-made results and from a search over a toy."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.jobs import Job, Result
from benchmarks.soup import stories
from benchmarks.soup.context import RATIOS, SIMPLEX, WIDE, Context, compared, kinds, ordering, searches
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


def test_ratios_with_intervals_over_prompts():
    generator = np.random.default_rng(0)
    luck = generator.normal(0.0, 0.3, (1, 400, 2))
    linear = np.array([[[1.0, 0.5]], [[0.5, 1.0]]]) + luck
    found = compared({"linear": linear, "global": linear + 0.1, "layerwise": linear + 0.1}, np.zeros(2))
    assert found["layerwise_over_global"] == pytest.approx([1.0, 1.0, 1.0])
    value, low, high = found["global_over_linear"]
    # 2 * 1.1 * 0.6 - 0.6^2 over 2 * 1 * 0.5 - 0.5^2, but for the luck that they share.
    assert low < 0.96 / 0.75 < high
    assert value == pytest.approx(0.96 / 0.75, abs=0.1)
    ratios = [
        {"ratios": dict.fromkeys(("layerwise_over_global", "global_over_linear"), row)}
        for row in ([1.0, 0.7, 1.3], [1.2, 0.8, 1.6])
    ]
    rows = rows_of(*(result(i, **r) for i, r in enumerate(ratios)), kinds=kinds(WIDE))
    assert rows["part.layerwise_over_global"].value == pytest.approx(1.1)
    # Half of the root of 0.3^2 + 0.4^2 to either side.
    assert rows["part.layerwise_over_global"].interval == pytest.approx([0.85, 1.35])


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
        means = np.array([share, 1 - share**2])
        rows = means + np.array([[0.1, -0.1], [-0.1, 0.1], [0.2, 0.2], [-0.2, -0.2]])
        return Evaluation(FrontPoint(means, (0.1, 0.1), 4), rows)


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
    assert np.array_equal(first, again(fronts["linear"]))
    assert first.mean(axis=1) == pytest.approx(fronts["linear"].rewards)
    assert again.judge.calls == asked == len(first)


def test_stories_need_their_data():
    (row,) = stories.rows(Context())
    assert row.id == "stories.skipped"
