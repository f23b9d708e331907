"""Whether the stated error of an approximate hypervolume holds as often as it is said to."""

import importlib.util
from time import perf_counter

import numpy as np
from scipy.stats import binomtest

from benchmarks.frontier.context import Context
from benchmarks.report import Row, at_least
from frontier.measure import hypervolume, non_dominated
from frontier.measure.approximate import approximate_hypervolume

ERROR, CONFIDENCE = 0.05, 0.99
CORNERS = "corners"


def rows(context: Context) -> list[Row]:
    """Fronts of four shapes in 10 and 12 objectives, half of the trials each; the truth is exact."""
    trials = 40 if context.quick else 2_000
    # Without pygmo an exact value of 50 points in 10 objectives takes a second.
    n = 30 if importlib.util.find_spec("pygmo") else 14
    held, errors, samples, seconds = 0, [], 0, 0.0
    shapes = ("sphere", "simplex", "cloud", CORNERS)
    for trial in range(trials):
        m, shape = (10, 12)[trial % 2], shapes[trial // 2 % len(shapes)]
        points, truth = _problem(shape, n, m, trial)
        started = perf_counter()
        found = approximate_hypervolume(points, np.zeros(m), relative_error=ERROR, confidence=CONFIDENCE, seed=trial)
        seconds += perf_counter() - started
        samples += found.samples
        errors.append(abs(found.value - truth) / truth)
        held += found.low <= truth <= found.high and (not found.reached or errors[-1] <= ERROR)
    share = held / trials
    interval = binomtest(held, trials).proportion_ci(0.95)
    return [
        Row(
            "hv.approx.coverage",
            f"share of {trials} trials in 10 and 12 objectives, at most {n} points, in which the truth lies in the stated interval and the value within the stated {ERROR:.0%}, "
            f"confidence {CONFIDENCE:.0%}: mean error {np.mean(errors):.2%}, largest {np.max(errors):.2%}, "
            f"{samples / trials:.0f} samples and {1e3 * seconds / trials:.1f} ms a trial",
            share,
            "of trials",
            interval=[float(interval.low), float(interval.high)],
            peer="exact",
            **at_least(CONFIDENCE, share),
        )
    ]


def _problem(shape: str, n: int, m: int, seed: int) -> tuple[np.ndarray, float]:
    """A front above 0 and its hypervolume."""
    generator = np.random.default_rng([1, seed])  # the sampler is seeded with the trial alone
    if shape == CORNERS:
        # Box i reaches 1 in objective i and c in the others: all share c^m, and each adds a slab of (1 - c) c^(m - 1).
        c = generator.uniform(0.3, 0.95)
        return np.full((m, m), c) + (1 - c) * np.eye(m), c**m + m * (1 - c) * c ** (m - 1)
    if shape == "simplex":
        points = generator.dirichlet(np.ones(m), n)
    else:
        points = np.abs(generator.normal(size=(n, m))) if shape == "sphere" else generator.random((n, m))
        if shape == "sphere":
            points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points[non_dominated(points)], hypervolume(points, np.zeros(m))
