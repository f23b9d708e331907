"""Train every method in worlds whose optimum is known exactly; report the fraction of the possible gain that each reaches.

python -m benchmarks.oracle --json out.json
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.jobs import Job, Result, run_jobs
from benchmarks.oracle import dpa, lagrangian, maxmin, modpo, online, scalarizers
from benchmarks.oracle.rows import broken, gain_rows, value_row
from benchmarks.report import Row, main

METHODS = ("clp", "modpo", "dpa", "maxmin", "lagrangian", "scalarizers")
SOUP = "Rewarded Soups (exact ΔW, equal updates)"
RLOO = "one RLOO model per weight (equal updates in total)"
# In the order of their rows; each makes the jobs of one part from the parsed flags.
Plan = dict[str, list[Job]]


def plan(args: argparse.Namespace) -> Plan:
    """All trainings, by what they are for. `--quick`: one seed, β 0.3, the covered world, a few updates each."""
    quick = args.quick
    seeds = range(1 if quick else args.seeds)
    kinds = ["covered"] if quick else args.worlds
    betas = [0.3] if quick else args.betas
    steps = 60 if quick else args.steps
    every: list[dict[str, Any]] = [{"kind": k, "beta": b, "seed": seed} for k in kinds for b in betas for seed in seeds]
    first = [settings for settings in every if settings["seed"] == 0]
    few = {"steps": 30} if quick else {}
    jobs: Plan = {}

    def add(name: str, function: Callable[..., Any], settings: Sequence[dict[str, Any]], seconds: float) -> None:
        jobs[name] = [Job(function, s, seconds) for s in settings]

    if "clp" in args.methods:
        for settings in every:
            settings["steps"] = round(steps * _effort(settings["kind"], settings["beta"]))
        add("clp", online.clp, every, 0.12 * steps)
        # The peers once, at the smaller β, where there is more to gain.
        peers = [s for s in first if s["beta"] == min(betas)]
        add("soup", online.soup, peers, 0.1 * steps)
        add("one_per_weight", online.one_per_weight, peers[:1], 0.1 * steps)
    if "modpo" in args.methods:
        size = {"pairs": 2000, "steps": 20} if quick else {}
        offline = [{"kind": "covered", "beta": b, "seed": s} for b in betas for s in seeds if b == max(betas) or s == 0]
        if "rare" in kinds:
            offline.append({"kind": "rare", "beta": max(betas), "seed": 0})
        drawn = {"kind": "covered", "beta": max(betas), "seed": 0, "label_source": "data"}
        single = [{"kind": "covered", "beta": max(betas), "seed": 0}]
        add("modpo_steerable", modpo.steerable, [{**s, **size} for s in offline], 4 if quick else 80)
        add("modpo_drawn", modpo.steerable, [{**drawn, **size}], 4 if quick else 80)
        add("modpo", modpo.one_per_weight, [{**s, **size} for s in single], 20 if quick else 140)
    if "dpa" in args.methods:
        small = {"prompts_per_round": 256, "epochs_per_round": 1} if quick else {}
        for told, objectives, some in (("prompt", 2, seeds), ("adapter_mixture", 3, seeds[:1])):
            settings_of = [{"conditioning": told, "objectives": objectives, **small, "seed": s} for s in some]
            add(f"dpa.{told}", dpa.dpa, settings_of, 5 if quick else 55)
    if "maxmin" in args.methods:
        add("maxmin", maxmin.maxmin, [{"beta": min(betas), "seed": s, **few} for s in seeds], 4 if quick else 45)
        add("groups", maxmin.groups, [{"seed": s, **({"pairs": 1000} if quick else {})} for s in seeds], 15)
    if "lagrangian" in args.methods:
        # Two constraints with one seed, one constraint with the others.
        settings_of = [{"problem": "one" if s else "two", "beta": 0.3, "seed": s, **few} for s in seeds]
        add("lagrangian", lagrangian.lagrangian, settings_of, 4 if quick else 45)
    if "scalarizers" in args.methods:
        updates = 10 if quick else 100
        named = [{"name": name, "beta": 0.3, "steps": updates, "seed": 0} for name in scalarizers.SCALARIZERS]
        add("scalarizers", scalarizers.scalarized, named, 0.1 * updates)
    return jobs


def _effort(kind: str, beta: float) -> float:
    """How many updates a cell takes, relative to the covered world at β 0.3.

    A rare reward is worth so much that fewer show as much of the gain; a larger β leaves less to gain and as much noise (0.989 after 1000 updates, 0.991 after 1400).
    """
    if kind == "rare":
        return 0.65
    return 1.3 if beta >= 1 else 1.0


def rows_of(found: dict[str, list[Result]]) -> Iterator[Row]:
    """The rows of everything that was trained."""
    if "clp" in found:
        peers = {SOUP: found["soup"], RLOO: found["one_per_weight"]}
        yield from gain_rows("clp", found["clp"], peers, (0.99, 0.95), "CLP, one steerable policy")
        yield from gain_rows("soup", found["soup"], {}, None, SOUP)
        yield from gain_rows("rloo", found["one_per_weight"], {}, None, RLOO)
    if "modpo" in found:
        yield from _modpo_rows(found["modpo"], found["modpo_steerable"], found["modpo_drawn"])
    yield from _dpa_rows(found)
    if "maxmin" in found:
        yield from _maxmin_rows(found)
    if "lagrangian" in found:
        yield from _lagrangian_rows(found["lagrangian"])
    for result in found.get("scalarizers", ()):
        name = result.job.settings["name"]
        if result.error:
            yield from broken([result], f"scalarizer.{name}")
            continue
        judge = "its own values" if scalarizers.SCALARIZERS[name][3] else "the weighted sum"
        text = f"one policy, covered, β 0.3, {result.figures['updates']} updates in {result.seconds:.0f} s; gain in {judge}"
        text += scalarizers.NOTES.get(name, "")
        yield Row(f"scalarizer.{name}.gain", text, result.figures["gain"], "of the possible gain")


def _modpo_rows(one: list[Result], steerable: list[Result], drawn: list[Result]) -> Iterator[Row]:
    told = "labelled by the reward's Bradley-Terry probability (label_source reward)"
    what = f"MODPO, one model per weight (at a corner: DPO), {_pairs(one)} {told}"
    yield from gain_rows("modpo", one, {}, (0.98, None), what)
    peers = {"one MODPO model per weight": one}
    what = f"MODPO, one steerable policy, {_pairs(steerable)} {told}"
    # The bars are for the larger β: the smaller one asks for more than pairs from the reference show.
    largest = max(r.job.settings["beta"] for r in steerable)
    yield from gain_rows("modpo_steerable", steerable, peers, (0.97, 0.93), what, judged=[f"covered.beta{largest:g}"])
    what = f"MODPO, one steerable policy, {_pairs(drawn)} with one drawn label per objective"
    note = (
        "the labels' noise: the same pairs, updates and seed reach modpo_steerable.gain with labels that are free of it"
    )
    yield from gain_rows("modpo_drawn", drawn, {}, (0.97, 0.93), what, note=note)


def _dpa_rows(found: dict[str, list[Result]]) -> Iterator[Row]:
    texts = {
        "dpa.prompt": ("dpa.bon_ratio", "told in the prompt, two objectives as in the paper"),
        "dpa.adapter_mixture": ("dpa.bon_ratio.mixture", "adapter mixture, three objectives"),
    }
    for name, (row_id, told) in texts.items():
        if name not in found:
            continue
        # More rows, a larger batch, another rate and twice the rank leave the mixture's first round where it is (0.95 to 0.96): no bar is set for it.
        barred = name == "dpa.prompt"
        for number, bar in ((1, 0.97 if barred else None), (3, 1.0 if barred else None)):
            what = f"DPA, {told}: mean over 12 directions of E[v·r] over that of the exact best of {dpa.DRAWS} after round {number}"
            yield from value_row(f"{row_id}.round{number}", found[name], f"round{number}", what, "ratio", min, bar)


def _maxmin_rows(found: dict[str, list[Result]]) -> Iterator[Row]:
    done = [r for r in found["maxmin"] if r.error is None]
    peers = ""
    if done:
        by_beta = {r.job.settings["beta"]: r.figures for r in done}
        peers = "; ".join(
            f"β {beta:g}: exact optimum at equal weights {f['equal']:.3f}, under one pooled reward {f['pooled']:.3f}, group weights "
            f"{', '.join(f'{w:.3f}' for w in f['weights'])} against {', '.join(f'{w:.3f}' for w in f['worst_case'])}"
            for beta, f in by_beta.items()
        )
    what = f"MaxMin: worst group's E[r] − β KL over the exact max-min value ({peers})"
    yield from value_row("maxmin.worst_ratio", found["maxmin"], "worst_ratio", what, "ratio", min, 0.97)
    chosen = sorted({r.figures["chosen"] for r in found["groups"] if r.error is None})
    what = (
        f"EM over reward heads against the two planted groups, number chosen by held-out likelihood from 1..3: {chosen}"
    )
    yield from value_row("maxmin.rand", found["groups"], "rand", what, "adjusted Rand", min, 0.95)


def _lagrangian_rows(results: list[Result]) -> Iterator[Row]:
    problems = "covered, β 0.3, helpful with harmless ≥ 0.4, and with harmless ≥ 0.5 and brief = 0.2"
    for row_id, key, unit, worst, bar, text in (
        ("violation.max", "violation", "standard deviations", max, 0.03, "worst exact violation"),
        (
            "gain",
            "gain",
            "of the possible gain",
            min,
            0.97,
            "gain in the Lagrangian at λ*, which violating does not raise",
        ),
        ("value_ratio", "ratio", "ratio", min, 0.97, "E[helpful] − β KL over the exact constrained optimum's"),
        ("lambda_error", "lambda_error", "relative", max, 0.15, "mean λ of the last third against λ*"),
        ("oscillation", "oscillation", "of λ*", max, None, "half of max − min of λ over the last third"),
    ):
        what = f"Lagrangian, {problems}: {text}"
        # Nobody may be over the line; what is gained is a mean over seeds, as everywhere.
        yield from value_row(f"lagrangian.{row_id}", results, key, what, unit, worst, bar, judge_worst=worst is max)


def _pairs(results: Sequence[Result]) -> str:
    known = [r.figures["pairs"] for r in results if r.error is None]
    return f"{known[0]:,} pairs" if known else "no run ended"


def run(args: argparse.Namespace) -> list[Row]:
    """Every method in worlds whose optimum is known: the fraction of the possible gain that it reaches, beside its peers."""
    jobs = plan(args)
    flat = [(name, job) for name, some in jobs.items() for job in some]
    results = run_jobs([job for _, job in flat], args.workers)
    found: dict[str, list[Result]] = {name: [] for name in jobs}
    for (name, _), result in zip(flat, results, strict=True):
        found[name].append(result)
    return list(rows_of(found))


if __name__ == "__main__":
    main(
        "oracle",
        run,
        [
            ("--steps", {"type": int, "default": 1000, "help": "updates of CLP, and of its peers in total"}),
            ("--methods", {"nargs": "+", "choices": METHODS, "default": list(METHODS), "help": "which methods"}),
            (
                "--worlds",
                {"nargs": "+", "choices": list(online.WORLDS), "default": list(online.WORLDS), "help": "which worlds"},
            ),
            ("--betas", {"nargs": "+", "type": float, "default": [0.3, 1.0], "help": "which KL coefficients"}),
            ("--seeds", {"type": int, "default": 3, "help": "how many seeds"}),
            (
                "--workers",
                {"type": int, "default": None, "help": "trainings at once; as many as there are cores by default"},
            ),
        ],
    )
