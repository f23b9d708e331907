import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from frontier.errors import InputError
from frontier.measure.uncertainty import Comparison, Estimate, prompts_needed


def comparison(value=0.1, deviation=1.0, prompts=50, p_value=0.5):
    difference = Estimate(value, value - 1, value + 1, method="m", n_prompts=prompts)
    return Comparison("hypervolume", difference, 1.0 + value, 1.0, p_value, deviation)


def test_by_hand():
    # (1.96 + 0.8416)^2 / 0.1^2 = 784.9, and two more for Student's t instead of the normal.
    found = prompts_needed(comparison())
    assert found.total == 787
    assert found.more == 737
    assert "787 prompts decide with probability 0.8 at level 0.95" in found.assumptions


def test_the_t_test_has_that_power():
    total = prompts_needed(comparison(0.5, prompts=10), power=0.9).total
    values = np.random.default_rng(0).normal(0.5, 1.0, size=(4000, int(total)))
    decided = (stats.ttest_1samp(values, 0.0, axis=1).pvalue <= 0.05).mean()
    assert decided == pytest.approx(0.9, abs=0.02)


def test_decided_needs_none():
    found = prompts_needed(comparison(p_value=0.01))
    assert (found.more, found.decided) == (0, True)
    assert found.assumptions.startswith("Decided")


def test_no_difference_is_never_decided():
    assert prompts_needed(comparison(0.0)).more == math.inf


def test_a_smaller_effect_takes_more_and_its_sign_does_not_matter():
    counts = [prompts_needed(comparison(), effect=e).total for e in (0.2, 0.1, -0.1, 0.05)]
    assert counts[0] < counts[1] == counts[2] < counts[3]


def test_never_fewer_than_there_are():
    assert prompts_needed(comparison(5.0)).more == 0
    assert not prompts_needed(comparison(5.0)).decided


def test_level_comes_from_the_comparison():
    wide = comparison()
    strict = dataclasses.replace(wide, difference=dataclasses.replace(wide.difference, level=0.99))
    assert prompts_needed(strict).total > prompts_needed(wide).total


@pytest.mark.parametrize("settings", [{"power": 0.4}, {"power": 1.0}, {"effect": math.nan}])
def test_refuses(settings):
    with pytest.raises(InputError, match=r"(power|effect) must be"):
        prompts_needed(comparison(), **settings)
