"""Measure how much the answers to one and the same preference scatter: CRD."""

import numpy as np
from numpy.typing import ArrayLike

from frontier.errors import InputError


def crd(rewards: ArrayLike) -> float:
    r"""CRD: the generalised variance of the reward vectors that one preference leads to, averaged over the preferences. Smaller is tighter.

    $$ CRD = \frac{1}{|W|} \sum_{w \in W} \det \operatorname{Cov}(s \mid w) $$

    with $s$ the reward vector of one prompt's completion under weights $w$ ([Xie et al., 2026](https://huggingface.co/papers/2607.01392)) and the unbiased
    covariance (divided by the number of prompts less one). A policy that answers each preference in one distinct way has a small value; so has one that
    always says the same, so read it beside MIP and `steering`. In the product of the squared units of the objectives: compare only values under one
    normaliser and for the same objectives. Prompts that differ in difficulty add to it: compare only values on the same prompts.

    Args:
        rewards (`ArrayLike`): $s$, `[W, N, K]`: of each preference, each prompt, each objective. NaN = not known; a prompt with an objective that is not
            known is left out for that preference.

    Raises:
        InputError: the array is empty or not of this shape, holds an infinity, or a preference has fewer than K + 1 prompts with all objectives known
            (with fewer the determinant is 0 whatever they are).

    Example:
        >>> round(crd([[[0, 0], [3, 0], [0, 3]]]), 9)  # variances 3 and 3, covariance -1.5: 9 - 2.25
        6.75
    """
    try:
        array = np.asarray(rewards, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the rewards must form a table [W, N, K] of numbers: {error}") from error
    if array.ndim != 3 or array.size == 0:
        raise InputError(f"the rewards must form a table [W, N, K] that is not empty, found shape {list(array.shape)}")
    if np.isinf(array).any():
        row, prompt = (int(i) for i in np.argwhere(np.isinf(array))[0][:2])
        raise InputError(
            f"the rewards of preference {row} on prompt {prompt} are not finite: {array[row, prompt].tolist()}"
        )
    values = []
    for row, scores in enumerate(array):
        known = scores[~np.isnan(scores).any(axis=1)]
        if len(known) <= array.shape[2]:
            raise InputError(
                f"the covariance of {array.shape[2]} objectives needs {array.shape[2] + 1} prompts with all of them known; preference {row} has {len(known)}"
            )
        values.append(np.linalg.det(np.atleast_2d(np.cov(known, rowvar=False))))
    # A covariance matrix has no negative determinant; what is below 0 is rounding of one that is singular.
    return float(np.maximum(values, 0.0).mean())
