"""What a training run is made of, read from its settings and its rows: the reward, what each head is taught, and the targets."""

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from frontier.errors import InputError, unknown_name
from reward_heads.cost import sign_aware_mask
from reward_heads.examples import Example, labelled_objectives
from reward_heads.head import Head
from reward_heads.losses.head_losses import HeadLosses
from reward_heads.model import TransformerReward
from reward_heads.normalizer import Normalizer
from reward_heads.sidecar import FILE_NAME
from reward_heads.training_config import RewardHeadsConfig
from reward_heads.truncation import check_length

MOST_LEVELS = 32
"""More distinct ratings than this are a quantity, not levels: each gap between two would be learned on its own."""


def reward_to_train(
    model: Any, args: RewardHeadsConfig, rows: Sequence[Mapping[str, Any]], tokenizer: Any
) -> TransformerReward:
    """The reward to train: given, saved, or new heads on a language model, with the lengths that `args` says.

    Of a given reward this is a copy that shares the model, so that settings or rows that are refused later leave the given one as it was; `args.pooling` is not applied yet.

    Raises:
        InputError: no model there, no objective, other objectives than `args` says, or a `max_length` beyond the model's positions.
    """
    if isinstance(model, TransformerReward):
        reward = copy.copy(model)
        reward.tokenizer = copy.deepcopy(model.tokenizer)
    elif isinstance(model, PreTrainedModel) and type(model).__name__.endswith("ForSequenceClassification"):
        if tokenizer is None:
            raise InputError("a model that is given loaded needs its tokenizer too: processing_class=...")
        reward = TransformerReward(model, tokenizer)
    elif not isinstance(model, PreTrainedModel) and (Path(model) / FILE_NAME).is_file():
        reward = TransformerReward.from_pretrained(model, dtype=torch.float32)
    else:
        objectives = args.objectives or labelled_objectives(rows, what="train_dataset")
        if not objectives:
            raise InputError("train_dataset: no row has a label, so there is no objective to train")
        reward = TransformerReward.from_base(
            model, objectives, tokenizer=tokenizer, max_length=args.max_length, seed=args.seed
        )
    if args.objectives is not None and tuple(args.objectives) != reward.objectives:
        raise InputError(
            f"objectives: the reward model has {', '.join(reward.objectives)}, found {', '.join(args.objectives)}"
        )
    if args.max_length is not None:
        check_length(reward.model, args.max_length)
        reward.max_length = args.max_length
    reward.tokenizer.truncation_side = args.truncation_side or reward.tokenizer.truncation_side
    return reward


def rating_ranges(args: RewardHeadsConfig, objectives: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The allowed ratings of the objectives that have a range.

    Raises:
        InputError: one is no objective.
    """
    return {name: (low, high) for name, (low, high) in _named(args, "rating_range", objectives).items()}


def heads_to_train(
    args: RewardHeadsConfig, examples: Sequence[Example], objectives: Sequence[str], before: Sequence[Head]
) -> tuple[Head, ...]:
    """What each head is taught, with starting values: ties and levels as often as they occur, or as `before` has them.

    An objective whose pairs have no tie keeps Bradley-Terry, which its ties would teach (θ = 1, ν = 0), unless `tie_parameter` is given.

    Args:
        args (`RewardHeadsConfig`): the settings.
        examples (`Sequence[Example]`): of training.
        objectives (`Sequence[str]`): K.
        before (`Sequence[Head]`): K, of an earlier training.

    Raises:
        InputError: a setting names an unknown objective or contradicts another, ratings can't be levels, or a sign-aware head would lose its boundary without having been told to.
    """
    pair_loss, rating_loss = (_named(args, name, objectives) for name in ("pair_loss", "rating_loss"))
    sign_aware_mask(args.sign_aware, objectives)  # refuses what is no objective
    for name in args.sign_aware or ():
        if rating_loss.get(name, "binary") != "binary":
            raise InputError(
                f"objective '{name}' is sign_aware, so its rating_loss is 'binary', found '{rating_loss[name]}'"
            )
    heads = []
    for k, name in enumerate(objectives):
        labels = [e.targets[k] for e in examples if e.is_pair and not math.isnan(e.targets[k])]
        ratings = [e.targets[k] for e in examples if not e.is_pair and not math.isnan(e.targets[k])]
        pairs, tie = _pair_head(args, pair_loss.get(name, _for_all(args.pair_loss, "bradley_terry")), labels, before[k])
        named = "binary" if name in (args.sign_aware or ()) else rating_loss.get(name)
        kind = named or (_for_all(args.rating_loss, "squared") if ratings else None)
        if not ratings and named != "binary":  # check_boundary says what a sign-aware objective lacks
            if named == "ordinal":
                raise InputError(f"train_dataset: objective '{name}' has rating_loss 'ordinal', but no rating")
            kind = None
        if before[k].sign_aware and kind != "binary" and named is None:
            raise InputError(
                f"objective '{name}' is sign-aware in the model to go on with, and this training would move its boundary from 0: name it in sign_aware and give it flags, "
                f"or, to give the boundary up, say what its ratings are: rating_loss={{'{name}': 'squared'}}"
            )
        levels, thresholds = _levels(name, ratings, before[k]) if kind == "ordinal" else ((), ())
        heads.append(Head(pairs, tie, kind, levels, thresholds))
    return tuple(heads)


def losses_of(args: RewardHeadsConfig, heads: Sequence[Head], objectives: Sequence[str]) -> HeadLosses:
    """The losses that the settings ask for.

    Raises:
        InputError: `label_noise` names an unknown objective.
    """
    noise = _named(args, "label_noise", objectives)
    return HeadLosses(
        heads,
        learn_ties=args.tie_parameter is None,
        noise=[float(noise.get(name, 0.0)) for name in objectives],
        correction=args.noise_correction,
        huber_delta=args.huber_delta,
    )


def objective_weights(args: RewardHeadsConfig, objectives: Sequence[str]) -> Tensor:
    """`[K]` weights of the objectives in the loss.

    Raises:
        InputError: one is no objective.
    """
    weights = _named(args, "objective_weights", objectives)
    return torch.tensor([float(weights.get(name, 1.0)) for name in objectives])


def units_of(examples: Sequence[Example], objectives: Sequence[str], heads: Sequence[Head]) -> Normalizer | None:
    """Location and scale of the ratings that are quantities (0 and 1 for all other objectives); `None` where there are none.

    Flags and levels are no quantity with a unit: standardised, their boundary would move.

    Raises:
        InputError: all ratings of an objective are the same.
    """
    measurable = [head.ratings in ("squared", "huber") for head in heads]
    if not any(measurable):
        return None
    rated = [e.targets for e in examples if not e.is_pair]
    ratings = torch.tensor(rated, dtype=torch.float64).reshape(-1, len(objectives))
    location, scale = [], []
    for name, column, found in zip(objectives, ratings.T, measurable, strict=True):
        measured = Normalizer.from_scores(column[:, None], [name]) if found else None
        location.append(measured.location[0] if measured else 0.0)
        scale.append(measured.scale[0] if measured else 1.0)
    return Normalizer(tuple(objectives), tuple(location), tuple(scale), len(ratings), "training ratings")


def targets_of(
    examples: Sequence[Example], objectives: Sequence[str], heads: Sequence[Head], units: Normalizer | None, what: str
) -> Tensor:
    """`[N, K]`: the labels of pairs; ratings standardised, as flags, or as positions of levels.

    Raises:
        InputError: a rating of an ordinal objective is none of its levels; names row, objective and levels.
    """
    targets = torch.tensor([e.targets for e in examples]).reshape(len(examples), len(objectives))
    rated = torch.tensor([not e.is_pair for e in examples], dtype=torch.bool)
    if units is not None:
        targets = torch.where(rated[:, None], units(targets), targets)
    for k, head in enumerate(heads):
        if head.ratings != "ordinal":
            continue
        position = {level: float(index) for index, level in enumerate(head.levels)}
        for row, example in enumerate(examples):
            rating = example.targets[k]
            if example.is_pair or math.isnan(rating):
                continue
            if rating not in position:
                levels = ", ".join(f"{level:g}" for level in head.levels)
                raise InputError(
                    f"{what}, row {row}, field 'scores', objective '{objectives[k]}': {rating:g} is none of the levels of the training ratings ({levels}): "
                    "add such a row to the training data, leave it out, or use rating_loss squared"
                )
            targets[row, k] = position[rating]
    return targets


def _named(args: RewardHeadsConfig, field: str, objectives: Sequence[str]) -> dict[str, Any]:
    """A setting that is given by objective; empty where it is one value for all."""
    value = getattr(args, field)
    if not isinstance(value, dict):
        return {}
    for name in value:
        if name not in objectives:
            raise unknown_name(f"objective in {field}", name, objectives)
    return value


def _for_all(value: Any, default: str) -> str:
    return value if isinstance(value, str) else default


def _pair_head(
    args: RewardHeadsConfig, kind: str, labels: Sequence[float], before: Head
) -> tuple[str | None, float | None]:
    if not labels:
        return None, None
    if kind == "bradley_terry":
        return kind, None
    if args.tie_parameter is not None:
        return kind, args.tie_parameter
    ties = sum(label == 0.5 for label in labels)
    if not ties:
        return "bradley_terry", None
    none_allowed = 1.0 if kind == "rao_kupper" else 0.0
    if before.pairs == kind and before.tie is not None and before.tie > none_allowed:
        return kind, before.tie
    # So many ties as there are among pairs of equals.
    share = min((ties + 0.5) / (len(labels) + 1), 0.95)
    return kind, (1 + share) / (1 - share) if kind == "rao_kupper" else 2 * share / (1 - share)


def _levels(name: str, ratings: Sequence[float], before: Head) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found = sorted(set(ratings))
    if before.levels and set(found) <= set(before.levels):
        return before.levels, before.thresholds
    if len(found) < 2:
        raise InputError(
            f"train_dataset: objective '{name}' is {found[0]:g} in all {len(ratings)} ratings: ordinal levels need at least two"
        )
    if len(found) > MOST_LEVELS:
        raise InputError(
            f"train_dataset: objective '{name}' has {len(found)} different ratings, and rating_loss 'ordinal' learns at most {MOST_LEVELS} levels: "
            "use squared or huber, or round the ratings"
        )
    # Where all scores are 0, these thresholds give every level its share.
    below = [sum(rating <= level for rating in ratings) / (len(ratings) + 1) for level in found[:-1]]
    return tuple(found), tuple(math.log(share / (1 - share)) for share in below)
