import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier import FrontPoint, InputError, ParetoFront
from frontier.merge import check_comparable, merge
from frontier.prompt_rewards import PromptRewards

NAMES = ("helpful", "brief")
PROMPTS = ("p", "q", "r", "s")


def front_of(seed, prompts=PROMPTS, points=3, **options):
    values = np.random.default_rng(seed).normal(size=(points + 1, len(prompts), 2))
    samples = PromptRewards(NAMES, values[1:], prompts, values[0])
    weights = np.linspace(0, 1, points)
    return ParetoFront.of_prompt_rewards(samples, np.stack([weights, 1 - weights], axis=1), **options)


@pytest.fixture
def pair():
    return front_of(0, sources="clp", info={"seed": 0, "dataset": "x"}), front_of(1, info={"seed": 1, "dataset": "x"})


def bare(front):
    return dataclasses.replace(front, prompt_rewards=None)


# ---- merge


def test_points_stand_in_order_with_their_samples(pair):
    whole = pair[0].merge(pair[1])
    assert whole.points == pair[0].points + pair[1].points
    assert whole.reference_policy == pair[0].reference_policy
    stacked = np.concatenate([front.prompt_rewards.rewards for front in pair])
    assert whole.prompt_rewards.rewards.tolist() == stacked.tolist()
    assert whole.prompt_rewards.reference.tolist() == pair[0].prompt_rewards.reference.tolist()
    assert whole.info["dataset"] == "x"
    assert "seed" not in whole.info
    assert [part["info"]["seed"] for part in whole.info["merged"]] == [0, 1]
    assert whole.info["notes"] == ["the reference policies differ; that of front 0 was kept"]


def test_labels_go_before_the_source(pair):
    whole = merge({"run a": pair[0], "run b": pair[1]})
    assert [p.source for p in whole.points] == ["run a: clp"] * 3 + ["run b"] * 3
    assert [part["label"] for part in whole.info["merged"]] == ["run a", "run b"]
    assert pair[0].merge(pair[1], labels=["a", "b"]).points[-1].source == "b"


def test_prompts_in_another_order_are_lined_up(pair):
    turned = dataclasses.replace(pair[1], prompt_rewards=pair[1].prompt_rewards.align(PROMPTS[::-1]))
    whole = pair[0].merge(turned)
    assert whole.prompt_rewards == pair[0].merge(pair[1]).prompt_rewards
    assert whole.prompt_rewards.prompts == PROMPTS


@pytest.mark.parametrize(
    ("other", "note"),
    [
        (front_of(1, ("p", "q", "x")), "per-prompt rewards dropped: front 0 and front 1 share 2 of 4 prompts"),
        (bare(front_of(2)), "per-prompt rewards dropped: front 1 has none"),
    ],
)
def test_samples_are_dropped_with_a_note(pair, other, note):
    for fronts in ([pair[0], other], [pair[0], pair[1], dataclasses.replace(other, reference_policy=None)]):
        whole = merge(fronts)
        assert whole.prompt_rewards is None
        assert len(whole.points) == 3 * len(fronts)
    assert note in merge([pair[0], other]).info["notes"]


def test_no_note_where_nothing_was_lost(pair):
    assert "notes" not in bare(pair[0]).merge(bare(pair[0])).info


def test_duplicates_are_kept_once_with_their_samples(pair):
    again = merge([pair[0], pair[1], pair[0]])
    assert again.points == pair[0].merge(pair[1]).points
    assert again.prompt_rewards == pair[0].merge(pair[1]).prompt_rewards
    # a label does not make another measurement of it, an unknown error neither; another preference does
    assert len(merge({"a": pair[0], "b": pair[0]}).points) == 3
    unknown = FrontPoint((1, 2), (math.nan, 0.5), 8)
    other = dataclasses.replace(unknown, preference={"weights": {"brief": 1.0}})
    assert len(ParetoFront(NAMES, (unknown,)).merge(ParetoFront(NAMES, (unknown, other))).points) == 2
    swapped = [
        {"weights": dict(pairs)} for pairs in ([("helpful", 0.5), ("brief", 0.5)], [("brief", 0.5), ("helpful", 0.5)])
    ]
    fronts = [ParetoFront(NAMES, (dataclasses.replace(unknown, preference=p),)) for p in swapped]
    assert len(merge(fronts).points) == 1


def test_two_policies_of_equal_means_are_kept():
    """Of rewards 0 or 1 equal means have equal standard errors too; another policy right on other prompts is no copy."""

    def front(right, **options):
        rewards = [[[float(r), 1.0 - r] for r in right]]
        return ParetoFront.of_prompt_rewards(PromptRewards(NAMES, rewards, PROMPTS), [{"helpful": 1}], **options)

    one, other = front([1, 1, 0, 0]), front([0, 0, 1, 1])
    assert one.points == other.points
    assert len(one.merge(other).points) == 2
    assert one.merge(other).prompt_rewards.rewards[1, :, 0].tolist() == [0, 0, 1, 1]
    turned = dataclasses.replace(one, prompt_rewards=one.prompt_rewards.align(PROMPTS[::-1]))
    assert len(one.merge(turned).points) == 1
    for options in ({"kl": [0.1]}, {"extras": [{"sample": "Sure."}]}):
        changed = front([1, 1, 0, 0], **options)
        assert len(one.merge(changed).points) == 2
        assert len(bare(one).merge(bare(changed)).points) == 2


def test_what_one_front_holds_twice_stays_twice():
    point = FrontPoint((1, 2), (math.nan, 0.5), 8)
    twice = ParetoFront(NAMES, (point, point))
    assert len(merge([twice]).points) == 2
    assert len(merge([ParetoFront(NAMES, (point,)), twice]).points) == 1


def test_signs_that_are_recorded_as_none_or_as_one_name(pair):
    none, one = (
        dataclasses.replace(front, info={"minimized": m}) for front, m in zip(pair, (None, "brief"), strict=True)
    )
    assert len(merge([none, pair[1]]).points) == 6
    with pytest.raises(InputError, match=r"front 0 negated nothing, front 1 \['brief'\]"):
        merge([none, one])


def test_the_first_reference_policy_there_is_with_its_own_samples(pair):
    first = dataclasses.replace(pair[0], reference_policy=None)
    first = dataclasses.replace(first, prompt_rewards=dataclasses.replace(first.prompt_rewards, reference=None))
    whole = first.merge(pair[1])
    assert whole.reference_policy == pair[1].reference_policy
    assert whole.prompt_rewards.reference.tolist() == pair[1].prompt_rewards.reference.tolist()


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(4)), st.integers(1, 3))
def test_merging_what_was_taken_apart_gives_the_front_back(order, cut):
    front = front_of(3, points=4)
    parts = [front.take(order[:cut]), front.take(order[cut:])]
    whole = merge(parts).take([order.index(i) for i in range(4)])
    assert whole.points == front.points
    assert whole.prompt_rewards == front.prompt_rewards


def test_a_merged_front_can_be_saved(pair, tmp_path):
    whole = merge({"a": pair[0], "b": pair[1]})
    assert ParetoFront.load(whole.save(tmp_path / "front.json")) == whole


def test_refuses_other_units(pair):
    one, other = pair
    swapped = ParetoFront(NAMES[::-1], bare(other).points)
    scaled, rescaled = (dataclasses.replace(other, normalizer={"n": 8, "scale": [s, 1.0]}) for s in (1.0, 2.0))
    costs = dataclasses.replace(other, info={"minimized": ["brief"]})
    for fronts, message in [
        ([one, swapped], r"same objectives in the same order: found helpful, brief \(front 0\) and brief, helpful \(front 1\)"),
        ([one, scaled], "normalisers of front 0 and front 1 differ: one has none, its rewards are raw"),
        ([scaled, rescaled], r"scale is \[1\.0, 1\.0\] and \[2\.0, 1\.0\]"),
        ([one, costs], r"front 0 negated nothing, front 1 \['brief'\]"),
        ([], "there is no front"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            merge(fronts)
    with pytest.raises(InputError, match="normalisers of A and B differ"):
        check_comparable([one, scaled], ["A", "B"])
    with pytest.raises(InputError, match="one name per front: found 1 for 2"):
        one.merge(other, labels=["a"])
    assert len(merge([scaled, scaled]).points) == 3
    assert merge([costs, dataclasses.replace(one, info=costs.info)]).info["minimized"] == ["brief"]


# ---- take


def test_take_keeps_everything_else(pair):
    front = pair[0]
    part = front.take(np.array([2, 0]))
    assert part.points == (front.points[2], front.points[0])
    assert part.prompt_rewards == front.prompt_rewards.take([2, 0])
    assert (part.reference_policy, part.info) == (front.reference_policy, front.info)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "at least one index"),
        ([0, 0], "each once"),
        ([3], r"there is no point 3: the points are 0\.\.2"),
        ([-1], "there is no point -1"),
        ([True, False, False], "found True; for conditions there is ParetoFront.filter"),
        ([0.5], r"found 0\.5"),
    ],
)
def test_take_refuses(pair, indices, message):
    with pytest.raises(InputError, match=message):
        pair[0].take(indices)


# ---- filter


@pytest.fixture
def three():
    rows = [(0.0, (0.1, 1.0), "clp"), (0.5, (0.8, 0.7), "soup"), (1.0, (1.0, 0.0), "clp")]
    return ParetoFront(
        NAMES,
        tuple(FrontPoint(r, (0, 0), 8, {"weights": {"helpful": w, "brief": 1 - w}}, source=s) for w, r, s in rows),
    )


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        ({}, [0, 1, 2]),
        ({"minimum": {"helpful": 0.8}}, [1, 2]),
        ({"maximum": {"helpful": 0.8}}, [0, 1]),
        ({"minimum": {"helpful": 0.8}, "maximum": {"brief": 0.0}}, [2]),
        ({"source": "clp"}, [0, 2]),
        ({"source": ["clp", "soup"], "predicate": lambda p: p.rewards[1] > 0}, [0, 1]),
    ],
)
def test_filter(three, conditions, left):
    assert three.filter(**conditions).points == tuple(three.points[i] for i in left)


def test_filter_takes_the_samples_along(pair):
    front = pair[0]
    best = int(front.rewards[:, 0].argmax())
    assert front.filter(lambda p: p == front.points[best]).prompt_rewards == front.prompt_rewards.take([best])


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"minimum": {"helpfull": 1}}, "did you mean 'helpful'"),
        ({"maximum": {"brief": math.nan}}, "bound of brief must be a finite number"),
        ({"source": "clip"}, "unknown source 'clip': did you mean 'clp'"),
        ({"minimum": {"helpful": 5}}, "no point of the front is left: none of the 3"),
    ],
)
def test_filter_refuses(three, conditions, message):
    with pytest.raises(InputError, match=message):
        three.filter(**conditions)
