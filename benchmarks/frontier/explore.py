"""How few evaluations show a front: every strategy against the full lattice, in random order, in even refinement, and against the best that any choice could do."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frontier.context import Context
from benchmarks.jobs import Job, Result, run_jobs
from benchmarks.report import Row, at_most
from frontier.choose.explore import (
    Bound,
    ExpectedImprovement,
    Explorer,
    GapFilling,
    LinearSupport,
    NoisyImprovement,
    simplex_lattice,
)
from frontier.measure import hypervolume, reference_point

Array = NDArray[np.float64]
REACHED, BAR = 0.99, 1 / 3
DEFAULT = "improvement"
NOISE = 0.05


@dataclass(frozen=True)
class Problem:
    """Weights to rewards.

    Args:
        what (`str`): for the table.
        n_weights, n_objectives (`int`): M and K.
        partitions (`int`): of the full lattice.
        strategies (`tuple[str, ...]`): beside the default.
        batch (`int`): asked at once.
        worlds (`int`): how many repetitions with other worlds; 1 where nothing varies.
        noise (`float`): standard error of each reward, told to the strategy; the hypervolume is of the true rewards.
    """

    what: str
    n_weights: int
    n_objectives: int
    partitions: int
    strategies: tuple[str, ...]
    batch: int = 8
    worlds: int = 1
    noise: float = 0.0


PROBLEMS = {
    "zdt1": Problem("ZDT1, best point for linear weights", 2, 2, 200, ("gaps", "support"), 4),
    "zdt2": Problem("ZDT2, best point for Chebyshev weights", 2, 2, 200, ("gaps",), 4),
    "dtlz2": Problem(
        "DTLZ2, best point for an achievement function in the weights' direction", 3, 3, 30, ("gaps",), 16
    ),
    "oracle2": Problem("oracle, exact policies at weights of 2 objectives", 2, 2, 200, ("gaps", "support"), 4, 3),
    "oracle3": Problem("oracle, exact policies at weights of 3 objectives", 3, 3, 30, ("gaps",), 16, 2),
    "soups2": Problem("oracle, soups of 5 exact policies, 2 objectives", 5, 2, 8, ("nehvi",), 8, 3),
    "soups3": Problem("oracle, soups of 5 exact policies, 3 objectives", 5, 3, 8, (), 8, 3),
    "soups2_noisy": Problem(
        f"oracle, soups of 5 exact policies, 2 objectives, rewards with standard error {NOISE}",
        5,
        2,
        8,
        (),
        8,
        3,
        NOISE,
    ),
}


def rows(context: Context) -> list[Row]:
    """Every strategy on every problem, until it reaches 99 % of the full lattice's hypervolume."""
    chosen = {n: p for n, p in PROBLEMS.items() if not context.quick or n in ("zdt1", "soups2")}
    jobs = []
    for name, problem in chosen.items():
        strategies = (DEFAULT, *problem.strategies, "random", "refinement")
        for strategy in strategies:
            if strategy == "nehvi" and context.quick:
                continue
            for world in range(1 if context.quick else problem.worlds if strategy != "nehvi" else 1):
                cost = 30.0 if problem.n_objectives == 3 or strategy == "nehvi" else 4.0
                jobs.append(Job(run, {"problem": name, "strategy": strategy, "world": world}, cost))
    results = run_jobs(jobs, workers=2, what="Explore", keep=context.keep)
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.job.settings["problem"], result.job.settings["strategy"]), []).append(result)
    table = []
    for (name, strategy), found in groups.items():
        table.append(_row(name, strategy, found))
        if strategy == DEFAULT:
            table.append(_known(name, found))
    return [_summary(groups), *table]


def run(problem: str, strategy: str, world: int) -> dict[str, Any]:
    """One strategy until it has 99 % of the full lattice's hypervolume: how many evaluations, and what the best choice needs."""
    from threadpoolctl import threadpool_limits

    # Small matrices: a second thread costs more than it brings, and a hundred times more beside other busy processes.
    with threadpool_limits(1):
        return _run(problem, strategy, world)


def _run(problem: str, strategy: str, world: int) -> dict[str, Any]:
    settings = PROBLEMS[problem]
    truth = _truth(problem, world)
    lattice = simplex_lattice(settings.n_weights, settings.partitions)
    full = truth(lattice)
    place = reference_point(full)
    goal = REACHED * hypervolume(full, place)
    explorer = _explorer(strategy, settings, world)
    noise = np.random.default_rng(world)
    measured = np.empty((0, settings.n_objectives))
    known: int | None = None
    started = perf_counter()
    while not explorer.done and hypervolume(measured, place) < goal and len(measured) < len(lattice):
        asked = explorer.ask(settings.batch)
        rewards = truth(asked)
        errors = np.full_like(rewards, settings.noise) if settings.noise else None
        explorer.tell(asked, rewards + settings.noise * noise.standard_normal(rewards.shape), errors)
        measured = np.vstack([measured, rewards])
        if known is None and isinstance(explorer, ExpectedImprovement) and len(measured) > explorer.start:
            # Credit only for what was predicted and is really there.
            credible = np.minimum(explorer.predict(lattice)[0], full)
            known = len(measured) if hypervolume(np.vstack([measured, credible]), place) >= goal else None
    return {
        "evaluations": _fewest(measured, place, goal),
        "share": hypervolume(measured, place) / goal * REACHED,
        "lattice": len(lattice),
        "best": greedy(full, place, goal),
        "bound": explorer.bound().value if np.isfinite(explorer.bound().value) else None,
        "known": known,
        "seconds": perf_counter() - started,
    }


def greedy(points: Array, place: Array, goal: float) -> int:
    """How many points suffice when each adds the most hypervolume that any can: about the fewest of all, since nobody has to guess."""
    chosen: list[int] = []
    reached, gains = 0.0, np.full(len(points), np.inf)
    while reached < goal:
        best, row = -1.0, -1
        for i in np.argsort(-gains, kind="stable"):
            if gains[i] <= best:
                break  # gains only shrink: what was least before is least now
            gains[i] = hypervolume(points[[*chosen, i]], place) - reached
            if gains[i] > best:
                best, row = float(gains[i]), int(i)
        chosen.append(row)
        reached, gains[row] = reached + best, -1.0
        if best <= 0:
            break
    return len(chosen)


class _Order(Explorer):
    """The lattice in a fixed order, whatever was told: the peers."""

    kind = "order"

    def __init__(self, order: Array, n_objectives: int) -> None:
        super().__init__(order.shape[1], n_objectives, epsilon=0.0)
        self.order = order

    def _propose(self, n: int) -> list[Array]:
        start = len(self._told) + len(self._pending)
        return list(self.order[start : start + n])

    def _bound(self) -> Bound:
        return Bound(np.inf, "", "unknown")


def _explorer(strategy: str, problem: Problem, seed: int) -> Explorer:
    weights, objectives, partitions = problem.n_weights, problem.n_objectives, problem.partitions
    if strategy == "gaps":
        return GapFilling(weights, objectives, epsilon=0.0)
    if strategy == "support":
        return LinearSupport(weights, epsilon=1e-4)
    if strategy in ("improvement", "nehvi"):
        made = ExpectedImprovement if strategy == "improvement" else NoisyImprovement
        return made(weights, objectives, candidates=partitions, epsilon=0.0, seed=seed)
    lattice = simplex_lattice(weights, partitions)
    if strategy == "random":
        return _Order(np.random.default_rng(seed).permutation(lattice), objectives)
    # Even refinement: lattices of 1, 2, 4, ... partitions, each without what came before.
    steps = [simplex_lattice(weights, 2**i) for i in range(12) if 2**i < partitions]
    order = list(dict.fromkeys(tuple(w) for step in [*steps, lattice] for w in step.tolist()))
    return _Order(np.array(order), objectives)


def _truth(problem: str, world: int) -> Callable[[Array], Array]:
    if problem == "zdt1":
        return zdt1
    if problem == "zdt2":
        return zdt2
    if problem == "dtlz2":
        return dtlz2
    return _oracle(problem, world)


def zdt1(weights: Array) -> Array:
    """The point of ZDT1's front, f2 = 1 - √f1, that minimises w·f: √f1 = w2 / (2 w1), at most 1. Negated."""
    root = np.minimum(weights[:, 1] / np.maximum(2 * weights[:, 0], 1e-12), 1.0)
    return -np.column_stack([root**2, 1 - root])


def zdt2(weights: Array) -> Array:
    """The point of ZDT2's front, f2 = 1 - f1², that minimises max(w1 f1, w2 f2): where both are equal. Negated."""
    a, b = weights.T
    root = (-a + np.sqrt(a**2 + 4 * b**2)) / np.maximum(2 * b, 1e-12)
    f1 = np.where(b > 0, root, 0.0)
    return -np.column_stack([f1, 1 - f1**2])


def dtlz2(weights: Array) -> Array:
    """The point of DTLZ2's front, the positive part of the unit sphere, that minimises max_k f_k / w_k: in the weights' direction. Negated."""
    rewards: Array = -weights / np.linalg.norm(weights, axis=1, keepdims=True)
    return rewards


def _oracle(problem: str, world: int) -> Callable[[Array], Array]:
    """Log-linear soups of exact single-reward policies, π ∝ π_ref exp(Σ_m w_m r_m / β); where the ingredients are the objectives it is the exact optimum at w."""
    import torch

    from moalign.oracle import OracleWorld

    made = OracleWorld.covered(vocabulary=4, length=4, prompts=2, seed=world)
    settings = PROBLEMS[problem]
    names = ("helpful", "brief", "warm", "majority", "minority")[: settings.n_weights]
    tables, beta = made.tables_of(names), 0.3

    def rewards(weights: Array) -> Array:
        found = []
        for row in torch.from_numpy(np.ascontiguousarray(weights)):
            policy = (made.log_reference + tables @ row / beta).log_softmax(1)
            found.append(made.expected(policy, names[: settings.n_objectives]).numpy())
        return np.array(found)

    return rewards


def _fewest(measured: Array, place: Array, goal: float) -> int | None:
    """How many of the evaluations, in their order, reach the goal; the last batch may hold more than were needed."""
    if hypervolume(measured, place) < goal:
        return None
    low, high = 1, len(measured)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if hypervolume(measured[:middle], place) >= goal else (middle + 1, high)
    return low


def _row(name: str, strategy: str, found: list[Result]) -> Row:
    problem = PROBLEMS[name]
    failed = next((r.error for r in found if r.error), None)
    bar = strategy == DEFAULT
    row_id = f"explore.{name}.{strategy}.ratio"
    if failed:
        return Row(row_id, f"{problem.what}: {failed}", None, holds=False if bar else None)
    size = found[0].figures["lattice"]
    missed = [r.figures["share"] for r in found if r.figures["evaluations"] is None]
    ratios = [(r.figures["evaluations"] or size) / size for r in found]
    best = float(np.mean([r.figures["best"] for r in found])) / size
    seconds = sum(r.figures["seconds"] for r in found) / len(found)
    what = f"{problem.what}: evaluations until 99 % of the hypervolume of all {size}, as a share of them; batches of {problem.batch}, {len(found)} runs, {seconds:.1f} s each"
    if missed:
        what += f"; {len(missed)} runs stopped short at {min(missed):.1%} and count as 1"
    if bar and np.mean(ratios) > BAR:
        what += f". Missed: every weight of this lattice is a point of the front, and choosing greedily with all rewards known takes {best:.3f}"
    return Row(
        row_id,
        what,
        float(np.mean(ratios)),
        "of the lattice",
        interval=[min(ratios), max(ratios)],
        peer="greedy subset, all rewards known",
        peer_value=best,
        **(at_most(BAR, float(np.mean(ratios))) if bar else {}),
    )


def _known(name: str, found: list[Result]) -> Row:
    """When the model knows the front between the measured weights, as whoever steers a policy may ask for any of them."""
    size = found[0].figures.get("lattice")
    known = [r.figures.get("known") for r in found]
    what = f"{PROBLEMS[name].what}: evaluations until the model predicts 99 % of the hypervolume of all {size} (of predicted and true reward the lesser counts)"
    shares = [k / size for k in known if k is not None and size]
    if len(shares) < len(found):
        return Row(f"explore.{name}.{DEFAULT}.known", f"{what}; not reached before the run ended", None)
    return Row(
        f"explore.{name}.{DEFAULT}.known",
        what,
        float(np.mean(shares)),
        "of the lattice",
        interval=[min(shares), max(shares)],
    )


def _summary(groups: dict[tuple[str, str], list[Result]]) -> Row:
    """The mean over the problems of the recommended strategy; the worst is named."""

    def mean(strategy: str) -> dict[str, float]:
        return {
            name: float(
                np.mean([(r.figures["evaluations"] or r.figures["lattice"]) / r.figures["lattice"] for r in found])
            )
            for (name, by), found in groups.items()
            if by == strategy and not any(r.error for r in found)
        }

    ratios, random = mean(DEFAULT), mean("random")
    if not ratios or len(ratios) < sum(by == DEFAULT for _, by in groups):
        return Row("explore.evaluations.ratio", "a problem failed; see its row", None, holds=False)
    value, worst = float(np.mean(list(ratios.values()))), max(ratios, key=lambda n: ratios[n])
    what = f"ExpectedImprovement, mean over {', '.join(ratios)}: evaluations until 99 % of the full lattice's hypervolume; interval: best and worst problem ({worst})"
    above = [n for n in ratios if ratios[n] > BAR]
    if above:
        what += f"; {' and '.join(above)} alone above 1/3, see their rows"
    return Row(
        "explore.evaluations.ratio",
        what,
        value,
        "of the lattice",
        interval=[min(ratios.values()), max(ratios.values())],
        peer="random order",
        peer_value=float(np.mean([random[n] for n in ratios if n in random])),
        **at_most(BAR, value),
    )
