"""Whether intervals contain the truth as often as they say, and verdicts and certificates are wrong no more often than they say."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frontier.context import Context
from benchmarks.jobs import Job, Result, run_jobs
from benchmarks.report import Row, at_most
from frontier.measure.uncertainty import bootstrap, compare_rewards, holm
from frontier.measure.uncertainty.kernels import kernel
from frontier.measure.uncertainty.lower_bounds import betting_p_value, skewness_p_value, t_p_value

FIGURES = {"hv": "hypervolume", "eum": "eum", "mip": "mip"}
LEAST, MOST, LEVEL = 0.93, 0.97, 0.95
DELTA, POINTS = 0.05, 21
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fronts:
    """One kind of simulated front.

    Args:
        shape (`str`): `"oracle"` (exact policies, whose completions are sampled) or where the true means of a known distribution lie.
        points (`int`), prompts (`int`): of each front.
        noise (`float`): the standard deviation of a reward; for the oracle, how many completions a prompt gets.
        shared (`float`): the part of the variance that is the prompt's own, the same for all points; for the oracle, beta.
        rewards (`str`): the distribution; for the oracle, how many objectives.
    """

    shape: str
    points: int
    prompts: int
    noise: float
    shared: float
    rewards: str

    def __str__(self) -> str:
        """For a table."""
        if self.shape == "oracle":
            return f"oracle, {self.points} points, {self.rewards} objectives, beta {self.shared:g}, {self.prompts} prompts x {self.noise:g} completions"
        return f"{self.shape}, {self.points} points, {self.prompts} prompts, {self.rewards} rewards of sd {self.noise:g}, {self.shared:g} of it shared"


ORACLE = (
    Fronts("oracle", 11, 30, 4, 0.5, "2"),
    Fronts("oracle", 11, 100, 1, 0.2, "2"),
    Fronts("oracle", 21, 200, 1, 0.5, "2"),
    Fronts("oracle", 10, 60, 2, 0.5, "3"),
    Fronts("oracle", 5, 500, 1, 1.0, "2"),
)
KNOWN = (
    Fronts("concave", 21, 30, 1.0, 0.5, "exponential"),
    Fronts("concave", 11, 60, 0.5, 0.8, "log-normal"),
    Fronts("concave", 21, 500, 1.0, 0.2, "negative exponential"),
    Fronts("tied", 12, 100, 0.5, 0.5, "exponential"),
    Fronts("nearly dominated", 12, 100, 1.0, 0.3, "normal"),
    Fronts("straight", 21, 200, 1.0, 0.5, "normal"),
)


def rows(context: Context) -> list[Row]:
    """Coverage on the oracle's fronts and on hard ones of known distribution, false verdicts of comparisons, and false passes of certificates."""
    trials, chunks = (20, 1) if context.quick else (500, 2)
    kinds = ORACLE[:1] + KNOWN[3:4] if context.quick else ORACLE + KNOWN
    jobs = [
        Job(cover, {"fronts": asdict(kind), "trials": trials // chunks, "seed": 1000 * i + part}, cost=30.0)
        for i, kind in enumerate(kinds)
        for part in range(chunks)
    ]
    jobs += [
        Job(false_passes, {**case, "trials": 200 if context.quick else trials_of(case), "seed": i}, cost=15.0)
        for i, case in enumerate(CERTIFICATES[:3] if context.quick else CERTIFICATES)
    ]
    jobs += [
        Job(false_verdicts, {**case, "trials": 100 if context.quick else 1000, "seed": i}, cost=15.0)
        for i, case in enumerate(COMPARISONS[:1] if context.quick else COMPARISONS)
    ]
    # Two tiny jobs are not worth the start of two processes.
    results = run_jobs(jobs, workers=1 if context.quick else None, what="Coverage", keep=context.keep)
    intervals = [r for r in results if r.job.function is cover]
    certificates = [r for r in results if r.job.function is false_passes]
    found = [_coverage(name, where, intervals) for name in FIGURES for where in ("oracle", "hard")]
    verdicts = [r for r in results if r.job.function is false_verdicts]
    return [*found, _false_verdict(verdicts), _false_pass(certificates)]


# ---- intervals


def cover(fronts: dict[str, Any], trials: int, seed: int) -> dict[str, Any]:
    """How many of so many simulated fronts have the truth below, inside and above the interval, for each figure."""
    kind = Fronts(**fronts)
    draw, means, weights = _oracle(kind) if kind.shape == "oracle" else _known(kind)
    generator = np.random.default_rng([seed, 7])
    place = means.min(axis=0) - 0.5 * np.ptp(means, axis=0)
    settings: dict[str, Any] = {"reference_point": place, "weights": weights}
    truth = {
        name: float(kernel(figure, len(means), means.shape[1], place, weights)(means[None])[0])
        for name, figure in FIGURES.items()
    }
    found = {name: [0, 0, 0] for name in FIGURES}
    for trial in range(trials):
        rewards = draw(generator)
        for name, figure in FIGURES.items():
            interval = bootstrap(rewards, figure, level=LEVEL, resamples=1000, seed=trial, **settings)
            found[name][1 + (truth[name] > interval.high) - (truth[name] < interval.low)] += 1
    return found


@cache
def _world(objectives: int) -> tuple[Array, Array]:
    """Log-probabilities `[64, S]` of the reference and rewards `[64, S, K]` of a world with 64 prompts."""
    from moalign.oracle import OracleWorld

    names = ("helpful", "brief", "warm")[:objectives]
    world = OracleWorld.covered(vocabulary=4, length=3, prompts=64, objectives=names)
    return world.log_reference.numpy(), world.rewards.numpy()


def _oracle(kind: Fronts) -> tuple[Callable[[np.random.Generator], Array], Array, Array]:
    """How to draw per-prompt rewards, the true means and the weights: exact policies at a lattice of weights, prompts and completions drawn from them."""
    log_reference, rewards = _world(int(kind.rewards))
    weights = _lattice(kind.points, int(kind.rewards))
    logits = log_reference + np.einsum("psk,wk->wps", rewards, weights) / kind.shared
    policies = np.exp(logits - logits.max(axis=2, keepdims=True))
    policies /= policies.sum(axis=2, keepdims=True)
    means = np.einsum("wps,psk->wk", policies, rewards) / len(log_reference)
    edges = policies.cumsum(axis=2)

    def draw(generator: np.random.Generator) -> Array:
        prompts = generator.integers(len(log_reference), size=kind.prompts)
        total = np.zeros((kind.points, kind.prompts, rewards.shape[2]))
        for _ in range(int(kind.noise)):
            chance = generator.random((kind.points, kind.prompts, 1))
            chosen = np.minimum((edges[:, prompts] < chance).sum(axis=2), edges.shape[2] - 1)
            total += rewards[prompts, chosen]
        return total / kind.noise

    return draw, means, weights


def _lattice(points: int, objectives: int) -> Array:
    if objectives == 2:
        first = np.linspace(0, 1, points)
        return np.stack([first, 1 - first], axis=1)
    steps = round((math.sqrt(8 * points + 1) - 3) / 2)
    lattice = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    return np.array(lattice, dtype=np.float64) / steps


def _known(kind: Fronts) -> tuple[Callable[[np.random.Generator], Array], Array, Array]:
    """The same with chosen true means and a known distribution around them."""
    weights = _lattice(kind.points, 2)
    means = np.sin(weights * np.pi / 2)
    if kind.shape == "straight":
        means = weights.copy()
    elif kind.shape == "tied":  # groups of points with the same true means
        means = means[(np.arange(kind.points) // 4) * 4 + 1]
    elif kind.shape == "nearly dominated":
        means[1::2] -= 0.05

    def draw(generator: np.random.Generator) -> Array:
        own = standardised(kind.rewards, generator, (kind.points, kind.prompts, 2))
        common = standardised(kind.rewards, generator, (1, kind.prompts, 2))
        noise = math.sqrt(kind.shared) * common + math.sqrt(1 - kind.shared) * own
        return means[:, None, :] + kind.noise * noise

    return draw, means, weights


def standardised(name: str, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Values of mean 0 and standard deviation 1."""
    if name == "normal":
        return generator.standard_normal(shape)
    if name == "exponential":
        return generator.standard_exponential(shape) - 1
    if name == "negative exponential":
        return 1 - generator.standard_exponential(shape)
    if name == "negative gamma":
        return (4 - generator.standard_gamma(4, shape)) / 2
    spread = 0.8
    mean = math.exp(spread**2 / 2)
    return (np.exp(spread * generator.standard_normal(shape)) - mean) / (mean * math.sqrt(math.expm1(spread**2)))


def _coverage(name: str, where: str, results: list[Result]) -> Row:
    """A row that pools the fronts of the oracle, or the others."""
    of_oracle = where == "oracle"
    chosen = [r for r in results if (r.job.settings["fronts"]["shape"] == "oracle") == of_oracle]
    label = f"bootstrap.{name}.coverage" + ("" if of_oracle else ".hard")
    broken = [r.error for r in chosen if r.error]
    if broken or not chosen:
        return Row(label, f"failed: {broken[0] if broken else 'no simulation'}", None, holds=False, bar="0.93 to 0.97")
    counts: dict[str, NDArray[np.int64]] = {}
    for r in chosen:
        kind = str(Fronts(**r.job.settings["fronts"]))
        counts[kind] = counts.get(kind, np.zeros(3, dtype=np.int64)) + np.array(r.figures[name])
    below, inside, above = sum(counts.values(), np.zeros(3, dtype=np.int64)).tolist()
    total = below + inside + above
    each = sorted((n[1] / n.sum(), kind) for kind, n in counts.items())
    source = "exact policies of the oracle, prompts and completions drawn" if of_oracle else "known distributions"
    return Row(
        label,
        f"95 % intervals of {FIGURES[name]} that contain the truth, {total} simulated fronts ({source}); too high {below / total:.1%}, too low {above / total:.1%}; "
        f"least {each[0][0]:.3f} ({each[0][1]}), most {each[-1][0]:.3f} ({each[-1][1]})",
        inside / total,
        "share",
        interval=list(wilson(inside, total)),
        bar=f"{LEAST:g} to {MOST:g}",
        holds=bool(LEAST <= inside / total <= MOST),
    )


def wilson(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    share = hits / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return max(0.0, centre - reach), min(1.0, centre + reach)


# ---- comparisons

# Replies that are right (1) or wrong (0): few prompts show how skewed such rewards are.
COMPARISONS: list[dict[str, Any]] = [
    {"right": 0.97, "prompts": 30},
    {"right": 0.98, "prompts": 60},
    {"right": 0.9, "prompts": 60},
    {"right": 0.5, "prompts": 30},
]


def false_verdicts(right: float, prompts: int, trials: int, seed: int) -> dict[str, Any]:
    """How many pairs of points with the same share of right replies, independent of each other, are told apart at level 95 %."""
    generator = np.random.default_rng([seed, 13])
    wrong = 0
    for trial in range(trials):
        a, b = (generator.random((2, 1, prompts, 1)) < right).astype(np.float64)
        found = compare_rewards(a, b, "mip", weights_a=[[1.0]], level=LEVEL, resamples=1000, seed=trial)
        wrong += found.verdict != "not decided"
    return {"wrong": wrong, "trials": trials}


def _false_verdict(results: list[Result]) -> Row:
    """The worst case."""
    broken = [r.error for r in results if r.error]
    if broken or not results:
        why = broken[0] if broken else "no simulation"
        return Row("compare.false_verdict", f"failed: {why}", None, bar=f"<= {1 - LEVEL:g}", holds=False)
    worst = max(results, key=lambda r: r.figures["wrong"] / r.figures["trials"])
    case, (wrong, trials) = worst.job.settings, (worst.figures["wrong"], worst.figures["trials"])
    chance = 2 * math.sqrt(LEVEL * (1 - LEVEL) / trials)
    each = "; ".join(
        f"{r.job.settings['right']:g}, {r.job.settings['prompts']} prompts: {r.figures['wrong'] / r.figures['trials']:.3f}"
        for r in results
    )
    return Row(
        "compare.false_verdict",
        f"share of {trials} pairs of equally good points, rewards 0 or 1, that compare tells apart at level {100 * LEVEL:g} %, the worst of {len(results)} cases: a share "
        f"{case['right']:g} right, {case['prompts']} prompts ({each}); the bar is {1 - LEVEL:.2g} and two Monte-Carlo errors ({chance:.3f})",
        wrong / trials,
        "share",
        interval=list(wilson(wrong, trials)),
        **at_most(round(1 - LEVEL + chance, 4), wrong / trials),
    )


# ---- certificates

# Of a known range: a Beta whose tail points to the bad side, and replies of which one in twenty fails outright.
CERTIFICATES: list[dict[str, Any]] = [
    {"rewards": rewards, "prompts": prompts, "among": among}
    for among in (1, POINTS)
    for prompts in (30, 100, 300)
    for rewards in ("normal", "negative exponential", "negative gamma", "beta", "rare failures")
]
RANGED = {"beta": 0.8, "rare failures": 0.95}


def trials_of(case: dict[str, Any]) -> int:
    """Enough to tell 5 % from 5.5 %; the best of many costs as much per point."""
    return 10_000 if case["among"] == 1 else 2_000


def false_passes(rewards: str, prompts: int, among: int, trials: int, seed: int) -> dict[str, Any]:
    """How many trials certify a point whose true mean is only just below the minimum: alone, or the best-looking of many such points.

    In every second trial the points share each prompt's luck: half of its variance, all of it for rare failures, none for beta rewards. The method is the default: betting where
    the range is known, else skewness; the t bound is counted beside it. `holm` counts the trials in which Holm passes a point below the minimum after every second point was
    lifted far above it: where no point is good, Holm passes a point exactly when the union bound does.
    """
    generator = np.random.default_rng([seed, 11])
    passed, passed_t, passed_holm = 0, 0, 0
    for trial in range(trials):
        table, minimum = _just_below(rewards, generator, among, prompts, shared=trial % 2 == 1)
        plain = [t_p_value(values, minimum) for values in table]
        own = [_own_p_value(rewards, values, minimum, among, trial) for values in table]
        lifted = [_own_p_value(rewards, _lifted(rewards, v), minimum, among, trial) for v in table[1::2]]
        mixed = [p for i, p in enumerate(own) if i % 2 == 0] + lifted
        passed += min(own) <= DELTA / among
        passed_t += min(plain) <= DELTA / among
        passed_holm += any(holm(mixed, DELTA)[: len(mixed) - len(lifted)])
    return {"passed": passed, "t": passed_t, "holm": passed_holm, "trials": trials}


def _own_p_value(rewards: str, values: Array, minimum: float, among: int, seed: int) -> float:
    """Of the method that is the default for these rewards."""
    if rewards in RANGED:
        return betting_p_value(values, minimum, DELTA / among, (0.0, 1.0), seed=seed)
    return skewness_p_value(values, minimum)


def _lifted(rewards: str, values: Array) -> Array:
    """A point that is truly good: by a standard deviation, or with a quarter of what was missing to 1."""
    return 1 - (1 - values) / 4 if rewards in RANGED else values + 1


def _just_below(
    rewards: str, generator: np.random.Generator, points: int, prompts: int, shared: bool
) -> tuple[Array, float]:
    """`[points, prompts]` rewards, and a minimum that their true mean is just below."""
    shape = (points, prompts)
    if rewards == "beta":
        return generator.beta(4.0, 1.0, shape), RANGED[rewards] + 1e-9
    if rewards == "rare failures":
        luck = generator.random((1, prompts) if shared else shape)
        return np.broadcast_to((luck < RANGED[rewards]).astype(np.float64), shape), RANGED[rewards] + 1e-9
    own = standardised(rewards, generator, shape)
    common = standardised(rewards, generator, (1, prompts))
    return (math.sqrt(0.5) * common + math.sqrt(0.5) * own if shared and points > 1 else own), 1e-9


def _false_pass(results: list[Result]) -> Row:
    """The worst case."""
    broken = [r.error for r in results if r.error]
    if broken:
        return Row("certificate.false_pass", f"failed: {broken[0]}", None, bar=f"<= {DELTA:g}", holds=False)

    def share(r: Result, key: str = "passed") -> float:
        return float(r.figures[key] / r.figures["trials"])

    rules = {"passed": "union bound", "holm": "Holm with every second point lifted above the minimum"}
    worst, key = max(((r, key) for r in results for key in rules), key=lambda pair: share(*pair))
    worst_t = max(results, key=lambda r: share(r, "t"))
    value = share(worst, key)
    counted = "; ".join(
        f"best of {among}: {max(share(r) for r in results if r.job.settings['among'] == among):.4f}"
        for among in sorted({r.job.settings["among"] for r in results})
    )
    case, trials = worst.job.settings, worst.figures["trials"]
    return Row(
        "certificate.false_pass",
        f"share of {trials} trials that certify a point just below its minimum, the worst of {len(results)} cases: {case['rewards']} rewards, {case['prompts']} prompts, "
        f"best of {case['among']}, {rules[key]} (union bound, {counted}; Holm: {max(share(r, 'holm') for r in results):.4f}); delta {DELTA:g}; the t bound is worst with {worst_t.job.settings['rewards']} rewards, "
        f"{worst_t.job.settings['prompts']} prompts, best of {worst_t.job.settings['among']}",
        value,
        "share",
        interval=list(wilson(worst.figures[key], trials)),
        peer="t bound, worst case",
        peer_value=share(worst_t, "t"),
        **at_most(DELTA, value),
    )
