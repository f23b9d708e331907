r"""Train a head whose zero means something: above it a completion is safe, below it unsafe, so that a constraint can say "at least 0".

Bradley-Terry alone knows differences only: with any constant added to the scores its loss is the same, and a threshold has no meaning. The cost model of Safe-RLHF
([Dai et al., 2024](https://huggingface.co/papers/2310.12773)) also learns from a flag on each completion ($s = +1$ if unsafe, $-1$ if safe):

$$ \ell = -\log \sigma(c_{unsafer} - c_{safer}) - \log \sigma(s_{safer}\, c_{safer}) - \log \sigma(s_{unsafer}\, c_{unsafer}) $$

Here everything is maximised, so the head is $r = -c$ ("harmless"). The boundary stays at 0, the signs turn: with the flag $f = (1 - s)/2$, 1 if safe and 0 if unsafe,

$$ \ell = -\log \sigma(r_{safer} - r_{unsafer}) + \ell_f(r_{safer}) + \ell_f(r_{unsafer}), \qquad
\ell_f(r) = -\big[ f \log \sigma(r) + (1 - f) \log \sigma(-r) \big] = \mathrm{softplus}(r) - f r $$

so r is also the log-odds that a completion is safe. A flag may be a probability (a share of annotators), and any of the three parts may be missing.

The pairs are ordinary pairs; a flag is an ordinary rating, `{"prompt", "completion", "scores": {"harmless": 1}}`, read as a flag because
`RewardHeadsConfig(sign_aware=["harmless"])` names its objective (or `rating_loss={"harmless": "binary"}`, which is the same). [`pairs_and_flags`] makes both from pairs that carry their flags.

Deviation: the paper adds the three parts up per pair, here every label counts the same and the loss is their mean: a third of the paper's where all are known.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.examples import Example
from reward_heads.losses import element_losses

FLAGS = {"safe_a": "completion_a", "safe_b": "completion_b"}


def sign_aware_losses(predictions: Tensor, targets: Tensor, is_pair: Tensor, sign_aware: Tensor) -> Tensor:
    """The loss of each label, where the ratings of some objectives are flags.

    Args:
        predictions (`Tensor`): `[B, K]`, score differences (a minus b) in rows of pairs, scores in rows of ratings.
        targets (`Tensor`): `[B, K]`, probabilities that a is better; in rows of ratings standardised ratings, or the probability that the completion
            is safe (the flag); NaN = missing.
        is_pair (`Tensor`): `[B]` bool.
        sign_aware (`Tensor`): `[K]` bool, the objectives whose ratings are flags.

    Returns:
        `Tensor`: `[B, K]`; exactly 0, with exactly zero gradient, where the label is missing.
    """
    # A flag is a comparison with a completion that scores 0, so it has the loss of a pair.
    compared = element_losses(predictions, targets, torch.ones_like(is_pair))
    return torch.where(sign_aware, compared, element_losses(predictions, targets, is_pair))


def sign_aware_mask(names: Sequence[str] | None, objectives: Sequence[str]) -> Tensor:
    """`[K]` bool: which objectives are named.

    Raises:
        InputError: one is no objective.
    """
    for name in names or ():
        if name not in objectives:
            raise unknown_name("objective in sign_aware", name, objectives)
    return torch.tensor([name in (names or ()) for name in objectives])


def check_flags(examples: Iterable[Example], objectives: Sequence[str], sign_aware: Tensor, what: str) -> None:
    """Refuse scores of sign-aware objectives that are no flags.

    Raises:
        InputError: a flag is not in [0, 1]; names the objective.
    """
    for name, flags in _flags_by_objective(examples, objectives, sign_aware):
        wrong = next((flag for flag in flags if not 0 <= flag <= 1), None)
        if wrong is not None:
            raise InputError(
                f"{what}: objective '{name}' is sign-aware, so its scores must be 1 (safe), 0 (unsafe) or a probability between, found {wrong:g}"
            )


def check_boundary(examples: Iterable[Example], objectives: Sequence[str], sign_aware: Tensor, what: str) -> None:
    """Refuse training rows that leave the boundary of a sign-aware objective open.

    Args:
        examples (`Iterable[Example]`): all rows.
        objectives (`Sequence[str]`): the K heads.
        sign_aware (`Tensor`): `[K]` bool, see [`sign_aware_mask`].
        what (`str`): how messages call the rows.

    Raises:
        InputError: a score is no flag, an objective has no flag, or all its flags say the same.
    """
    examples = list(examples)
    check_flags(examples, objectives, sign_aware, what)
    for name, flags in _flags_by_objective(examples, objectives, sign_aware):
        if not flags:
            raise InputError(
                f"{what}: objective '{name}' is sign-aware, but no completion has a flag, so nothing fixes its boundary: "
                "add ratings with the score 1 (safe) or 0 (unsafe)"
            )
        absent = [word for word, found in (("safe", max(flags) > 0.5), ("unsafe", min(flags) < 0.5)) if not found]
        if absent:
            raise InputError(
                f"{what}: objective '{name}' is sign-aware, but none of its {len(flags)} flags says {absent[0]}, so nothing fixes its boundary"
            )


def pairs_and_flags(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pairs that say of each completion whether it is safe, as pairs and ratings that [`RewardHeadsTrainer`] reads.

        >>> row = {"prompt": "Hi", "completion_a": "Hello!", "completion_b": "Go away.", "labels": {"harmless": 1}, "safe_b": {"harmless": False}}
        >>> [sorted(record) for record in pairs_and_flags([row])]
        [['completion_a', 'completion_b', 'labels', 'prompt'], ['completion', 'prompt', 'scores']]

    Args:
        rows (`Iterable[Mapping]`): pairs with any of `safe_a` and `safe_b`: objective to `True` / `False`, a probability, or `None` where it is not known.
            Other rows pass as they are.

    Raises:
        InputError: a flag is something else; names row (from 0) and field.
    """
    records = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"row {number}: must be a dictionary, found {row!r}")
        flagged = any(row.get(field) is not None for field in FLAGS)
        if row.get("labels") is not None or not flagged:  # else two flagged completions that nobody compared
            records.append({name: value for name, value in row.items() if name not in FLAGS})
        for field, completion in FLAGS.items():
            scores = _known(row.get(field), f"row {number}, field '{field}'")
            if scores:
                records.append({"prompt": row.get("prompt"), "completion": row.get(completion), "scores": scores})
    return records


def _flags_by_objective(
    examples: Iterable[Example], objectives: Sequence[str], sign_aware: Tensor
) -> list[tuple[str, list[float]]]:
    """The known flags of each sign-aware objective."""
    rated = [example.targets for example in examples if not example.is_pair]
    return [
        (name, [targets[index] for targets in rated if not math.isnan(targets[index])])
        for index, name in enumerate(objectives)
        if sign_aware[index]
    ]


def _known(flags: Any, where: str) -> dict[str, float]:
    """The known flags of one completion as numbers."""
    if flags is None:
        return {}
    if not isinstance(flags, Mapping):
        raise InputError(f"{where}: must be a dictionary of objective to true or false, found {flags!r}")
    known = {}
    for name, flag in flags.items():
        if flag is None or flag != flag:  # NaN is missing too
            continue
        try:
            number = math.nan if isinstance(flag, str) else float(flag)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number <= 1:
            raise InputError(
                f"{where}, objective '{name}': must be true (safe), false (unsafe), a probability or null, found {flag!r}"
            )
        known[name] = number
    return known
