"""What every direct-alignment loss does: scores of pairs and labels become one loss per pair, to be minimised."""

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.training.losses.pair_scores import PairScores


class Loss(Protocol):
    """A loss per pair. Averages, and weights of rows, are the learner's."""

    name: ClassVar[str]
    """What [`find_loss`] calls it; TRL's `loss_type` where TRL has it."""
    takes_margin: ClassVar[bool]
    """It is a function of the score difference, which a margin and a scale per row belong to."""
    needs_reference: ClassVar[bool]
    """It reads the reference's log-probs."""

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs.

        Args:
            scores (`PairScores`): of completions a and b.
            label (`Tensor`): `[B]`, the probability in [0, 1] that a is better: 1 = a was chosen, 0.5 = tie, NaN = missing.

        Returns:
            `Tensor` `[B]`: NaN where the label is missing or the margin not known. Such a row has gradient 0 whatever is done with its loss, so that
            a learner may take the mean of the others, or `nanmean`.

        Raises:
            InputError: a label is outside [0, 1], or `scores` has a margin or several scales and the loss doesn't take them.
        """
        ...


def known_label(scores: PairScores, label: Tensor) -> tuple[Tensor, Tensor]:
    """Labels whose missing entries can be computed with, and which rows must become NaN in the end.

    Returns:
        `tuple[Tensor, Tensor]`: the label, 0.5 where nothing is known, and the mask of those rows; `[B]` each.

    Raises:
        InputError: not `[B]`, or outside [0, 1].
    """
    if label.shape != scores.policy_a.shape:
        raise InputError(f"label must be {list(scores.policy_a.shape)} as the scores, found {list(label.shape)}")
    outside = (label < 0) | (label > 1)
    if outside.any():
        raise InputError(
            f"a label is the probability that a is better, in [0, 1]; found {label[outside][0].item():.4g}"
        )
    unknown = label.isnan() if scores.margin is None else label.isnan() | scores.margin.isnan()
    return label.to(scores.policy_a.dtype).masked_fill(unknown, 0.5), unknown


def expected_loss(scores: PairScores, label: Tensor, if_a: Tensor, if_b: Tensor) -> Tensor:
    """What a pair costs on average when its label is drawn with the probability that `label` says.

    Args:
        scores (`PairScores`): the pairs.
        label (`Tensor`): `[B]`, probability that a is better; NaN = missing.
        if_a (`Tensor`): `[B]`, the loss if a is the better one.
        if_b (`Tensor`): `[B]`, the loss if b is.
    """
    p, unknown = known_label(scores, label)
    return (p * if_a + (1 - p) * if_b).masked_fill(unknown, torch.nan)


def refuse_margin(loss: Loss, scores: PairScores) -> float | Tensor:
    """The one scale of a batch, for a loss that is no function of the score difference.

    Raises:
        InputError: there is a margin, or rows have different scales.
    """
    why = f"loss '{loss.name}' moves each completion to a level of its own, where"
    instead = "has no place; choose a loss of the score difference, such as sigmoid, hinge or ipo"
    if scores.margin is not None and (scores.margin != 0).any():
        found = scores.margin[scores.margin != 0][0].item()
        raise InputError(f"{why} a margin between the two (found {found:.4g}) {instead}")
    if isinstance(scores.scale, Tensor) and (scores.scale != scores.scale[:1]).any():
        low, high = scores.scale.aminmax()
        raise InputError(f"{why} a scale per row (found {low:.4g} to {high:.4g}) {instead}")
    return scores.scale


def check_smoothing(smoothing: float, *, zero: bool = True) -> None:
    """Refuse a label smoothing that isn't the probability of a rare mistake.

    Raises:
        InputError: outside [0, 0.5), or 0 where `zero` is `False`.
    """
    if not (0 <= smoothing < 0.5) or (smoothing == 0 and not zero):
        raise InputError(f"label_smoothing must be in {'[' if zero else '('}0, 0.5), found {smoothing}")
