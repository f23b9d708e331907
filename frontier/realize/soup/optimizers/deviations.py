"""Let the blocks of a soup deviate from its mean: what that brings is learned around the soups of the front."""

import numpy as np
from scipy.linalg import cho_solve, helmert

from frontier.choose.explore.base import Key, key
from frontier.choose.explore.boxes import undominated_boxes
from frontier.choose.explore.surrogate import JITTER, Kernel, fit_kernel
from frontier.measure.hypervolume import reference_point
from frontier.realize.soup.optimizers.base import Array
from frontier.realize.soup.space import SoupSpace

# Deviations to choose from for each soup: those of so many neighbours on the front, scaled, and steps from them, of standard deviations in units of the limits' range and of the front's own.
TRIED, NEIGHBOURS, SCALES = 160, 4, (0.0, 0.5, 1.0, 1.5)
STEPS, GROWTH = (0.0, 0.03, 0.06, 0.12), (1.0, 3.0)
# Deviations that change a reward as much as its own standard deviation, by the model: what may be, and what is believed before anything is known.
LENGTHS, EXPECTED = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2), 0.8
# Of the model's standard deviation: a deviation is tried for what it is expected to give more than for what it may give.
DOUBT = 0.1
# Of what a deviation is thought to have brought, as a standard error.
UNSURE = 0.1


def rotated(vectors: Array, blocks: int) -> Array:
    r"""`[n, G K]` coefficients in coordinates whose first K are the mean over the G blocks and whose others are orthogonal deviations from it.

    Distances between soups that are alike in every block are those between soups of one block, which the priors of a model's length scales are made for.

    Args:
        vectors (`Array`): `[n, G K]`, block after block.
        blocks (`int`): G.
    """
    turn = helmert(blocks, full=True) / np.sqrt(blocks)
    found = np.einsum("hg,ngk->nhk", turn, vectors.reshape(len(vectors), blocks, -1)).reshape(len(vectors), -1)
    return np.round(found, 12) + 0.0  # no deviation is none, not 1e-17


class DeviationModel:
    r"""A Gaussian process from means g and deviations d to one reward, in rotated coordinates, for small d.

    $$ k\big((g, d), (g', d')\big) = k_0(g, g') \big( 1 + u + \tfrac{1}{2} u^2 \big), \quad u = d^\top d' / \lambda^2 $$

    so a reward is a quadratic polynomial of d whose value, slope and curvature change with g as smoothly as the rewards of soups of one block do. Unlike under a kernel of distances, what is not
    known of a deviation is expected to be nothing, and not a way back to the mean of all soups.

    Args:
        means (`Array`): `[n, K]`.
        deviations (`Array`): `[n, (G - 1) K]`.
        targets (`Array`): `[n]`, of mean 0 and variance 1.
        noise (`Array`): `[n]` variances.
        kernel (`Kernel`): $k_0$.
    """

    def __init__(self, means: Array, deviations: Array, targets: Array, noise: Array, kernel: Kernel) -> None:
        self.means, self.deviations, self.kernel = means, deviations, kernel
        inner = kernel(means, means)
        best = -np.inf
        for length in LENGTHS:
            lower = np.linalg.cholesky(inner * _polynomial(deviations, deviations, length) + np.diag(noise))
            answer = cho_solve((lower, True), targets)
            # The log-likelihood, and a standard deviation of a factor e about what is expected.
            score = -targets @ answer / 2 - np.log(np.diag(lower)).sum() - np.log(length / EXPECTED) ** 2 / 2
            if score > best:
                best, self.length, self._lower, self._answer = score, length, lower, answer

    def __call__(self, means: Array, deviations: Array) -> tuple[Array, Array]:
        """`[c]` expected rewards and their standard deviations."""
        across = self.kernel(self.means, means) * _polynomial(self.deviations, deviations, self.length)
        own = self.kernel.variance * np.diag(_polynomial(deviations, deviations, self.length))
        variance = own - (across * cho_solve((self._lower, True), across)).sum(axis=0)
        return across.T @ self._answer, np.sqrt(np.maximum(variance, 0))


class Deviations:
    """What deviations bring, from all soups that were measured, and which to take.

    Args:
        space (`SoupSpace`): of several blocks.
        vectors (`Array`): `[n, G K]`, at least two of them alike in every block.
        rewards (`Array`): `[n, K']`.
        errors (`Array`): `[n, K']` standard errors, 0 where rewards are exact.
    """

    def __init__(self, space: SoupSpace, vectors: Array, rewards: Array, errors: Array) -> None:
        self.space, self.rewards = space, rewards
        count = len(space.experts)
        turned = rotated(vectors, len(space.blocks))
        self.means, deviations = turned[:, :count], turned[:, count:]
        self.location, spread = rewards.mean(axis=0), rewards.std(axis=0)
        self.scale = np.where(spread > 0, spread, 1.0)
        targets, noise = (rewards - self.location) / self.scale, (errors / self.scale) ** 2 + JITTER
        # Nothing but soups that are alike says how rewards change with the mean alone.
        alike = ~deviations.any(axis=1)
        self.models = []
        for k in range(rewards.shape[1]):
            kernel = fit_kernel(self.means[alike], targets[alike, k], noise[alike, k])
            self.models.append(DeviationModel(self.means, deviations, targets[:, k], noise[:, k], kernel))
        expected = self.rewards_at(vectors)[0]
        brought = expected - self.rewards_at(np.tile(self.means, (1, len(space.blocks))))[0]
        # What soups of these means would have given if they were alike in every block, and how far that is known.
        self.alike_rewards = rewards - brought
        self.alike_errors = np.hypot(errors, UNSURE * brought)
        self.reached = np.where(errors > 0, expected, rewards)

    def rewards_at(self, vectors: Array) -> tuple[Array, Array]:
        """`[c, K']` expected rewards of `[c, G K]` soups, and their standard deviations."""
        count = len(self.space.experts)
        turned = rotated(vectors, len(self.space.blocks))
        found = [model(turned[:, :count], turned[:, count:]) for model in self.models]
        mean, deviation = (np.stack(part, axis=1) * self.scale for part in zip(*found, strict=True))
        return mean + self.location, deviation

    def choose(self, asked: Array, front: Array, seen: set[Key], generator: np.random.Generator) -> Array:
        """`[n, G K]` soups with about the means that are asked, and the deviations of which most hypervolume is expected.

        Args:
            asked (`Array`): `[n, K]` means.
            front (`Array`): `[m, G K]` soups of the present front.
            seen (`set`): what was measured.
            generator (`Generator`): of the steps.
        """
        place, reached = reference_point(self.rewards), self.reached
        taken, chosen = set(seen), []
        for soup in self.space.alike(asked):
            drawn = np.unique(np.vstack([soup, _drawn(self.space, soup, front, generator)]), axis=0)
            table = np.array([v for v in drawn if key(v) not in taken])
            mean, doubt = self.rewards_at(table)
            best = int(undominated_boxes(reached, place).expected_improvement(mean, DOUBT * doubt).argmax())
            chosen.append(table[best])
            taken.add(key(table[best]))
            reached = np.vstack([reached, mean[best]])
        return np.array(chosen)


def _polynomial(one: Array, other: Array, length: float) -> Array:
    product = one @ other.T / length**2
    found: Array = 1 + product + product**2 / 2
    return found


def _drawn(space: SoupSpace, soup: Array, front: Array, generator: np.random.Generator) -> Array:
    """`[TRIED, G K]` soups around one that is alike in every block: with its neighbours' deviations, and with a step of one block."""
    blocks, experts = len(space.blocks), len(space.experts)
    rows = front.reshape(-1, blocks, experts)
    means = rows.mean(axis=1)
    near = np.argsort(((means - soup[:experts]) ** 2).sum(axis=1), kind="stable")[:NEIGHBOURS]
    every = rows - means[:, None]
    own = every[near[generator.integers(len(near), size=TRIED)]]
    step = np.zeros((TRIED, blocks, experts))
    step[np.arange(TRIED), generator.integers(blocks, size=TRIED)] = generator.standard_normal((TRIED, experts))
    step -= step.mean(axis=1, keepdims=True)
    low, high = space.bounds
    width = np.concatenate([np.array(STEPS) * (high - low), np.array(GROWTH) * np.sqrt((every**2).mean())])
    deviations = generator.choice(SCALES, (TRIED, 1, 1)) * own + generator.choice(width, (TRIED, 1, 1)) * step
    return space.repair((soup.reshape(blocks, experts) + deviations).reshape(TRIED, -1))
