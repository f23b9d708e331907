import json
import math

import numpy as np
import pytest

from frontier.errors import InputError
from moalign.demo.annotators import ANNOTATORS, REWARD_SCALE, Annotator, annotate, attainable_accuracy, label_agreement
from moalign.demo.true_reward import OBJECTIVES, TrueReward
from moalign.demo.world import draw_reply_pairs, split_prompts

PROMPT = "Customer: Hi, this is Anna. My blue lamp arrived broken on Monday. What can I do?\nReply:"
PERFECT = Annotator("perfect", sensitivity=(1e4, 1e4, 1e4), lapse=0.0, tie_width=0.0)


@pytest.fixture(scope="module")
def pairs():
    prompts, _ = split_prompts(400, 0, seed=3)
    return draw_reply_pairs(prompts, 3000, seed=3)


@pytest.fixture(scope="module")
def records(pairs):
    return annotate(*pairs, np.random.default_rng(0))


@pytest.fixture(scope="module")
def true_differences(pairs):
    prompts, a, b = pairs
    return (TrueReward().score(prompts, a) - TrueReward().score(prompts, b)).numpy()


def test_probability_by_hand():
    annotator = Annotator("x", sensitivity=(2.0, 1.0, 1.0), halo=(0.0, 0.5, 0.0), position=0.1, lapse=0.2)
    # logit = 2 * 0.5 + 0.5 * (-1) + 0.1 = 0.6; sigmoid(0.6) = 0.645656; 0.1 + 0.8 * 0.645656
    assert annotator.probability("helpful", (0.5, -1.0, 0.0)) == pytest.approx(0.6165250, abs=1e-6)


def test_probability_is_symmetric_without_a_leaning_and_bounded_by_the_lapses():
    annotator = Annotator("x", sensitivity=(2.0, 2.0, 2.0), halo=(0.1, 0.2, 0.3), lapse=0.1)
    difference = (0.3, -0.7, 1.1)
    mirrored = tuple(-d for d in difference)
    for objective in OBJECTIVES:
        assert annotator.probability(objective, difference) + annotator.probability(
            objective, mirrored
        ) == pytest.approx(1)
    assert annotator.probability("helpful", (1e5, 0, 0)) == pytest.approx(0.95)
    assert annotator.probability("helpful", (-1e5, 0, 0)) == pytest.approx(0.05)


def test_records_have_the_pairs_format(records):
    assert len(records) == 3000
    for record in records[:200]:
        assert set(record) == {"prompt", "completion_a", "completion_b", "labels", "user"}
        assert tuple(record["labels"]) == OBJECTIVES
        assert set(record["labels"].values()) <= {"a", "b", "tie", None}
        assert any(label is not None for label in record["labels"].values())
        assert json.loads(json.dumps(record)) == record
    assert {record["user"] for record in records} == {annotator.name for annotator in ANNOTATORS}


def test_share_of_missing_labels_and_ties(records):
    labels = [label for record in records for label in record["labels"].values()]
    assert 0.20 <= labels.count(None) / len(labels) <= 0.30
    for k, objective in enumerate(OBJECTIVES):
        found = [record["labels"][objective] for record in records if record["labels"][objective]]
        assert 0.02 <= found.count("tie") / len(found) <= 0.35, objective
        assert abs(found.count("a") - found.count("b")) / len(found) < 0.10, k


def test_ties_exactly_where_the_difference_is_small(records, true_differences):
    width = {annotator.name: annotator.tie_width for annotator in ANNOTATORS}
    for record, row in zip(records, true_differences, strict=True):
        for k, objective in enumerate(OBJECTIVES):
            if record["labels"][objective] is not None:
                small = abs(row[k]) / REWARD_SCALE[k] <= width[record["user"]]
                assert (record["labels"][objective] == "tie") == small


def test_same_seed_same_labels(pairs, records):
    assert annotate(*pairs, np.random.default_rng(0)) == records
    assert annotate(*pairs, np.random.default_rng(1)) != records


def test_annotators_disagree(pairs):
    by_person = [
        annotate(*pairs, np.random.default_rng(i), annotators=[person], missing=0.0)
        for i, person in enumerate(ANNOTATORS)
    ]
    for objective in OBJECTIVES:
        labels = [[record["labels"][objective] for record in found] for found in by_person]
        for i in range(len(labels)):
            for j in range(i):
                differ = np.mean([x != y for x, y in zip(labels[i], labels[j], strict=True)])
                assert 0.02 < differ < 0.5, (objective, i, j)


def test_the_scale_is_the_worlds(pairs):
    prompts, a, _ = pairs
    assert np.allclose(TrueReward().score(prompts, a).std(0).numpy(), REWARD_SCALE, rtol=0.1)


def test_attainable_accuracy_is_what_the_truth_reaches(records, true_differences):
    attainable, reached = attainable_accuracy(records), label_agreement(records, true_differences)
    for objective in OBJECTIVES:
        assert 0.65 < attainable[objective] < 0.97
        # About 2200 labels each: four standard errors.
        assert reached[objective] == pytest.approx(attainable[objective], abs=0.035)
        assert label_agreement(records, -true_differences)[objective] == pytest.approx(1 - reached[objective])


def test_without_noise_only_the_ties_cost(pairs, true_differences):
    records = annotate(*pairs, np.random.default_rng(0), annotators=[PERFECT], missing=0.0)
    attainable = attainable_accuracy(records, annotators=[PERFECT])
    for k, objective in enumerate(OBJECTIVES):
        assert attainable[objective] == pytest.approx(1 - 0.5 * np.mean(true_differences[:, k] == 0), abs=1e-9)
        assert label_agreement(records, true_differences)[objective] == pytest.approx(attainable[objective], abs=1e-9)


def test_agreement_by_hand():
    labels = [{"helpful": "a"}, {"helpful": "b"}, {"helpful": "tie"}, {"helpful": None}, {"helpful": "a"}]
    differences = np.array([[1.0, 0, 0], [1.0, 0, 0], [-5.0, 0, 0], [2.0, 0, 0], [0.0, 0, 0]])
    agreement = label_agreement([{"labels": row} for row in labels], differences)
    assert agreement["helpful"] == pytest.approx((1 + 0 + 0.5 + 0.5) / 4)
    assert math.isnan(agreement["warm"])


def test_refusals(records):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="not a prompt of the demo world"):
        annotate(["Hello"], [" Noted."], [" All right."], rng)
    with pytest.raises(InputError, match="one prompt per completion"):
        annotate([PROMPT], [" Noted.", " Noted."], [" All right."], rng)
    with pytest.raises(InputError, match=r"missing must be a probability, found 1\.5"):
        annotate([PROMPT], [" Noted."], [" All right."], rng, missing=1.5)
    with pytest.raises(InputError, match="did you mean 'annotator-1'"):
        attainable_accuracy([{**records[0], "user": "annotator1"}])
    with pytest.raises(InputError, match="did you mean 'helpful'"):
        PERFECT.probability("helpfull", (0, 0, 0))
    with pytest.raises(InputError, match="differences must be"):
        label_agreement(records[:2], np.zeros((2, 2)))
