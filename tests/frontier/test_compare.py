import dataclasses
import doctest
import json
import math

import numpy as np
import pytest

import frontier.compare
from frontier import FrontPoint, InputError, ParetoFront, common_reference_point, hypervolume
from frontier.compare import compare_fronts, usual_resamples
from frontier.prompt_rewards import PromptRewards, prompt_ids

NAMES = ("helpful", "brief")
WEIGHTS = [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
MEANS = np.array([(0.0, 1.0), (0.7, 0.7), (1.0, 0.0)])
PROMPTS = prompt_ids(range(40))


def front_of(seed, shift=0.0, prompts=PROMPTS, weights=WEIGHTS, noise=0.05, **options):
    """Prompts differ much, and alike for every point; what is left is small."""
    easy = np.random.default_rng(99).normal(size=(40, 2))[: len(prompts)]
    own = np.random.default_rng(seed).normal(scale=noise, size=(3, len(prompts), 2))
    samples = PromptRewards(NAMES, MEANS[:, None] + shift + easy + own, prompts, easy)
    return ParetoFront.of_prompt_rewards(samples, weights, **options)


def bare(front):
    return dataclasses.replace(front, prompt_rewards=None)


def plain(*rows, weights=WEIGHTS):
    asked = [{"weights": dict(zip(NAMES, w, strict=True))} for w in weights]
    return ParetoFront(NAMES, tuple(FrontPoint(r, (0, 0), 8, p) for r, p in zip(rows, asked, strict=True)))


@pytest.fixture(scope="module")
def found():
    return compare_fronts({"new": front_of(0, 0.1), "old": front_of(1)}, resamples=400)


def test_examples_run():
    assert doctest.testmod(frontier.compare).attempted > 0
    assert doctest.testmod(frontier.compare).failed == 0


def test_plain_figures_by_hand():
    one, two = plain((0, 4), (2, 2), (4, 0)), plain((0, 2), (3, 3), (2, 0))
    got = compare_fronts({"one": one, "two": two}, reference_point=(-1, -1))
    # one: steps 1x5, 2x3, 2x1; two: (3, 3) alone, 4x4
    assert got["hypervolume"].values == {"one": 13, "two": 16}
    assert got["eum"].values == pytest.approx({"one": (4 + 2 + 4) / 3, "two": 3})
    assert got["mip"].values == pytest.approx({"one": (4 + 2 + 4) / 3, "two": (2 + 3 + 2) / 3})
    assert got["controllability_gap"].values == pytest.approx({"one": 0, "two": 2 / 3})
    assert got["steering.helpful"].values["one"] == pytest.approx(1)
    assert got.reference_point == (-1, -1)
    assert all(not figure.estimates and not figure.tests for figure in got.figures)
    assert got.notes == ("no intervals for one, two: its rewards on each prompt were not kept; measure it again",)


def test_one_reference_point_for_all():
    one, two = plain((0, 4), (2, 2), (4, 0)), plain((-9, 2), (3, 3), (2, 0))
    place = common_reference_point(one, two)
    got = one.compare(two)
    assert got.labels == ("A", "B")
    assert got.reference_point == pytest.approx(place)
    assert got["hypervolume"].values["A"] == pytest.approx(hypervolume(one.rewards, place))


def test_a_better_front_is_told_from_few_prompts_because_they_are_paired(found):
    volume = found["hypervolume"]
    # The prompts vary by 1, so each front is known to a third; the difference of 0.1 is decided all the same.
    widths = [e.high - e.low for e in volume.estimates.values()]
    assert min(widths) > 0.3
    test = volume.tests["old"]
    assert test.verdict == "new"
    assert test.comparison.p_value < 0.05
    assert test.comparison.difference.high - test.comparison.difference.low < 0.2
    assert test.needed.more == 0
    for name in ("eum", "mip"):
        assert found[name].tests["old"].verdict == "new"
        assert found[name].tests["old"].comparison.difference.value == pytest.approx(0.1, abs=0.05)


def test_equal_fronts_are_not_decided():
    got = compare_fronts({"a": front_of(0), "b": front_of(1, 1e-4)}, resamples=400)
    test = got["mip"].tests["b"]
    assert test.verdict == "not decided"
    assert test.needed.more > 0
    assert "more prompts would decide with probability 0.8" in got.table()


def test_of_the_gap_less_is_better():
    """Steered the wrong way round: a large gap, in a front with better points."""
    wrong = front_of(0, 0.1, weights=WEIGHTS[::-1])
    got = compare_fronts({"wrong": wrong, "right": front_of(1)}, resamples=400)
    assert got["controllability_gap"].tests["right"].comparison.difference.value > 0.3
    assert got["controllability_gap"].tests["right"].verdict == "right"
    assert got["hypervolume"].tests["right"].verdict == "wrong"


def test_prompts_are_paired_by_their_ids():
    one, two = front_of(0, 0.1), front_of(1)
    turned = dataclasses.replace(two, prompt_rewards=two.prompt_rewards.align(PROMPTS[::-1]))
    pairs = [compare_fronts({"one": one, "two": other}, resamples=400) for other in (two, turned)]
    differences = [found["mip"].tests["two"].comparison.difference for found in pairs]
    assert differences[0].low == pytest.approx(differences[1].low)
    part = front_of(1, prompts=PROMPTS[:30])
    got = compare_fronts({"one": one, "part": part}, resamples=400)
    assert got["mip"].tests["part"].comparison.difference.n_prompts == 30
    assert got["mip"].estimates["one"].n_prompts == 40
    assert not any("share" in note for note in got.notes)  # all prompts of the smaller one
    other = front_of(1, prompts=prompt_ids(range(15, 55)))
    assert (
        "one and other share 25 prompts of 40 and 40"
        in compare_fronts({"one": one, "other": other}, resamples=400).notes
    )


def test_degrades_to_plain_figures_and_says_why():
    one = front_of(0)
    strangers = front_of(1, prompts=prompt_ids("abcdefghijklmnopqrstuvwxyz"))
    got = compare_fronts({"one": one, "bare": bare(front_of(1)), "strangers": strangers}, resamples=400)
    assert set(got["eum"].estimates) == {"one", "strangers"}
    assert all(not figure.tests for figure in got.figures)
    assert "no intervals for bare: its rewards on each prompt were not kept; measure it again" in got.notes
    assert "no test of one against strangers: measure both on the same prompts" in got.notes
    few = compare_fronts({"few": front_of(0, prompts=PROMPTS[:5]), "old": front_of(1)}, resamples=400)
    assert any(note.startswith("no intervals for few: at least 10 prompts are needed") for note in few.notes)
    assert any(note.startswith("no test of few against old: at least 10 prompts") for note in few.notes)
    assert set(few["eum"].estimates) == {"old"}
    quick = compare_fronts({"one": one, "two": front_of(1)}, intervals=False)
    assert all(not figure.estimates and not figure.tests for figure in quick.figures)
    assert quick.notes == ()


def test_fronts_steered_to_other_weights():
    one = plain((0, 4), (2, 2), (4, 0))
    two = plain((0, 4), (2, 2), (9, 9), weights=[(0.0, 1.0), (0.1 + 0.2, 0.7), (1.0, 0.0)])
    got = compare_fronts({"one": one, "two": two}, intervals=False)
    # EUM over the four weights of both; MIP where both were asked, (0, 1) and (1, 0).
    assert got["eum"].values["one"] == pytest.approx((4 + 2 + 4 + max(0.7 * 4, 2, 0.3 * 4)) / 4)
    assert got["mip"].values == pytest.approx({"one": 4, "two": (4 + 9) / 2})
    assert got.notes == ("MIP and EUM - MIP are over the 2 of 4 weights that all fronts share",)
    apart = plain((0, 4), (2, 2), (9, 9), weights=[(0.1, 0.9), (0.3, 0.7), (0.9, 0.1)])
    got = compare_fronts({"one": one, "apart": apart}, intervals=False)
    assert [figure.name for figure in got.figures][:2] == ["hypervolume", "eum"]
    assert "the fronts were steered to no common weights: their MIP would not compare" in got.notes


def test_unsteered_fronts_have_a_hypervolume_only():
    one = ParetoFront(NAMES, (FrontPoint((1, 2), (0, 0), 8),))
    got = compare_fronts({"one": one})
    assert [figure.name for figure in got.figures] == ["hypervolume"]
    assert got.notes[0] == "no point has weights in its preference: there is no EUM and no MIP"
    mixed = compare_fronts({"one": one, "two": plain((0, 4), (2, 2), (4, 0))}, intervals=False)
    assert math.isnan(mixed["steering.helpful"].values["one"])
    assert "steering helpful" in mixed.table()
    assert mixed.to_json()["figures"]["steering.helpful"]["values"]["one"] is None


def test_rewards_that_are_not_known_are_left_out():
    front = front_of(0, 0.1)
    values = front.prompt_rewards.rewards.copy()
    values[1, :7, 0] = math.nan
    holes = ParetoFront.of_prompt_rewards(dataclasses.replace(front.prompt_rewards, rewards=values), WEIGHTS)
    got = compare_fronts({"holes": holes, "old": front_of(1)}, resamples=400)
    assert got["mip"].tests["old"].comparison.difference.n_prompts == 40
    assert got["mip"].estimates["holes"].low < got["mip"].estimates["holes"].high


def test_equally_good_fronts_are_not_told_apart_by_what_one_does_not_know():
    """The reward of B can't judge hard prompts: over all of them A would look worse, though it is as good on each."""
    decided = 0
    for seed in range(10):
        generator = np.random.default_rng(seed)
        ease = 2 * generator.normal(size=40)
        base = MEANS[:, None] + np.stack([ease, 0 * ease], axis=1)
        a, b = (base + 0.3 * generator.normal(size=base.shape) for _ in range(2))
        b[:, ease < -1, 0] = math.nan
        one, two = (ParetoFront.of_prompt_rewards(PromptRewards(NAMES, r, PROMPTS), WEIGHTS) for r in (a, b))
        got = compare_fronts({"one": one, "two": two}, resamples=200)
        decided += got["mip"].tests["two"].verdict != "not decided"
        left_out = (ease < -1).sum()
        assert f"{left_out} of the 40 prompts are left out of the test of one against two, wholly" in got.table()
    assert decided <= 2


def test_estimates_carry_the_normaliser():
    scale = {"scale": [1.0, 2.0]}
    got = compare_fronts({"a": front_of(0, normalizer=scale), "b": front_of(1, normalizer=scale)}, resamples=400)
    for name in ("hypervolume", "eum", "mip", "controllability_gap"):
        assert got[name].estimates["a"].normalizer == got[name].estimates["b"].normalizer == scale
        assert got[name].tests["b"].comparison.difference.normalizer == scale


def test_a_hypervolume_that_takes_long_has_no_interval_and_a_note():
    names = tuple("abcdef")

    def front(seed, points):
        values = np.random.default_rng(seed).normal(size=(points, 12, 6))
        samples = PromptRewards(names, values, prompt_ids(range(12)))
        return ParetoFront.of_prompt_rewards(samples, np.random.default_rng(0).dirichlet(np.ones(6), points))

    got = compare_fronts({"large": front(0, 57), "small": front(1, 8)}, resamples=200)
    assert set(got["hypervolume"].estimates) == {"small"}
    assert not got["hypervolume"].tests
    assert got["hypervolume"].values["large"] > 0
    assert set(got["eum"].estimates) == {"large", "small"}
    assert set(got["eum"].tests) == {"small"}
    note = (
        "no interval and no test for the hypervolume of large: in 6 objectives at most 56 points are redrawn, found 57"
    )
    assert got.notes.count(note) == 1


def test_large_fronts_are_redrawn_less_often():
    small, large = (
        plain(*rows, weights=[(i, 1 - i) for i in range(len(rows))]) for rows in ([(1, 2)] * 100, [(1, 2)] * 101)
    )
    assert usual_resamples({"a": small}) == 2000
    assert usual_resamples({"a": small, "b": large}) == 500
    assert usual_resamples({"b": large}, level=0.99) == 2000
    got = compare_fronts({"new": front_of(0)})
    assert got["mip"].estimates["new"].method.endswith("2000 resamples")


def test_table(found):
    text = found.table()
    lines = text.splitlines()
    place = ", ".join(f"{n} {v:.3f}" for n, v in zip(NAMES, found.reference_point, strict=True))
    assert lines[0] == f"Hypervolume above {place}. Rewards are in their own units."
    assert "95 % intervals over prompts" in lines[1]
    assert lines[3].split() == ["new", "old", "new", "-", "old", "p"]
    row = next(line for line in lines if line.startswith("EUM "))
    estimate = found["eum"].estimates["new"]
    assert f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]" in row
    assert f"{found['eum'].tests['old'].comparison.p_value:.2g}" in row
    assert any(line.startswith("hypervolume: new is better (p = ") for line in lines)


def test_three_fronts_are_tested_against_the_first():
    got = compare_fronts({"a": front_of(0, 0.1), "b": front_of(1), "c": front_of(2)}, resamples=400)
    assert set(got["mip"].tests) == {"b", "c"}
    assert got.table().splitlines()[3].split() == ["a", "b", "c", "a", "-", "b", "a", "-", "c", "p", "(b)", "p", "(c)"]


def test_json(found):
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["fronts"] == ["new", "old"]
    assert document["reference_point"] == list(found.reference_point)
    volume = document["figures"]["hypervolume"]
    assert volume["values"]["new"] == found["hypervolume"].values["new"]
    assert volume["estimates"]["new"]["low"] == found["hypervolume"].estimates["new"].low
    assert volume["tests"]["old"]["verdict"] == "new"
    assert volume["tests"]["old"]["more_prompts"] == 0
    assert "level" in volume["tests"]["old"]["difference"]


def test_the_same_front_twice_needs_endless_prompts():
    got = compare_fronts({"a": front_of(0), "b": front_of(0)}, resamples=400)
    test = got["mip"].tests["b"]
    assert (test.verdict, test.comparison.p_value) == ("not decided", 1)
    assert got.to_json()["figures"]["mip"]["tests"]["b"]["more_prompts"] is None
    assert "no number of prompts would show a difference of 0" in got.table()


def test_refuses():
    one, other = front_of(0), front_of(1)
    with pytest.raises(InputError, match="the normalisers of new and old differ: one has none, its rewards are raw"):
        compare_fronts({"new": one, "old": dataclasses.replace(other, normalizer={"scale": 1})})
    with pytest.raises(InputError, match="same objectives in the same order"):
        compare_fronts({"new": one, "old": ParetoFront(NAMES[::-1], bare(other).points)})
    with pytest.raises(InputError, match=r"new negated nothing, old \['brief'\]"):
        compare_fronts({"new": one, "old": dataclasses.replace(other, info={"minimized": ["brief"]})})
    with pytest.raises(InputError, match="there is no front"):
        compare_fronts({})
    for labels in (("x", "x"), ("x",), "ab"):
        with pytest.raises(InputError, match="labels must be two names that differ"):
            one.compare(other, labels=labels)
    with pytest.raises(InputError, match="reference point"):
        compare_fronts({"new": one}, reference_point=(0, 0, 0))
    for settings in ({"level": 1.0}, {"power": 0.2}, {"resamples": 5}):
        with pytest.raises(InputError, match=next(iter(settings))):
            compare_fronts({"new": one, "old": other}, **settings)
    with pytest.raises(InputError, match="unknown figure 'hypervolum': did you mean 'hypervolume'"):
        compare_fronts({"new": one}, intervals=False)["hypervolum"]
