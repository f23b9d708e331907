r"""Turn a score into the log-odds of a flag: a·s + b, whose sigmoid is the probability.

Platt scaling ([Platt, 1999](https://www.researchgate.net/publication/2594015)): logistic regression of the flag on the score, with targets that leave room for error,
$t_+ = (n_+ + 1)/(n_+ + 2)$ and $t_- = 1/(n_- + 2)$, so that the fit is finite even where the flags follow the score without exception. A soft flag y is both, with
weights y and 1 − y. Zero is the boundary: above it the flag is more likely 1 than 0.
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression

from frontier.errors import InputError
from reward_heads.diagnose.intervals import column


def fit_platt(scores: ArrayLike, flags: ArrayLike, *, objective: str = "") -> tuple[float, float]:
    """Slope and offset in nats.

    Args:
        scores (`ArrayLike`): `[N]`; NaN = not known.
        flags (`ArrayLike`): `[N]`, probability in [0, 1] that the flag is 1; NaN = missing.
        objective (`str`, *optional*): the name in messages.

    Raises:
        InputError: a flag is outside [0, 1], there is only one class, the scores are constant, or they oppose the flags.
    """
    s = column(scores, "scores")
    y = column(flags, "flags", len(s))
    used = ~(np.isnan(s) | np.isnan(y))
    s, y = s[used], y[used]
    if ((y < 0) | (y > 1)).any():
        raise InputError(f"objective '{objective}': flags must be in [0, 1], found {y[(y < 0) | (y > 1)][0]:g}")
    positive, negative = float(y.sum()), float((1 - y).sum())
    if positive == 0 or negative == 0:
        raise InputError(
            f"objective '{objective}': all {len(y)} flags are {1 if positive else 0}: a boundary needs both"
        )
    if s.min() == s.max():
        raise InputError(f"objective '{objective}': all {len(s)} scores are {s[0]:g}, which tells the flags nothing")
    target = y * (positive + 1) / (positive + 2) + (1 - y) / (negative + 2)
    middle, unit = float(s.mean()), float(s.std())
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    twice, weights = np.tile((s - middle) / unit, 2)[:, None], np.concatenate([target, 1 - target])
    model.fit(twice, np.repeat([1, 0], len(s)), sample_weight=weights)
    slope, offset = float(model.coef_.item()) / unit, float(model.intercept_.item())
    if slope <= 0:
        raise InputError(
            f"objective '{objective}' goes against its flags ({slope:.3g} nats per unit): check its sign, or leave it out"
        )
    return slope, offset - slope * middle
