"""What the log of a direct-alignment run says of a batch, under TRL's names where TRL has them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moalign.training.direct_loss import BatchLoss


def pair_metrics(
    batch: BatchLoss, objectives: Sequence[str], labels: Tensor, policy: Tensor, reference: Tensor, beta: float
) -> dict[str, tuple[Tensor, Tensor | float]]:
    r"""Sum and count of every figure, to be added up over processes and divided.

    | name | mean of |
    |---|---|
    | `rewards/chosen`, `rewards/rejected` | $\beta h$ of the completion that the labels favour at the row's weights, and of the other |
    | `rewards/margins`, `rewards/accuracies` | their difference, and whether it is positive |
    | `logps/chosen`, `logps/rejected` | log-probs of the same completions |
    | `log_ratio` | $h$ of all completions: the estimate of minus the KL divergence from their source to the policy, relative to the reference's |
    | `accuracy/NAME` | whether $d_k$ has the sign of the label, over labels that are not ties |
    | `margin/NAME` | the size of the margin |
    | `labels/NAME` | rows with a label of the objective |
    | `rows_left_out` | rows that nothing could be trained in, as a number per batch |

    Args:
        batch (`BatchLoss`): of B rows.
        objectives (`Sequence[str]`): K names.
        labels (`Tensor`): `[B, K]`.
        policy (`Tensor`): `[B, 2]`, log-probs of a and b.
        reference (`Tensor`): `[B, 2]`, the same under the reference.
        beta (`float`): β.
    """
    ratios = policy - reference
    favoured = (batch.share * (labels.nan_to_num(nan=0.5) - 0.5)).sum(1)
    decided = favoured != 0
    n, better = decided.sum(), (favoured < 0).long().unsqueeze(1)

    # Nothing here waits for the device: `where` instead of a selection, tensors instead of numbers.
    def of_decided(values: Tensor) -> tuple[Tensor, Tensor | float]:
        return torch.where(decided, values, 0.0).sum(), n

    chosen, rejected = ratios.gather(1, better)[:, 0] * beta, ratios.gather(1, 1 - better)[:, 0] * beta
    found: dict[str, tuple[Tensor, Tensor | float]] = {
        "rewards/chosen": of_decided(chosen),
        "rewards/rejected": of_decided(rejected),
        "rewards/margins": of_decided(chosen - rejected),
        "rewards/accuracies": of_decided((chosen > rejected).float()),
        "logps/chosen": of_decided(policy.gather(1, better)[:, 0]),
        "logps/rejected": of_decided(policy.gather(1, 1 - better)[:, 0]),
        "log_ratio": (ratios.sum(), ratios.numel()),
        "rows_left_out": ((~batch.used).sum(), 1.0),
    }
    for k, name in enumerate(objectives):
        trained = batch.share[:, k] > 0
        told = trained & (labels[:, k] != 0.5)
        right = (batch.difference[:, k] > 0) == (labels[:, k] > 0.5)
        found[f"accuracy/{name}"] = ((right & told).sum(), told.sum())
        found[f"labels/{name}"] = ((~labels[:, k].isnan()).sum(), len(labels))
        if len(objectives) > 1:
            found[f"margin/{name}"] = (torch.where(trained, batch.margin[:, k].abs(), 0.0).sum(), trained.sum())
    return found
