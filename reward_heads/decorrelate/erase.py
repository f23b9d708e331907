r"""Take length out of a transformer's head weights, as far as its features know it, so that a plain exported model is less biased.

A linear probe predicts the length from the features h that the head reads, $\hat z(h) = u^\top h + u_0$ for $z = \log(1 + \text{length})$, by ridge regression. Each objective gets $r'_i = r_i - \lambda_i \hat z$, which
is a new head, $W' = W - \lambda u^\top$. At $\lambda_i = \mathrm{cov}(r_i, z)/\mathrm{cov}(\hat z, z)$ this is least-squares concept erasure of one direction (LEACE,
[Belrose et al., 2023](https://huggingface.co/papers/2306.03819)): the change of the scores that is smallest in mean square and leaves no linear covariance with z. $\lambda_i$ is then the smallest penalty at which Spearman's
correlation with the length itself is within the threshold, with $\hat z$ predicted by probes that have not seen the row.

What the features don't know of the length can't be taken out this way, nor what a curved relation leaves; the report says how much is left. [`fit_decorrelation`] looks at the text itself and has neither limit.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from frontier.errors import InputError
from reward_heads.decorrelate.fit import LENGTH
from reward_heads.decorrelate.head import head_inputs, head_of, with_head
from reward_heads.decorrelate.length import Length
from reward_heads.decorrelate.penalty import smallest_strength
from reward_heads.decorrelate.rank_correlation import RankCorrelation, standard_error
from reward_heads.decorrelate.report import DecorrelationReport, measure
from reward_heads.decorrelate.texts import folds_of, read_texts, split_rows, usable_folds
from reward_heads.model import TransformerReward

_FOLDS = 5
# How far beyond the linear answer the search goes.
_LARGEST = 4.0
_ALPHAS = tuple(10.0**k for k in range(-4, 5))


def erase_length(
    reward: TransformerReward,
    rows: Iterable[Mapping[str, Any]],
    *,
    length: Length | None = None,
    threshold: float = 0.05,
    margin: float = 1.96,
    held_out: float | Iterable[Mapping[str, Any]] = 0.25,
    seed: int = 0,
) -> tuple[TransformerReward, DecorrelationReport]:
    """A copy of a reward whose head follows length less; where it pools as its architecture does, its folder is an ordinary `AutoModelForSequenceClassification`.

    Args:
        reward (`TransformerReward`): left as it is.
        rows (`Iterable[Mapping]`): pairs or ratings; labels are needed only to report what it costs.
        length (`Length`, *optional*): by default in words.
        threshold (`float`, *optional*, defaults to 0.05): see [`fit_decorrelation`].
        margin (`float`, *optional*, defaults to 1.96): likewise.
        held_out (`float` or rows, *optional*, defaults to 0.25): likewise.
        seed (`int`, *optional*, defaults to 0): of the split and of the probe's folds.

    Raises:
        InputError: a row is broken, all lengths are the same, there are fewer than ten texts, or the model has no linear head.
    """
    length = length or Length()
    parts = split_rows(rows, held_out, seed) if isinstance(held_out, int | float) else (list(rows), list(held_out))
    fitted, held = (read_texts(part, reward.objectives) for part in parts)
    if len(fitted.prompts) < 10:
        raise InputError(f"a probe for length needs at least 10 texts, found {len(fitted.prompts)}")
    features, others = (head_inputs(reward, texts.prompts, texts.completions).double() for texts in (fitted, held))
    z = length.log(fitted.completions)
    if z.min() == z.max():
        raise InputError(f"the length in {length.unit} is the same in all {len(z)} texts: there is nothing to erase")
    _, head = head_of(reward)
    weight = head.weight.detach().double().cpu()
    bias = None if head.bias is None else head.bias.detach().double().cpu()
    level = (0.0 if bias is None else bias) - reward.offset.double()
    before = features @ weight.T + level
    outside, u = _probe(features, z, usable_folds(folds_of(fitted.groups, _FOLDS, seed), _FOLDS))
    aim = max(0.0, threshold - margin * standard_error(len(z)))
    penalties = torch.tensor([_penalty(column, outside, z, aim) for column in before.T], dtype=torch.float64)
    # The mean score stays what it was: the mean of what is subtracted goes into the offset.
    shift = penalties * (features @ u).mean()
    erased = with_head(
        reward, weight - penalties[:, None] * u, bias, reward.offset.double() - shift, (penalties != 0).tolist()
    )
    both = []
    for texts, seen in ((fitted, features), (held, others)):
        was = seen @ weight.T + level
        now = was - penalties * (seen @ u)[:, None] + shift
        both.append(measure(texts, was, now, length.log(texts.completions)))
    corrected = (True,) * len(reward.objectives)
    return erased, DecorrelationReport(
        reward.objectives, LENGTH, threshold, aim, tuple(penalties.tolist()), corrected, *both
    )


def _probe(features: Tensor, z: Tensor, folds: Tensor) -> tuple[Tensor, Tensor]:
    """`[N]` predictions of z for rows that the probe has not seen, and the `[d]` weights of one probe that has seen all."""
    scale = features.std(dim=0)
    # A feature that never varies tells nothing, and must not be divided by its zero.
    scale = torch.where(scale > 1e-8 * scale.max(), scale, torch.inf)
    x = (features - features.mean(dim=0)) / scale
    outside = torch.empty_like(z)
    for fold in range(_FOLDS):
        inside = folds != fold
        if not inside.all():
            probe = RidgeCV(alphas=_ALPHAS).fit(x[inside].numpy(), z[inside].numpy())
            outside[~inside] = torch.from_numpy(probe.predict(x[~inside].numpy()))
    whole = RidgeCV(alphas=_ALPHAS).fit(x.numpy(), z.numpy())
    return outside, torch.from_numpy(whole.coef_) / scale


def _penalty(scores: Tensor, predicted: Tensor, z: Tensor, aim: float) -> float:
    centred = z - z.mean()
    shared = float(predicted @ centred)
    if shared <= 0:  # the features know nothing of the length
        return 0.0
    linear = float(scores @ centred) / shared
    correlation = RankCorrelation(z)
    return linear * smallest_strength(lambda s: correlation(scores - s * linear * predicted), _LARGEST, aim)
