import dataclasses

import numpy as np
import pytest

from frontier.errors import InputError
from frontier.front import ParetoFront, common_reference_point
from frontier.measure import steering
from frontier.measure.uncertainty import (
    bootstrap,
    certify,
    certify_points,
    compare,
    interval,
    probability_non_dominated,
    prompts_needed,
)
from frontier.prompt_rewards import PromptRewards

NAMES = ("helpful", "safe")
WEIGHTS = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
NORMALIZER = {"helpful": {"location": 0.0, "scale": 2.0}, "safe": {"location": 0.0, "scale": 1.0}}


def front(shift=0.0, seed=0, prompts=range(80), normalizer=NORMALIZER, steered=True):
    means = np.array([[1.0, 0.1], [0.7, 0.7], [0.1, 1.0]]) + shift
    noise = np.random.default_rng(seed).normal(0, 0.2, (3, len(prompts), 2))
    rewards = PromptRewards(NAMES, means[:, None] + noise, tuple(f"prompt {i}" for i in prompts))
    preferences = [{"weights": dict(zip(NAMES, row, strict=True))} for row in WEIGHTS.tolist()] if steered else None
    return ParetoFront.of_prompt_rewards(rewards, preferences=preferences, normalizer=normalizer)


@pytest.mark.parametrize("figure", ["hypervolume", "eum", "mip", "controllability_gap"])
def test_interval_carries_what_it_refers_to(figure):
    measured = front()
    found = interval(measured, figure)
    place = common_reference_point(measured)
    same = bootstrap(measured.prompt_rewards.rewards, figure, reference_point=place, weights=WEIGHTS)
    assert (found.low, found.high, found.n_prompts) == (same.low, same.high, 80)
    assert found.normalizer == NORMALIZER
    assert found.reference_point == (tuple(place) if figure == "hypervolume" else None)
    plain = {"hypervolume": measured.hypervolume().value, "eum": measured.eum(), "mip": measured.mip()}
    assert plain.get(figure, measured.controllability_gap()) in found


def test_interval_of_a_function():
    found = interval(front(), lambda points: steering(WEIGHTS, points)[0], method="percentile", resamples=300)
    assert found.low == found.high == pytest.approx(1.0)


def test_probability():
    assert probability_non_dominated(front()).probability == (1.0, 1.0, 1.0)


def test_compare_pairs_prompts_by_their_ids():
    a, b = front(0.1), front(seed=1)
    order = tuple(reversed(b.prompt_rewards.prompts))
    turned = dataclasses.replace(b, prompt_rewards=b.prompt_rewards.align(order))
    one, two = compare(a, b), compare(a, turned)
    assert one.p_value == two.p_value
    assert one.verdict == "A is better"
    assert one.objectives == NAMES
    assert one.difference.normalizer == NORMALIZER
    assert one.difference.reference_point == tuple(common_reference_point(a, b))
    assert prompts_needed(one).more == 0


def test_compare_leaves_out_what_one_front_does_not_know():
    a, b = front(), front(seed=1)
    hard = a.prompt_rewards.rewards[:, :, 0].mean(axis=0) < 0.5
    assert 10 < hard.sum() < 60
    values = b.prompt_rewards.rewards.copy()
    values[:, hard, 0] = np.nan
    holes = ParetoFront.of_prompt_rewards(
        dataclasses.replace(b.prompt_rewards, rewards=values), WEIGHTS, normalizer=NORMALIZER
    )
    found = compare(a, holes, "mip")
    kept = a.prompt_rewards.rewards[:, ~hard, 0].mean(axis=1) @ WEIGHTS[:, 0]
    whole = a.prompt_rewards.rewards[:, :, 1].mean(axis=1) @ WEIGHTS[:, 1]
    assert found.a == pytest.approx((kept + whole) / 3)
    assert found.b == pytest.approx(holes.mip())


def test_eum_of_two_fronts_is_over_the_users_of_both():
    found = compare(front(0.1), front(seed=1), "eum")
    assert found.a == pytest.approx(front(0.1).eum())


def test_compare_refuses_other_normalisers_prompts_and_objectives():
    with pytest.raises(InputError, match="different normalisers don't compare"):
        compare(front(), front(normalizer=None))
    with pytest.raises(InputError, match="A was measured on 80, B on 80, and they share 50"):
        compare(front(), front(prompts=range(30, 110)))
    measured = front()
    renamed = PromptRewards(("x", "y"), measured.prompt_rewards.rewards, measured.prompt_rewards.prompts)
    with pytest.raises(InputError, match="the same objectives in the same order"):
        compare(measured, ParetoFront.of_prompt_rewards(renamed))


def test_certify_counts_all_points_by_default():
    found = certify(front(), 1, {"safe": 0.6})
    assert (found.passed, found.chosen_among, found.point, found.normalizer) == (True, 3, 1, NORMALIZER)
    assert certify(front(), 1, {"safe": 0.6}, chosen_among=1).bounds[0].low > found.bounds[0].low


def test_holm_passes_what_the_union_bound_passes():
    limits = {"safe": 0.05}
    together = certify_points(front(), limits)
    alone = [certify(front(), i, limits).passed for i in range(3)]
    assert all(t.passed or not a for t, a in zip(together, alone, strict=True))
    assert {t.correction for t in together} == {"Holm"}


def test_without_rewards_per_prompt_nothing_is_known():
    bare = dataclasses.replace(front(), prompt_rewards=None)
    for ask in (interval, probability_non_dominated, lambda f: certify(f, 0, {"safe": 0.0})):
        with pytest.raises(InputError, match="holds no rewards per prompt"):
            ask(bare)
    with pytest.raises(InputError, match="front B holds no rewards per prompt"):
        compare(front(), bare)


def test_refuses_what_has_no_meaning():
    with pytest.raises(InputError, match="no point of the front has weights"):
        interval(front(steered=False), "mip")
    with pytest.raises(InputError, match="takes no others"):
        interval(front(), "mip", weights=WEIGHTS)
    with pytest.raises(InputError, match="points 0 to 2, found 3"):
        certify(front(), 3, {"safe": 0.0})


def test_holm_bounds_reach_the_minimum_where_they_pass():
    """Two clear points; the third passes at delta, though not at delta / 3 as its own bound would have to."""
    together = certify_points(front(), {"safe": 0.08})
    own = certify(front(), 0, {"safe": 0.08})
    assert own.bounds[0].low < 0.08
    assert (own.passed, [c.passed for c in together]) == (False, [True, True, True])
    assert together[0].bounds[0].low == 0.08
    assert together[1].bounds[0].low == certify(front(), 1, {"safe": 0.08}).bounds[0].low
    failed = certify_points(front(), {"safe": 0.5})[0]
    assert failed.bounds[0].low < 0.5
    assert not failed.passed
