"""Simulated annotators who compare two replies: each sees the truth through noise of their own, is swayed by what should not count, and slips.

They make the demo's preference data as real data is: several people, one objective labelled by one of them, a quarter of the labels missing,
ties, and no labeller right all the time. Since the world knows how they err, it also knows how often a perfect judge would agree with their
labels (`attainable_accuracy`), which is the most that any reward model can be asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frontier.errors import InputError, unknown_name
from moalign.demo.true_reward import OBJECTIVES, TrueReward

# Standard deviations of the true rewards over the world's replies: differences are perceived in these units.
REWARD_SCALE = (0.33, 0.31, 0.71)
# Before one label of each pair is put back: about a quarter end up missing.
MISSING = 0.37


@dataclass(frozen=True)
class Annotator:
    r"""One person who labels pairs, an objective at a time.

    With $\Delta$ the difference of the true rewards a - b in units of `REWARD_SCALE`, the label of objective k is `tie` where
    $|\Delta_k|$ < `tie_width`, otherwise a with probability

    $$ P(a \succ b) = \tfrac{1}{2}\,\text{lapse} + (1 - \text{lapse})\; \sigma\big(\text{sensitivity}_k\, \Delta_k + \text{halo} \cdot \Delta +
    \text{position}\big) $$

    Args:
        name (`str`): stands in the field `user` of a record.
        sensitivity (`tuple[float, float, float]`): how clearly this person sees each objective.
        halo (`tuple[float, float, float]`): how much each objective sways every judgement of this person, whatever was asked.
        position (`float`): a leaning towards the reply shown first, a.
        lapse (`float`): chance that the label is a coin toss.
        tie_width (`float`): smaller differences look equal; zero differences always do.
    """

    name: str
    sensitivity: tuple[float, float, float]
    halo: tuple[float, float, float] = (0.0, 0.0, 0.0)
    position: float = 0.0
    lapse: float = 0.02
    tie_width: float = 0.15

    def probability(self, objective: str, difference: Sequence[float]) -> float:
        """P(a preferred), given that it is no tie.

        Args:
            objective (`str`): what is asked.
            difference (`Sequence[float]`): true rewards of a minus b, divided by `REWARD_SCALE`, one per objective.
        """
        k = _index(objective)
        swayed = sum(h * d for h, d in zip(self.halo, difference, strict=True))
        logit = self.sensitivity[k] * difference[k] + swayed + self.position
        # tanh, because exp overflows for the longest gibberish.
        return 0.5 * self.lapse + (1 - self.lapse) * 0.5 * (1 + math.tanh(logit / 2))

    def sees_tie(self, objective: str, difference: Sequence[float]) -> bool:
        """Whether this person finds the two replies equal."""
        return abs(difference[_index(objective)]) <= self.tie_width


ANNOTATORS = (
    Annotator("annotator-1", sensitivity=(4.5, 4.5, 4.5), lapse=0.02, tie_width=0.10),
    # Looks for facts, and takes a long reply for a good one.
    Annotator("annotator-2", sensitivity=(5.0, 2.5, 3.0), halo=(0.0, 0.0, -0.3), lapse=0.05, tie_width=0.15),
    # Charmed by warmth, whatever the question was.
    Annotator("annotator-3", sensitivity=(2.5, 5.0, 3.0), halo=(0.0, 0.4, 0.0), lapse=0.05, tie_width=0.15),
    # In a hurry: often picks the first, and slips.
    Annotator("annotator-4", sensitivity=(3.0, 3.0, 4.5), position=0.3, lapse=0.12, tie_width=0.25),
)


def annotate(
    prompts: Sequence[str],
    a: Sequence[str],
    b: Sequence[str],
    rng: np.random.Generator,
    *,
    annotators: Sequence[Annotator] = ANNOTATORS,
    missing: float = MISSING,
) -> list[dict[str, Any]]:
    """Have pairs of replies labelled, each pair by one annotator drawn at random.

    Args:
        prompts (`Sequence[str]`): N prompts of the world.
        a (`Sequence[str]`): N first replies.
        b (`Sequence[str]`): N second replies.
        rng (`np.random.Generator`): decides who labels, which labels are missing, and every judgement.
        annotators (`Sequence[Annotator]`, *optional*): the people.
        missing (`float`, *optional*, defaults to 0.37): the chance that a label is left out. One objective of each pair, drawn at random, always
            keeps its label, so that two thirds of this share end up missing.

    Returns:
        `list[dict]`: records of the pairs format, `{"prompt", "completion_a", "completion_b", "labels": {objective: "a" | "b" | "tie" | None},
        "user"}`.

    Raises:
        InputError: the three lists differ in length, a prompt is not of the world, or `missing` is not in [0, 1].
    """
    if not 0 <= missing <= 1:
        raise InputError(f"missing must be a probability, found {missing}")
    differences = _differences(prompts, a, b)
    records = []
    for prompt, first, second, difference in zip(prompts, a, b, differences, strict=True):
        annotator = annotators[int(rng.integers(len(annotators)))]
        kept = OBJECTIVES[int(rng.integers(len(OBJECTIVES)))]
        labels: dict[str, str | None] = {}
        for objective in OBJECTIVES:
            # Both draws are always made, so that the labels of one objective do not depend on another's being missing.
            left_out, judgement = rng.random(2)
            if left_out < missing and objective != kept:
                labels[objective] = None
            elif annotator.sees_tie(objective, difference):
                labels[objective] = "tie"
            else:
                labels[objective] = "a" if judgement < annotator.probability(objective, difference) else "b"
        records.append(
            {
                "prompt": prompt,
                "completion_a": first,
                "completion_b": second,
                "labels": labels,
                "user": annotator.name,
            }
        )
    return records


def attainable_accuracy(
    records: Sequence[Mapping[str, Any]], *, annotators: Sequence[Annotator] = ANNOTATORS
) -> dict[str, float]:
    """How often the true order, free of noise, is expected to agree with these labels: what `label_agreement` gives a perfect judge on average.

    Per objective, the mean over its labelled pairs of the probability that the pair's annotator labels it in the true order; a tie counts one half,
    as it does in `label_agreement`. NaN where an objective has no label.

    Args:
        records (`Sequence[Mapping]`): what `annotate` gave.
        annotators (`Sequence[Annotator]`, *optional*): the people who labelled.

    Raises:
        InputError: a record's `user` is none of the annotators.
    """
    by_name = {annotator.name: annotator for annotator in annotators}
    differences = _differences(*([record[key] for record in records] for key in _TEXT_FIELDS))
    chances: dict[str, list[float]] = {objective: [] for objective in OBJECTIVES}
    for record, difference in zip(records, differences, strict=True):
        annotator = by_name.get(record["user"])
        if annotator is None:
            raise unknown_name("annotator", str(record["user"]), by_name)
        for k, objective in enumerate(OBJECTIVES):
            label = record["labels"].get(objective)
            if label is None:
                continue
            prefers_a = annotator.probability(objective, difference)
            chance = prefers_a if difference[k] > 0 else 1 - prefers_a
            chances[objective].append(0.5 if label == "tie" or difference[k] == 0 else chance)
    return {objective: float(np.mean(found)) if found else math.nan for objective, found in chances.items()}


def label_agreement(records: Sequence[Mapping[str, Any]], differences: Any) -> dict[str, float]:
    """How often predicted differences agree with the labels: the accuracy to hold against `attainable_accuracy`.

    Args:
        records (`Sequence[Mapping]`): N records of the pairs format with labels `a`, `b`, `tie` or missing.
        differences (array-like): `[N, 3]` predicted rewards of a minus b, in the order of `true_reward.OBJECTIVES`; only signs matter.

    Returns:
        `dict[str, float]`: per objective over its labelled pairs; a tie, or a predicted difference of 0, counts one half. NaN without labels.

    Raises:
        InputError: `differences` is not `[N, 3]`.
    """
    predicted = np.asarray(differences, dtype=float)
    if predicted.shape != (len(records), len(OBJECTIVES)):
        raise InputError(f"differences must be {(len(records), len(OBJECTIVES))}, found {predicted.shape}")
    sign_of = {"a": 1.0, "b": -1.0, "tie": 0.0}
    agreement = {}
    for k, objective in enumerate(OBJECTIVES):
        labels = [record["labels"].get(objective) for record in records]
        found = [
            0.5 * (1 + sign_of[label] * np.sign(row[k]))
            for label, row in zip(labels, predicted, strict=True)
            if label is not None
        ]
        agreement[objective] = float(np.mean(found)) if found else math.nan
    return agreement


_TEXT_FIELDS = ("prompt", "completion_a", "completion_b")


def _differences(prompts: Sequence[str], a: Sequence[str], b: Sequence[str]) -> list[list[float]]:
    """True rewards of a minus b in units of `REWARD_SCALE`, `[N][3]`."""
    truth = TrueReward()
    scaled = ((truth.score(prompts, a) - truth.score(prompts, b)).double().numpy() / REWARD_SCALE).tolist()
    for prompt, row in zip(prompts, scaled, strict=True):
        if any(math.isnan(value) for value in row):
            raise InputError(f"the annotators cannot judge {prompt!r}: it is not a prompt of the demo world")
    return scaled


def _index(objective: str) -> int:
    if objective not in OBJECTIVES:
        raise unknown_name("objective", objective, OBJECTIVES)
    return OBJECTIVES.index(objective)
