import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.serving.users.store import Judgement
from moalign.serving.users.taste import SPREAD, TEMPERATURE_SPREAD, Learner, load_population
from reward_heads.normalizer import Normalizer
from reward_heads.users.objective_users import ObjectiveUsers
from reward_heads.users.simplex import Population
from reward_heads.users.simplex_saved import empty_seen

NAMES = ("helpful", "brief")


def said(helpful, brief, label=1.0):
    return Judgement("pair", {"helpful": helpful, "brief": brief}, label, 0)


def on_a_grid(judgements, default=0.5, size=1201):
    """Posterior mean, 5 % and 95 % points of the weight of helpful and mean β, by summing over a grid of (w, log β): nothing of ours."""
    w = (np.arange(size) + 0.5) / size
    log_beta = np.linspace(-4, 4, 801) * TEMPERATURE_SPREAD
    u = np.log(w / (1 - w)) / math.sqrt(2)  # the log-ratio coordinate of two parts
    middle = math.log(default / (1 - default)) / math.sqrt(2)
    log_prior_w = -0.5 * ((u - middle) / SPREAD) ** 2 - np.log(w * (1 - w))  # with the Jacobian du/dw
    log_p = log_prior_w[:, None] - 0.5 * (log_beta / TEMPERATURE_SPREAD)[None] ** 2
    for j in judgements:
        utility = w * j.differences["helpful"] + (1 - w) * j.differences["brief"]
        margin = np.exp(log_beta)[None] * utility[:, None]
        log_p += j.label * -np.logaddexp(0, -margin) + (1 - j.label) * -np.logaddexp(0, margin)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    of_w = p.sum(axis=1)
    ends = w[np.searchsorted(of_w.cumsum(), [0.05, 0.95])]
    return of_w @ w, *ends, p.sum(axis=0) @ np.exp(log_beta)


CASES = [
    [],
    [said(1, -1)],
    [said(3, -2), said(-1, 2, label=0.0), said(0.5, -4, label=0.0)],
    [said(1, -1)] * 12 + [said(2, -1, label=0.0)] * 3,
    [said(0.2, 0.3), said(5, -5), said(-5, 6), said(40, -3, label=0.0)],
]


@pytest.mark.parametrize("judgements", CASES)
def test_the_posterior_is_that_of_a_grid(judgements):
    found = Learner(NAMES).learn(judgements)
    mean, low, high, temperature = on_a_grid(judgements)
    assert found.mean[0] == pytest.approx(mean, abs=0.01)
    assert (found.low[0], found.high[0]) == pytest.approx((low, high), abs=0.025)
    assert found.temperature == pytest.approx(temperature, rel=0.04)
    assert sum(found.mean) == pytest.approx(1)
    assert found.n == len(judgements)


def test_the_prior_stands_around_the_default():
    default = Preference({"helpful": 0.9, "brief": 0.1})
    found = Learner(NAMES, default=default).learn([said(1, -1, label=0.0)])
    mean, low, high, _ = on_a_grid([said(1, -1, label=0.0)], default=0.9 * 0.9 + 0.05)
    assert found.mean[0] == pytest.approx(mean, abs=0.01)
    assert (found.low[0], found.high[0]) == pytest.approx((low, high), abs=0.025)


def test_a_default_at_a_corner_or_with_a_negative_direction_is_a_prior_too():
    for default in (Preference.only("helpful"), Preference.direction({"helpful": 0.8, "brief": -0.6})):
        found = Learner(NAMES, default=default).learn([])
        assert 0.85 < found.mean[0] < 0.97


def test_judgements_are_kept_in_reward_units_and_weighed_on_the_policys_scale():
    units = Normalizer(("brief", "helpful"), (5.0, -3.0), (10.0, 2.0), 9)
    scaled = Learner(NAMES, normalizer=units).learn([said(2.0, -10.0), said(-4.0, 10.0, 0.0)])
    assert scaled == Learner(NAMES).learn([said(1.0, -1.0), said(-2.0, 1.0, 0.0)])


def test_judgements_about_other_objectives_say_nothing():
    other = Judgement("pair", {"helpful": 1.0, "safe": 9.0}, 1.0, 0)
    learner = Learner(NAMES)
    assert learner.learn([other, said(1, -1)]) == learner.learn([said(1, -1)])


def test_a_pair_turned_round_says_the_same():
    learner = Learner(NAMES)
    a, b = learner.learn([said(1, -2)]), learner.learn([said(-1, 2, label=0.0)])
    assert a.mean == pytest.approx(b.mean, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3, st.sampled_from([0.0, 1.0])), max_size=6), st.integers(0, 5))
def test_whatever_is_said_the_weights_are_weights(rows, seed):
    names = ("a", "b", "c")
    judgements = [Judgement("pair", dict(zip(names, row[:3], strict=True)), row[3], 0) for row in rows]
    found = Learner(names, seed=seed).learn(judgements)
    assert sum(found.mean) == pytest.approx(1)
    assert all(0 <= low <= high <= 1 for low, high in zip(found.low, found.high, strict=True))
    values = found.preference().values
    assert sum(values.values()) == pytest.approx(1)
    assert all(round(1000 * value) == pytest.approx(1000 * value) for value in values.values())


def test_beyond_certainty_only_the_direction_counts():
    learner = Learner(NAMES)
    assert learner.learn([said(5e5, -1e6)]).mean == pytest.approx(learner.learn([said(25, -50)]).mean, abs=1e-12)


def test_more_of_the_same_makes_surer():
    learner = Learner(("a", "b", "c"))
    one = {"a": 1.0, "b": -1.0, "c": 0.0}
    tastes = [learner.learn([Judgement("pair", one, 1.0, 0)] * n) for n in (0, 3, 30)]
    widths = [taste.high[0] - taste.low[0] for taste in tastes]
    assert tastes[0].mean[0] < tastes[1].mean[0] < tastes[2].mean[0]
    assert widths[0] > widths[2]


def test_a_direction_is_the_mean_at_length_one():
    taste = Learner(NAMES).learn([])
    found = taste.preference("direction")
    assert found.kind == "direction"
    assert found.values["helpful"] == pytest.approx(0.7071, abs=0.02)


def test_a_taste_survives_its_summary_and_no_other_prior_reads_it():
    learner = Learner(NAMES)
    taste = learner.learn([said(1, -1)])
    kept = json.loads(json.dumps(learner.summary(taste)))
    assert learner.read(kept) == taste
    assert Learner(NAMES, default=Preference.only("brief")).read(kept) is None
    assert Learner(("helpful", "safe")).read(kept) is None
    assert Learner(NAMES, normalizer=Normalizer(NAMES, (0.0, 0.0), (1.0, 3.0), 9)).read(kept) is None
    assert learner.read(None) is None


def test_a_fitted_population_is_the_prior(tmp_path):
    mean = torch.tensor([2.0, 0.3], dtype=torch.float64)
    population = Population(("brief", "helpful"), mean, torch.eye(2, dtype=torch.float64) * 0.01, None, users=50)
    ObjectiveUsers(population, empty_seen(2)).save_pretrained(tmp_path)
    prior = load_population(tmp_path, NAMES)
    found = Learner(NAMES, prior).learn([])
    share = 1 / (1 + math.exp(-2.0 * math.sqrt(2)))  # of brief, which is first there
    assert found.mean == pytest.approx((1 - share, share), abs=0.01)
    assert found.temperature == pytest.approx(math.exp(0.3), rel=0.02)
    with pytest.raises(InputError, match="safe"):
        load_population(tmp_path, ("helpful", "safe"))
    with pytest.raises(InputError, match="the population is over brief, helpful"):
        Learner(("a", "b"), prior)
