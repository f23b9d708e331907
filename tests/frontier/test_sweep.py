import doctest
import math
import warnings

import numpy as np
import pytest

import frontier.sweep
from frontier import InputError, ParetoFront
from frontier.prompt_rewards import PromptRewards, prompt_ids

NAMES = ("helpful", "brief")
NAN = math.nan


class Asked:
    """Anything that can say itself as JSON, as moalign's Preference does."""

    def to_json(self):
        return {"weights": {"helpful": 0.25, "brief": 0.75}}


def test_examples_run():
    assert doctest.testmod(frontier.sweep).attempted > 0
    assert doctest.testmod(frontier.sweep).failed == 0


def test_of_prompt_rewards_by_hand():
    samples = PromptRewards(
        NAMES, [[[1, 4], [3, NAN], [NAN, NAN]], [[0, 1], [0, 2], [0, 3]]], ["x", "y", "z"], np.eye(3, 2)
    )
    front = ParetoFront.of_prompt_rewards(
        samples,
        [{"helpful": 1}, None],
        kl=[0.5, None],
        sources=["clp", "soup"],
        extras=[{"sample": "Sure."}, None],
        normalizer={"scale": 2},
        info={"seed": 1},
    )
    first, second = front.points
    assert (first.rewards, second.rewards) == ((2, 4), (0, 2))
    assert first.standard_error[0] == 1  # deviations -1 and 1: variance 2, over 2 known prompts
    assert math.isnan(first.standard_error[1])
    assert (first.n_prompts, second.n_prompts) == (2, 3)
    assert (first.preference, second.preference) == ({"weights": {"helpful": 1}}, None)
    assert (first.kl, first.source, first.extra) == (0.5, "clp", {"sample": "Sure."})
    assert front.reference_policy.rewards == pytest.approx((1 / 3, 1 / 3))
    assert front.reference_policy.source == "reference"
    assert (front.normalizer, front.info) == ({"scale": 2}, {"seed": 1})
    assert front.prompt_rewards is samples


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"helpful": 0.25, "brief": 0.75}, {"weights": {"helpful": 0.25, "brief": 0.75}}),
        ({"weights": {"brief": 1.0}}, {"weights": {"brief": 1.0}}),
        ({"direction": {"brief": 1.0}}, {"direction": {"brief": 1.0}}),
        ((0.25, 0.75), {"weights": {"helpful": 0.25, "brief": 0.75}}),
        (np.array([NAN, NAN]), None),
        (Asked(), {"weights": {"helpful": 0.25, "brief": 0.75}}),
        (None, None),
    ],
)
def test_forms_of_a_preference(asked, expected):
    assert ParetoFront.of_sweep(NAMES, [(asked, (1, 2))]).points[0].preference == expected


def test_sweep_of_means():
    rows = [((0, 1), (0.1, 2)), ((1, 0), {"brief": -1, "helpful": 3})]
    front = ParetoFront.of_sweep(NAMES, rows, reference=(0, 0), n_prompts=32, source="mine", normalizer={"scale": 1})
    assert front.rewards.tolist() == [[0.1, 2], [3, -1]]
    assert front.weights.tolist() == [[0, 1], [1, 0]]
    assert np.isnan(front.standard_errors).all()
    assert {p.n_prompts for p in (*front.points, front.reference_policy)} == {32}
    assert [p.source for p in front.points] == ["mine", "mine"]
    assert front.prompt_rewards is None


def test_sweep_of_prompts_pairs_by_the_prompts():
    rewards = np.random.default_rng(0).normal(size=(2, 3, 2))
    front = ParetoFront.of_sweep(
        NAMES, zip([(0, 1), (1, 0)], rewards, strict=True), prompts=["a", "b", "c"], reference=rewards[0]
    )
    assert front.prompt_rewards.prompts == prompt_ids(["a", "b", "c"])
    assert front.prompt_rewards.rewards.tolist() == rewards.tolist()
    assert front.rewards == pytest.approx(rewards.mean(axis=1))
    assert front.reference_policy.rewards == pytest.approx(rewards[0].mean(axis=0))


def test_costs_enter_as_their_negative_and_it_is_recorded():
    rewards = [[[1, 5], [2, 0]], [[3, 7], [4, 9]]]
    rows = list(zip([(0, 1), (1, 0)], rewards, strict=True))
    front = ParetoFront.of_sweep(
        ("helpful", "latency"), rows, prompts=["a", "b"], reference=rewards[0], minimize=["latency"]
    )
    assert front.rewards.tolist() == [[1.5, -2.5], [3.5, -8]]
    assert front.prompt_rewards.reference[:, 1].tolist() == [-5, 0]
    assert math.copysign(1, front.prompt_rewards.rewards[0, 1, 1]) == 1  # no negative zero
    assert front.info["minimized"] == ["latency"]


@pytest.mark.parametrize("minimize", ["latency", iter(["latency"]), ("latency",)])
def test_costs_may_be_one_name_or_an_iterator(minimize):
    rows = [((0, 1), (1, 5)), ((1, 0), (3, 7))]
    front = ParetoFront.of_sweep(("helpful", "latency"), rows, reference=(2, 6), minimize=minimize)
    assert front.info["minimized"] == ["latency"]
    assert front.rewards[:, 1].tolist() == [-5, -7]
    assert front.reference_policy.rewards == (2, -6)


# ---- the hint


@pytest.mark.parametrize(
    ("names", "rows", "found"),
    [
        (("helpful", "latency_ms"), [((1, 0), (1, 30)), ((0, 1), (2, 20))], "latency_ms .its name is that of a cost"),
        (NAMES, [((w, 1 - w), (w, w**2)) for w in (0, 0.25, 0.5, 0.75, 1)], "brief .it falls as its weight rises"),
        (NAMES, [(None, (x, 2 * x)) for x in range(5)], "helpful .it rises and falls with the others"),
    ],
)
def test_costs_handed_in_by_mistake_get_a_hint(names, rows, found):
    with pytest.warns(UserWarning, match=rf"everything is maximised here.*{found}.*pass minimize=\('"):
        ParetoFront.of_sweep(names, rows)


@pytest.mark.parametrize(
    ("names", "rows", "minimize"),
    [
        (("helpful", "latency_ms"), [((1, 0), (1, 30)), ((0, 1), (2, 20))], ["latency_ms"]),
        (("helpful", "latency_ms"), [((1, 0), (1, -30)), ((0, 1), (2, -20))], ()),
        (("helpful", "translation"), [((1, 0), (1, 30)), ((0, 1), (2, 20))], ()),
        (NAMES, [((w, 1 - w), (w, 1 - w)) for w in (0, 0.25, 0.5, 0.75, 1)], ()),
        (NAMES, [(None, (x, 2 * x)) for x in range(3)], ()),
        (NAMES, [(None, (0, 0))] * 5, ()),
        (("helpful",), [(None, (x,)) for x in range(5)], ()),
    ],
)
def test_no_hint_without_reason(names, rows, minimize):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ParetoFront.of_sweep(names, rows, minimize=minimize)


# ---- refusals

GOOD = PromptRewards(NAMES, np.zeros((2, 3, 2)), ("a", "b", "c"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ParetoFront.of_sweep(NAMES, []), "at least one row"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), (1, 2)), 3]), "row 1 must be a pair"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), (1, 2, 3))]), r"row 0: rewards must have the shape \[2\] \(helpful, brief\)"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), ("x", 2))]), "row 0: rewards must be numbers"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), {"helpful": 1})]), "row 0: rewards must be of helpful, brief, found helpful"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), (1, NAN))]), "rewards must be finite"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), (1, 2)), ((0, 1), [(1, 2)])]), "rewards of one shape"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), [(1, 2)] * 3)]), "need `prompts`, the 3 prompts in their order; found none"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), [(1, 2)] * 3)], prompts="ab"), "found 2"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), (1, 2))], reference=[(1, 2)]), "reference must have the shape of the rows"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0, 0), (1, 2))]), "a preference must be weights by name"),
        (lambda: ParetoFront.of_sweep(NAMES, [("helpful", (1, 2))]), "a preference must be weights by name"),
        (lambda: ParetoFront.of_sweep(NAMES, [({"helpfull": 1}, (1, 2))]), "did you mean 'helpful'"),
        (lambda: ParetoFront.of_sweep(NAMES, [((1, 0), (1, 2))], minimize=["breif"]), "objective in minimize 'breif': did you mean 'brief'"),
        (lambda: ParetoFront.of_sweep(("a", "a"), [((1, 0), (1, 2))]), "named twice"),
        (lambda: ParetoFront.of_prompt_rewards(GOOD, [None]), "preferences must hold one value per point: found 1 for 2 points"),
        (lambda: ParetoFront.of_prompt_rewards(GOOD, kl=[0.1]), "kl must hold one value per point"),
        (lambda: ParetoFront.of_prompt_rewards(PromptRewards(NAMES, [[[1, NAN]]], ("a",))), "objective 'brief' is not known for any prompt of point 0"),
        (
            lambda: ParetoFront.of_prompt_rewards(PromptRewards(NAMES, [[[1, 1]]], ("a",), [[NAN, 1]])),
            "objective 'helpful' is not known for any prompt of the reference policy",
        ),
    ],
)  # fmt: skip
def test_refuses(build, message):
    with pytest.raises(InputError, match=message):
        build()
