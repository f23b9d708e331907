"""Calibrate the comparisons of a model on as many documents as there are without ever using their own."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.reward_heads.sets import Comparisons
from frontier.errors import InputError
from reward_heads.calibrate import fit_temperature

FOLDS = 5
Array = NDArray[np.float64]


def calibrated(known: Comparisons, known_differences: Array, test: Comparisons, differences: Array) -> Array:
    """`[n]` log-odds of the test comparisons, each by a temperature fitted on the calibration documents and on the folds of test documents that it has no text of.

    The calibration documents alone are as few as 10 to 75; a temperature fitted on those is off by more than what is to be measured.

    Args:
        known (`Comparisons`): of the calibration documents.
        known_differences (`Array`): score of a minus score of b of each.
        test (`Comparisons`): what is judged.
        differences (`Array`): `[n]`, the same of these.
    """
    names = sorted({*test.document, *test.other})
    random.Random(0).shuffle(names)
    fold = {name: i % FOLDS for i, name in enumerate(names)}
    first, second = (np.array([fold[name] for name in side]) for side in (test.document, test.other))
    found = np.zeros(len(differences))
    for i in range(FOLDS):
        for j in range(i, FOLDS):
            own = ((first == i) & (second == j)) | ((first == j) & (second == i))
            others = ~(np.isin(first, (i, j)) | np.isin(second, (i, j)))
            if own.any():
                found[own] = differences[own] * _nats_per_unit(
                    np.concatenate([known_differences, differences[others]]),
                    np.concatenate([known.label, np.array(test.label)[others]]),
                    [*known.document, *np.array(test.document, dtype=object)[others]],
                )
    return found


def _nats_per_unit(differences: Array, labels: Array, documents: Sequence[str]) -> float:
    """The inverse of the temperature, shrunk by its own noise (James-Stein): a head that nothing is known of is sure of nothing."""
    try:
        fitted = fit_temperature(differences, labels, documents)
    except InputError:  # the head goes against its labels, or follows them without exception: there is no temperature
        return 0.0
    relative = fitted.standard_error / fitted.temperature
    return fitted.nats_per_unit * max(0.0, 1 - relative**2)
