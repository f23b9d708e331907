"""How likely each answer is, given how good someone finds the two points: mostly consistent, sometimes undecided, now and then wrong."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from frontier.errors import InputError, unknown_name

Answer = Literal["a", "b", "cant_tell"]
ANSWERS: tuple[Answer, ...] = ("a", "b", "cant_tell")


@dataclass(frozen=True)
class AnswerModel:
    r"""The three answers as in [Rao and Kupper, 1967](https://doi.org/10.1080/01621459.1967.10482901), with slips.

    With $\Delta = u(a) - u(b)$, the difference of two utilities as a share of the person's range over the candidates that no other dominates, an answer that is meant has

    $$ p(a) = \sigma(\beta (\Delta - \tau)), \quad p(b) = \sigma(\beta (-\Delta - \tau)), \quad p(=) = 1 - p(a) - p(b), $$

    and with probability $\lambda$ it is a slip, one of the other two: $P(y) = (1 - \lambda)\, p(y) + \lambda\, (1 - p(y)) / 2$. So no answer rules
    anything out for good, and one wrong answer costs a question or two, not the result.

    Args:
        rationality (`float`, *optional*, defaults to 300): the median of $\beta > 0$, how sharply answers follow utilities, per range of utility: at 300, a difference of 0.03
            of the range decides 99 of 100 answers that are no slips. Slips have a number of their own, so people who are wrong now and then are not taken for people who can't
            see small differences. $\beta$ itself is not known and learnt from the answers: log-normal before the first.
        spread (`float`, *optional*, defaults to 1): the standard deviation of $\log \beta$, at least 0; at 1, $\beta$ is from 42 to 2100 for 95 of 100 people.
        tie (`float`, *optional*, defaults to 0.015): $\tau > 0$, a share of the range: someone very rational answers "can't tell" when two points differ by less.
        lapse (`float`, *optional*, defaults to 0.1): $\lambda$ in [0, 0.5].

    Raises:
        InputError: a value is out of its range.
    """

    rationality: float = 300.0
    spread: float = 1.0
    tie: float = 0.015
    lapse: float = 0.1

    def __post_init__(self) -> None:
        limits = {"rationality": (1e-3, 1e4), "spread": (0.0, 3.0), "tie": (1e-6, 0.5), "lapse": (0.0, 0.5)}
        for name, (low, high) in limits.items():
            object.__setattr__(self, name, number(name, getattr(self, name), low, high))

    def probabilities(
        self, difference: NDArray[np.float64], rationality: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        r"""Probabilities of the answers.

        Args:
            difference (`NDArray`): `[...]` utilities of the first point minus those of the second, as shares of the range.
            rationality (`ArrayLike`, *optional*): $\beta$, broadcast against `difference`; by default its median.

        Returns:
            `NDArray`: `[3, ...]`, in the order of `ANSWERS`.
        """
        beta = np.asarray(self.rationality if rationality is None else rationality, dtype=np.float64)
        first = expit(beta * (difference - self.tie))
        second = expit(beta * (-difference - self.tie))
        meant = np.stack([first, second, 1.0 - first - second])
        return (1.0 - 1.5 * self.lapse) * meant + self.lapse / 2


def number(name: str, value: object, low: float, high: float, *, below: bool = False) -> float:
    """The value as a plain float, which JSON can hold.

    Args:
        name (`str`): as it should read in the message.
        value (`object`): a number of any kind.
        low (`float`): the smallest that is allowed.
        high (`float`): the largest.
        below (`bool`, *optional*, defaults to `False`): the largest itself is not allowed.

    Raises:
        InputError: it is no number, or out of its range.
    """
    try:
        found = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number beyond any float
        found = math.inf
    if not low <= found <= high or (below and found == high):
        raise InputError(f"{name} must be a number from {low:g} to {'below ' * below}{high:g}, found {value!r}")
    return found


def check_answer(found: object) -> Answer:
    """The answer, if it is one.

    Raises:
        InputError: it is none of `ANSWERS`.
    """
    for answer in ANSWERS:
        if found == answer:
            return answer
    raise unknown_name("answer", str(found), ANSWERS)
