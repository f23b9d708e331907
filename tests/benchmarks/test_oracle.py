"""The rows of the oracle benchmark, from hand-made results; the trainings themselves are what the benchmark measures."""

import argparse

import pytest

from benchmarks.jobs import Job, Result, run_job, run_jobs
from benchmarks.oracle.__main__ import METHODS, plan, rows_of
from benchmarks.oracle.rows import gain_rows, value_row


def clp(**settings):  # stands for a training
    return {"gains": [0.5], "updates": 1}


def fails(**settings):
    raise RuntimeError("out of luck")


def result(gains, kind="covered", beta=0.3, seed=0, error=None):
    job = Job(clp, {"kind": kind, "beta": beta, "seed": seed}, 1.0)
    return Result(job, {"gains": gains, "updates": 7} if error is None else {}, 2.0, error)


def flags(**changes):
    defaults = {
        "quick": False,
        "seeds": 3,
        "worlds": ["covered", "rare"],
        "betas": [0.3, 1.0],
        "steps": 1000,
        "methods": list(METHODS),
    }
    return argparse.Namespace(**defaults | changes)


def test_the_bar_judges_the_worst_world():
    results = [
        result([0.9, 1.0], seed=0),
        result([0.8, 1.0], seed=1),
        result([0.99, 0.99], kind="rare"),
    ]
    rows = {row.id: row for row in gain_rows("clp", results, {}, (0.99, 0.7), "CLP")}
    assert rows["clp.gain.mean"].value == pytest.approx(0.925)
    assert rows["clp.gain.mean"].interval == pytest.approx([0.9, 0.95])
    assert rows["clp.gain.mean"].holds is False
    assert rows["clp.gain.min"].value == pytest.approx(0.85)  # the mean over seeds of their minima
    assert rows["clp.gain.min"].holds is True
    assert rows["clp.gain.mean.rare.beta0.3"].value == pytest.approx(0.99)
    assert rows["clp.gain.mean.rare.beta0.3"].bar is None
    assert "2 seeds" in rows["clp.gain.mean.covered.beta0.3"].what


def test_worlds_may_be_reported_without_being_judged():
    results = [result([0.98]), result([0.1], kind="rare")]
    rows = {row.id: row for row in gain_rows("modpo", results, {}, (0.97, None), "MODPO", judged=["covered.beta0.3"])}
    assert rows["modpo.gain.mean"].value == pytest.approx(0.98)
    assert rows["modpo.gain.mean"].holds is True
    assert rows["modpo.gain.min"].bar is None
    assert rows["modpo.gain.mean.rare.beta0.3"].value == pytest.approx(0.1)


def test_peers_stand_in_their_own_cell():
    peers = {"soup": [result([0.4, 0.6])], "one model": [result([0.7, 0.9])]}
    rows = {row.id: row for row in gain_rows("clp", [result([1.0]), result([1.0], beta=1.0)], peers, None, "CLP")}
    own = rows["clp.gain.mean.covered.beta0.3"]
    assert (own.peer, own.peer_value) == ("soup", 0.5)
    assert "one model: 0.800 (7 updates, 2 s)" in own.what
    assert rows["clp.gain.mean.covered.beta1"].peer is None


def test_a_broken_training_is_a_row_that_does_not_hold():
    rows = gain_rows("clp", [result([], error="RuntimeError: x")], {}, (0.99, 0.95), "CLP")
    assert [(row.id, row.holds) for row in rows] == [("clp.gain", False)]
    assert "covered.beta0.3: failed: RuntimeError: x" in rows[0].what


def test_a_value_is_judged_by_its_mean_or_by_its_worst():
    results = [Result(Job(clp, {"seed": s}, 1.0), {"violation": v, "updates": 1}) for s, v in enumerate((0.01, 0.04))]
    mean = value_row("v", results, "violation", "violation", "sd", max, 0.03)[0]
    assert (mean.value, mean.holds) == (pytest.approx(0.025), True)
    worst = value_row("v", results, "violation", "violation", "sd", max, 0.03, judge_worst=True)[0]
    assert (worst.value, worst.holds) == (pytest.approx(0.04), False)


def test_jobs_come_back_in_order_and_failures_are_results():
    results = run_jobs([Job(clp, {}, 1.0), Job(fails, {}, 3.0), Job(clp, {"seed": 2}, 2.0)], workers=1)
    assert [r.error for r in results] == [None, "RuntimeError: out of luck", None]
    assert results[0].figures == {"gains": [0.5], "updates": 1}
    assert run_job(Job(fails, {}, 1.0)).error == "RuntimeError: out of luck"


def test_the_plan_covers_both_worlds_both_temperatures_and_three_seeds():
    jobs = plan(flags())
    cells = {(j.settings["kind"], j.settings["beta"], j.settings["seed"]) for j in jobs["clp"]}
    assert len(cells) == len(jobs["clp"]) == 12
    assert {j.settings["kind"] for j in jobs["modpo_steerable"]} == {"covered", "rare"}
    assert len(jobs["dpa.prompt"]) == len(jobs["maxmin"]) == len(jobs["groups"]) == 3
    quick = plan(flags(quick=True))
    assert quick.keys() == jobs.keys()
    assert all(len(some) <= 9 for some in quick.values())


def test_row_ids_are_stable():
    """What others look up by id must not change its name."""
    figures = {
        "gains": [1.0],
        "updates": 1,
        "pairs": 1,
        "round1": 1.0,
        "round3": 1.0,
        "worst_ratio": 1.0,
        "equal": 1.0,
        "pooled": 0.0,
        "weights": [1.0],
        "worst_case": [1.0],
        "rand": 1.0,
        "chosen": 2,
        "violation": 0.0,
        "gain": 1.0,
        "ratio": 1.0,
        "lambda_error": 0.0,
        "oscillation": 0.0,
    }
    found = {name: [Result(job, figures) for job in some] for name, some in plan(flags()).items()}
    ids = {row.id for row in rows_of(found)}
    assert ids >= {
        *("clp.gain.mean", "clp.gain.min", "modpo.gain.mean", "modpo_steerable.gain.mean", "modpo_steerable.gain.min"),
        *("soup.gain.mean", "dpa.bon_ratio.round1", "dpa.bon_ratio.round3", "maxmin.worst_ratio", "maxmin.rand"),
        *("lagrangian.violation.max", "lagrangian.gain", "lagrangian.lambda_error", "lagrangian.oscillation"),
    }
    assert len([i for i in ids if i.startswith("scalarizer.")]) == 9
    rows = {row.id: row for row in rows_of(found)}
    assert all(row.holds for row in rows.values() if row.bar)
