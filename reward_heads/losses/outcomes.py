"""What a comparison would cost for each way it can end, so that one rule serves sure labels, ties and probabilities."""

from typing import NamedTuple

from torch import Tensor


class Outcomes(NamedTuple):
    """Negative log-probabilities of the outcomes of pairs, any shape, the same for all.

    Args:
        first (`Tensor`): a is better.
        second (`Tensor`): b is better.
        tie (`Tensor`, *optional*): neither is; `None` where the model knows no ties.
    """

    first: Tensor
    second: Tensor
    tie: Tensor | None


def expected_cost(outcomes: Outcomes, targets: Tensor) -> Tensor:
    r"""The loss of labels: $p\,\ell_a + (1 - p)\,\ell_b$, or $\ell_{tie}$ where ties are modelled and the label is exactly 0.5.

    A label strictly between 0 and 1 that isn't a tie (a share of annotators, another model's probability) is a mixture of the two sure ones.

    Args:
        outcomes (`Outcomes`): of the pairs.
        targets (`Tensor`): of the same shape, the probability that a is better.
    """
    mixed = targets * outcomes.first + (1 - targets) * outcomes.second
    return mixed if outcomes.tie is None else outcomes.tie.where(targets == 0.5, mixed)
