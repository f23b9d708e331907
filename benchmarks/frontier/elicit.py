"""Questions until someone has the point that they like best: simulated people with linear and other utilities, a tenth of whose answers are wrong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frontier.context import Context
from benchmarks.jobs import Job, Result, run_jobs
from benchmarks.report import Row, at_least, at_most

Array = NDArray[np.float64]
WRONG = 0.1
GOOD = 0.02
QUESTIONS = 12
# Lattices of so many points for 2, 3 and 4 objectives: fronts of 11 to 66.
STEPS = {2: (10, 20, 65), 3: (4, 6, 10), 4: (3, 4, 5)}
KINDS = ("linear", "Chebyshev", "linear", "Cobb-Douglas", "linear", "CES")  # half of the people are linear
BLOCK = 12


def rows(context: Context) -> list[Row]:
    """Every simulated person is asked by our questions and by random ones, on the same front and with the same slips."""
    people = 24 if context.quick else 360
    blocks = [(start, min(start + BLOCK, people)) for start in range(0, people, BLOCK)]
    jobs = [
        Job(simulate, {"first": first, "last": last, "criterion": criterion}, cost=cost * (last - first))
        for criterion, cost in (("choice", 0.8), ("random", 0.5))
        for first, last in blocks
    ]
    results = run_jobs(jobs, what="Elicitation", keep=context.keep)
    ours, random = (_people(results[i * len(blocks) : (i + 1) * len(blocks)]) for i in (0, 1))
    return _rows(ours, random, [r.error for r in results if r.error])


def simulate(first: int, last: int, criterion: str) -> dict[str, Any]:
    """Regrets of the people with these numbers after 0, 1, ... questions."""
    return {"people": [person(number, criterion) for number in range(first, last)]}


def person(number: int, criterion: str, **settings: Any) -> dict[str, Any]:
    """One conversation. Regret is the share of their best utility that the choice lacks, where a utility begins at the worst of every objective over the front; `of_range`
    is the stricter share of the range between the front's best and worst point.
    """
    from frontier.choose.elicit import Elicitation

    rng = np.random.default_rng([20, number])
    k, kind = 2 + number % 3, KINDS[number // 3 % len(KINDS)]
    true, measured = _front(rng, k)
    utility, nothing = _utility(rng, kind, true)
    undecided, slips = rng.uniform(0.005, 0.03), rng.random(64) < WRONG
    options: dict[str, Any] = {"criterion": criterion, "max_questions": QUESTIONS, "seed": number} | settings
    talk = Elicitation(measured, **options)
    chosen = [float(utility[talk.choice().index])]
    while (question := talk.question()) is not None:
        difference = utility[question.a] - utility[question.b]
        better = "a" if (difference > 0) != slips[len(talk.history)] else "b"
        talk.answer(question, "cant_tell" if abs(difference) < undecided else better)
        chosen.append(float(utility[talk.choice().index]))
    final = talk.choice()
    return {
        "kind": kind,
        "objectives": k,
        "points": len(true),
        "regrets": [(1 - found) / (1 - nothing) for found in chosen],
        "of_range": 1 - chosen[-1],
        "expected": final.regret,
        "probability": final.probability,
    }


def _front(rng: np.random.Generator, k: int) -> tuple[Array, Array]:
    """`[n, K]` points around sum r^p = 1, from nearly flat to nearly a box, and the same in units of their own."""
    steps = int(rng.choice(STEPS[k]))
    lattice = np.array(list(np.ndindex(*[steps + 1] * k)))
    lattice = lattice[lattice.sum(axis=1) == steps] / steps
    points = lattice ** (1 / rng.uniform(1.0, 3.0)) + 0.01 * rng.standard_normal(lattice.shape)
    return points, points * np.exp(rng.normal(0, 1, k)) + rng.normal(0, 3, k)


def _utility(rng: np.random.Generator, kind: str, front: Array) -> tuple[Array, float]:
    """`[n]` from 0 (the worst point of the front) to 1 (the best), and on the same scale the utility of the worst of every objective."""
    points = np.vstack([front, front.min(axis=0)])
    weights, offset = rng.dirichlet(np.ones(points.shape[1])), rng.uniform(0.03, 0.2)
    positive = np.maximum(points, 0) + offset
    if kind == "linear":
        found = points @ weights
    elif kind == "Chebyshev":
        found = -(weights * (points.max(axis=0) + offset - points)).max(axis=1)
    elif kind == "Cobb-Douglas":
        found = np.exp(np.log(positive) @ weights)
    else:
        rho = rng.choice([-4.0, -2.0, -1.0, -0.5, 0.5])
        found = (positive**rho @ weights) ** (1 / rho)
    nothing, found = float(found[-1]), found[:-1]
    worst, best = float(found.min()), float(found.max())
    return np.asarray((found - worst) / (best - worst)), (nothing - worst) / (best - worst)


def _people(results: list[Result]) -> list[dict[str, Any]]:
    return [found for result in results for found in result.figures.get("people", [])]


def settled(person: dict[str, Any]) -> float:
    """After how many questions the choice is within 2 % for good; one more than were allowed if it never is."""
    bad = [i for i, regret in enumerate(person["regrets"]) if regret > GOOD]
    last = bad[-1] if bad else -1
    return QUESTIONS + 1.0 if last == len(person["regrets"]) - 1 else last + 1.0


def _good(people: list[dict[str, Any]]) -> float:
    return float(np.mean([p["regrets"][-1] <= GOOD for p in people])) if people else float("nan")


def _within_range(people: list[dict[str, Any]]) -> float:
    return float(np.mean([p["of_range"] <= GOOD for p in people]))


def _rows(ours: list[dict[str, Any]], random: list[dict[str, Any]], errors: list[str]) -> list[Row]:
    failed = f"; {len(errors)} blocks failed: {errors[0]}" if errors else ""
    if not ours or not random:
        return [
            Row(name, f"nobody was asked{failed}", None, bar=bar, holds=False)
            for name, bar in (("elicit.questions.p90", "<= 12"), ("elicit.regret.p90", "<= 0.02"))
        ]
    linear = [p for p in ours if p["kind"] == "linear"]
    other = [p for p in ours if p["kind"] != "linear"]
    who = (
        f"{len(ours)} simulated people, half linear, half Chebyshev, Cobb-Douglas or CES, {WRONG:.0%} wrong answers, 2 to 4 objectives, "
        f"{min(p['points'] for p in ours)} to {max(p['points'] for p in ours)} points"
    )
    shares = (
        f"within 2 % of their best at the end: {_good(ours):.1%} (linear {_good(linear):.1%}, others {_good(other):.1%}), "
        f"with random questions {_good(random):.1%}"
    )
    questions, by_random = ([settled(p) for p in people] for people in (ours, random))
    regrets, at_random = ([p["regrets"][-1] for p in people] for people in (ours, random))
    asked = float(np.mean([len(p["regrets"]) - 1 for p in ours]))
    return [
        Row(
            "elicit.questions.p90",
            f"questions until the choice is within 2 % of someone's best utility and stays there (13: not within 12), 90th percentile of {who}; asked on average "
            f"{asked:.1f}{failed}",
            _p90(questions),
            "questions",
            interval=_interval(questions),
            peer="random questions",
            peer_value=_p90(by_random),
            **at_most(QUESTIONS, _p90(questions)),
        ),
        Row(
            "elicit.regret.p90",
            f"share of someone's best utility that the choice lacks when it stops, at most 12 questions, 90th percentile; a utility begins at the worst of every objective over the front; {shares}{failed}",
            _p90(regrets),
            "of the best",
            interval=_interval(regrets),
            peer="random questions",
            peer_value=_p90(at_random),
            **at_most(GOOD, _p90(regrets)),
        ),
        Row(
            "elicit.good.share",
            f"people whose choice is within 2 % of their best utility when it stops{failed}",
            _good(ours),
            peer="random questions",
            peer_value=_good(random),
            **at_least(0.9, _good(ours)),
        ),
        Row(
            "elicit.good.share.of_range",
            "the same by a stricter measure: within 2 % of the range between the best and the worst point of the front; expected by the posterior: "
            f"{np.mean([p['probability'] for p in ours]):.1%}",
            _within_range(ours),
            peer="random questions",
            peer_value=_within_range(random),
        ),
    ]


def _p90(values: list[float]) -> float:
    """The smallest value that 90 % do not exceed."""
    return float(np.quantile(values, 0.9, method="inverted_cdf"))


def _interval(values: list[float]) -> list[float]:
    """95 % bootstrap interval of the 90th percentile over people."""
    draws = np.random.default_rng(0).choice(values, (1000, len(values)))
    return [float(q) for q in np.quantile(np.quantile(draws, 0.9, axis=1, method="inverted_cdf"), [0.025, 0.975])]
