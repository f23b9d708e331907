"""Check what was measured on each prompt, and draw the prompts anew: the same draw for every point, so that what points share cancels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.rows import whole_number

# Below this the spread between prompts is itself a guess, and no interval keeps its promise.
FEWEST_PROMPTS = 10
# Numbers in one block of resampled weights: 32 MB.
BLOCK = 4_000_000


@dataclass(frozen=True, eq=False)
class Samples:
    """Rewards per prompt as columns, what is not known set apart.

    Args:
        values (`NDArray[np.float64]`): `[N, P*K]`, 0 where not known.
        known (`NDArray[np.bool_]`, *optional*): `[N, P*K]`; `None` where everything is known.
        shape (`tuple[int, int]`): P, K.
    """

    values: NDArray[np.float64]
    known: NDArray[np.float64] | None
    shape: tuple[int, int]

    @classmethod
    def of(cls, rewards: ArrayLike, fewest: int = FEWEST_PROMPTS) -> "Samples":
        """Check rewards per prompt.

        Args:
            rewards (`ArrayLike`): `[P, N, K]`, maximised; row j is the same prompt for every point; NaN = not known, left out of that mean only.
            fewest (`int`, *optional*, defaults to 10): the least number of prompts of which each point and objective must be known.

        Raises:
            InputError: another shape, an infinite reward, or too few prompts; the message names the point and the objective.
        """
        try:
            array = np.array(rewards, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"rewards per prompt must be an array of numbers [P, N, K]: {error}") from error
        if array.ndim != 3 or array.size == 0:
            raise InputError(
                f"rewards per prompt must have the shape [P points, N prompts, K objectives], none of them 0; found {list(array.shape)}"
            )
        points, prompts, objectives = array.shape
        if prompts < fewest:
            raise InputError(f"at least {fewest} prompts are needed to tell how sure a figure is, found {prompts}")
        if np.isinf(array).any():
            p, n, k = np.argwhere(np.isinf(array))[0]
            raise InputError(
                f"rewards must be finite (NaN = not known); point {p}, prompt {n}, objective {k} is infinite"
            )
        known = ~np.isnan(array)
        counts = known.sum(axis=1)
        if (counts < fewest).any():
            p, k = np.argwhere(counts < fewest)[0]
            raise InputError(
                f"point {p} is known on {counts[p, k]} of {prompts} prompts in objective {k}, and at least {fewest} are needed"
            )
        columns = np.where(known, array, 0.0).transpose(1, 0, 2).reshape(prompts, -1)
        flags = None if known.all() else known.transpose(1, 0, 2).reshape(prompts, -1).astype(np.float64)
        return cls(columns, flags, (points, objectives))

    @property
    def n_prompts(self) -> int:
        """N."""
        return len(self.values)

    @property
    def alike(self) -> bool:
        """Whether every point has the same reward on all of its known prompts, up to rounding, in each objective."""
        known = np.ones_like(self.values) if self.known is None else self.known
        low = np.where(known > 0, self.values, np.inf).min(axis=0)
        high = np.where(known > 0, self.values, -np.inf).max(axis=0)
        return bool((high - low <= 1e-12 * np.abs(high)).all())

    def means(self) -> NDArray[np.float64]:
        """`[P, K]` means over the prompts that are known."""
        return self.weighted(np.ones((1, self.n_prompts)))[0]

    def weighted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[B, P, K]` means under `[B, N]` weights of the prompts. A column that a draw has nothing of keeps its mean over all."""
        if self.known is None:
            means = weights @ self.values / weights.sum(axis=1, keepdims=True)
        else:
            mass = weights @ self.known
            overall = self.values.sum(axis=0) / self.known.sum(axis=0)
            means = np.where(mass > 0, weights @ self.values / np.where(mass > 0, mass, 1.0), overall)
        return means.reshape(len(weights), *self.shape)

    def influence(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[N]` what each prompt adds to a figure with this `[P, K]` gradient; of mean 0, in units of the figure times N."""
        slope = gradient.reshape(-1)
        means = self.means().reshape(-1)
        if self.known is None:
            return (self.values - means) @ slope
        share = self.known.mean(axis=0)
        return (self.values - self.known * means) @ (slope / share)


def draws(n: int, resamples: int, seed: int, kind: str = "multinomial") -> Iterator[NDArray[np.float64]]:
    """Blocks `[b, N]` of weights of N prompts, `resamples` rows in all.

    Args:
        n (`int`): N.
        resamples (`int`): how many.
        seed (`int`): the same seed draws the same prompts, whatever the figure.
        kind (`str`, *optional*): `"multinomial"` counts how often a prompt was drawn with replacement; `"dirichlet"` are the weights of the
            Bayesian bootstrap ([Rubin, 1981](https://doi.org/10.1214/aos/1176345338)), times N.

    Raises:
        InputError: the seed is not a whole number of at least 0.
    """
    whole_number(seed, "seed", 0)
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        if kind == "multinomial":
            # Many times faster than the generator's own multinomial, of the same distribution.
            drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
            yield np.bincount(drawn.reshape(-1), minlength=rows * n).reshape(rows, n).astype(np.float64)
        else:
            exponential = generator.standard_exponential((rows, n))
            yield exponential * (n / exponential.sum(axis=1, keepdims=True))


def unknown_to_some(rewards: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`[N, K]`, true where some point of `[P, N, K]` rewards does not know the objective on the prompt: fronts compare on what all their points know."""
    return np.asarray(np.isnan(rewards).any(axis=0))
