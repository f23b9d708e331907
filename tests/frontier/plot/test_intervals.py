import dataclasses

import numpy as np
import pytest

from frontier.plot.intervals import chances_non_dominated, figures_with_intervals, rewards_per_prompt
from frontier.plot.view import summary_rows, view_of


@pytest.mark.parametrize("k", [2, 3])
def test_every_figure_of_the_summary_has_one(measured, k):
    view = view_of(measured(k, 0))
    found = figures_with_intervals(view)["front"]
    (row, *_) = summary_rows(view)
    assert set(found) == {"hypervolume", "EUM", "MIP", "gap"} <= set(row)
    # A figure that takes the best of noisy means is too high: its interval may lie below it, but not far.
    assert found["MIP"].low < float(row["MIP"]) < found["MIP"].high
    assert abs(found["hypervolume"].value - float(row["hypervolume"])) < 0.1
    assert found["hypervolume"].reference_point == tuple(view.reference_point)


def test_chances(measured):
    front = measured(2, 0)
    chances = chances_non_dominated(view_of({"a": front, "b": dataclasses.replace(front, prompt_rewards=None)}))
    assert set(chances) == {"a"}
    assert len(chances["a"]) == len(front.points)
    assert min(chances["a"]) > 0.9  # far apart on a concave front


def test_without_enough_prompts_there_is_none(measured):
    front = measured(2, 0)
    assert rewards_per_prompt(dataclasses.replace(front, prompt_rewards=None)) is None
    few = measured(2, 0, n=9)
    assert figures_with_intervals(view_of(few)) == {}
    gaps = front.prompt_rewards.rewards.copy()
    gaps[0, 5:, 1] = np.nan
    kept = dataclasses.replace(front.prompt_rewards, rewards=gaps)
    points = [
        dataclasses.replace(p, rewards=m, standard_error=s)
        for p, m, s in zip(front.points, kept.means(), kept.standard_errors(), strict=True)
    ]
    assert rewards_per_prompt(dataclasses.replace(front, points=points, prompt_rewards=kept)) is None
