"""Choose the penalty of a head by what rows that it did not see say."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from reward_heads.probes.logistic import Rows, logistic
from reward_heads.probes.ridge import ridge
from reward_heads.probes.spectrum import Array, Spectrum

Spectra = Callable[[Array], Spectrum]
"""The spectrum of some of the rows of a design; what was asked before is remembered."""


def folds_of(groups: Sequence[Hashable], folds: int) -> list[Array]:
    """Positions held out together: rows of a group in one fold, the folds of about equal size; rows one by one if there is a single group.

    Returns:
        at most `folds` arrays that cover all rows; a single row makes none.
    """
    first: dict[Hashable, int] = {}
    labels = np.array([first.setdefault(group, len(first)) for group in groups], dtype=np.int64)
    if len(first) < 2:
        labels = np.arange(len(labels))
    if len(labels) < 2:
        return []
    from sklearn.model_selection import GroupKFold

    split = GroupKFold(min(folds, len(np.unique(labels)))).split(labels, groups=labels)
    return [held for _, held in split]


def held_out_ridge(x: Array, targets: Array, alphas: Array, folds: Sequence[Array], spectra: Spectra) -> Array:
    """`[A]` mean squared errors on held-out ratings."""
    errors = np.zeros(len(alphas))
    for held in folds:
        train = np.setdiff1d(np.arange(len(x)), held)
        coefficients, intercepts = ridge(x[train], targets[train], spectra(train), alphas)
        errors += np.square(targets[held] - intercepts[:, None] - coefficients @ x[held].T).sum(axis=1)
    return errors / max(sum(map(len, folds)), 1)


def held_out_logistic(rows: Rows, alphas: Array, folds: Sequence[Array]) -> Array:
    """`[A]` mean losses in nats on held-out labels."""
    losses = np.zeros(len(alphas))
    for held in folds:
        train = np.setdiff1d(np.arange(len(rows.x)), held)
        part = rows.take(train)
        coefficients, intercepts = logistic(part, Spectrum.of(part.x), alphas.tolist())
        rest = rows.take(held)
        for index in range(len(alphas)):
            losses[index] += rest.losses(rest.x @ coefficients[index] + rest.level * intercepts[index]).sum()
    return losses / max(sum(map(len, folds)), 1)
