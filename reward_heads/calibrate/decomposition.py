r"""Split a score of probabilities into what calibration can mend and what it can't.

With any proper score $S$ (Brier or log loss, smaller is better), the probabilities $p$, their best monotone recalibration $\hat p$ (isotonic regression) and the base rate $\bar y$
([Dimitriadis, Gneiting & Jordan, 2021](https://doi.org/10.1073/pnas.2016191118); for bins [Murphy, 1973](https://doi.org/10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2)):

$$ S(p) = \underbrace{S(p) - S(\hat p)}_{\text{miscalibration}} + \underbrace{S(\hat p)}_{\text{refinement}}, \qquad
   S(\hat p) = \underbrace{S(\bar y)}_{\text{uncertainty}} - \underbrace{S(\bar y) - S(\hat p)}_{\text{discrimination}} $$

All parts are at least 0. The recalibration is fitted on the same rows, so the miscalibration of few rows is overstated. Pairs have no order: $\hat p$ is antisymmetric and $\bar y = 1/2$.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy
from sklearn.isotonic import IsotonicRegression

from frontier.errors import unknown_name
from reward_heads.diagnose.intervals import Floats
from reward_heads.diagnose.report import number

SCORES = ("brier", "log")


@dataclass(frozen=True)
class Decomposition:
    """`score = miscalibration + refinement` and `refinement = uncertainty − discrimination`.

    Args:
        score (`float`): mean over rows; the log loss in nats. Infinite where a probability of 0 came true.
        miscalibration (`float`): what a monotone map of the probabilities would gain.
        discrimination (`float`): what such a map gains over knowing the base rate only.
        uncertainty (`float`): the score of the base rate.
    """

    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float

    @property
    def refinement(self) -> float:
        """What is left after the best monotone map."""
        return self.uncertainty - self.discrimination

    def __str__(self) -> str:
        return (
            f"{number(self.score)} = miscalibration {number(self.miscalibration)} + refinement {number(self.refinement)} "
            f"(uncertainty {number(self.uncertainty)} − discrimination {number(self.discrimination)})"
        )


def decompose(p: Floats, y: Floats, score: str = "brier", *, pairs: bool = False) -> Decomposition:
    """Decompose the mean score of probabilities.

    Args:
        p (`NDArray`): `[N]` in [0, 1].
        y (`NDArray`): `[N]` labels in [0, 1]. The Brier score of a soft label is (p − y)², its log loss the cross-entropy.
        score (`str`, *optional*, defaults to `"brier"`): or `"log"`.
        pairs (`bool`, *optional*, defaults to `False`): rows are pairs, and so are their mirror images.

    Raises:
        InputError: another score.
    """
    if score not in SCORES:
        raise unknown_name("score", score, SCORES)
    if pairs:
        p, y = np.concatenate([p, 1 - p]), np.concatenate([y, 1 - y])
    recalibrated = IsotonicRegression(out_of_bounds="clip").fit_transform(p, y)
    base = np.full(len(y), 0.5 if pairs else y.mean())
    given, best, knowing_nothing = (_mean_score(q, y, score) for q in (p, np.clip(recalibrated, 0, 1), base))
    return Decomposition(given, given - best, knowing_nothing - best, knowing_nothing)


def _mean_score(p: Floats, y: Floats, score: str) -> float:
    if score == "brier":
        return float(((p - y) ** 2).mean())
    return float(-(xlogy(y, p) + xlogy(1 - y, 1 - p)).mean())
