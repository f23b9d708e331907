"""The parts of the reward benchmark that decide what its figures mean: splits, comparisons, labels that are dropped, the rows."""

import json

import numpy as np
import pytest
import torch

from benchmarks.reward_heads.accuracy import Measured, _objective_rows, _summary, share_of_documents
from benchmarks.reward_heads.missing import _rows_of
from benchmarks.reward_heads.sets import SETS, RealSet, _connected, comparisons, load_set, texts_of
from benchmarks.reward_heads.training import POOLED, pooled, without_labels


def rating(document, completion, **scores):
    return {"document": document, "prompt": "p ", "completion": completion, "scores": scores}


def pair(document, a, b, **labels):
    return {"document": document, "prompt": "p ", "completion_a": a, "completion_b": b, "labels": labels}


def oriented(found, texts):
    """Winner and loser of each comparison, whichever way round it was drawn."""
    return {
        (texts[a][1], texts[b][1]) if label == 1 else (texts[b][1], texts[a][1])
        for a, b, label in zip(found.a, found.b, found.label, strict=True)
    }


def test_comparisons_of_ratings_stay_within_a_document():
    rows = [rating("d1", "x", k=1.0), rating("d1", "y", k=3.0), rating("d1", "z", k=3.0), rating("d2", "u", k=2.0)]
    real = RealSet("set", ("k",), rows)
    found = comparisons(real, rows, "k")
    assert oriented(found, texts_of(rows)) == {("y", "x"), ("z", "x")}  # y and z are rated alike, u stands alone
    assert set(found.document) == {"d1"}


def test_comparisons_across_documents_where_asked_for():
    rows = [rating(f"d{i}", f"text {i}", k=float(i)) for i in range(5)]
    found = comparisons(RealSet("set", ("k",), rows, across=("k",)), rows, "k")
    texts = texts_of(rows)
    assert len(found.a) > 0
    assert all(int(w.split()[1]) > int(loser.split()[1]) for w, loser in oriented(found, texts))


def test_comparisons_of_pairs_leave_ties_and_others_out():
    rows = [
        pair("d", "a", "b", k=1.0),
        pair("d", "a", "c", k=0.5),
        pair("d", "c", "b", k=0.0),
        pair("d", "a", "e", j=1.0),
    ]
    assert oriented(comparisons(RealSet("set", ("k",), rows), rows, "k"), texts_of(rows)) == {("a", "b"), ("b", "c")}


def test_orders_are_drawn_so_that_no_side_wins():
    rows = [pair(f"d{i}", f"a{i}", f"b{i}", k=1.0) for i in range(400)]
    label = comparisons(RealSet("set", ("k",), rows), rows, "k").label
    assert 0.4 < sum(label) / 400 < 0.6


def test_folds_share_no_document_and_test_on_different_ones():
    rows = [rating(f"d{i}", f"t{i} {j}", k=float(j)) for i in range(20) for j in range(3)]
    splits = list(RealSet("set", ("k",), rows, folds=3).splits())
    tested = []
    for split in splits:
        parts = [{row["document"] for row in part} for part in (split.train, split.calibration, split.test)]
        assert not (parts[0] & parts[1])
        assert not (parts[0] & parts[2])
        assert not (parts[1] & parts[2])
        assert [len(part) for part in parts] == [12, 3, 5]
        tested.append(parts[2])
    assert not (tested[0] & tested[1])
    assert not (tested[1] & tested[2])
    assert not (tested[0] & tested[2])


def test_pooled_labels_are_means_of_standardised_ones():
    rows = [rating("d", "x", k=1.0, j=10.0), rating("d", "y", k=3.0, j=30.0), pair("d", "x", "y", k=1.0, j=0.0)]
    found = pooled(rows)
    assert [row.get("scores", row.get("labels")) for row in found] == [{POOLED: -1.0}, {POOLED: 1.0}, {POOLED: 0.5}]


def test_dropping_labels_touches_one_objective_only():
    rows = [rating(f"d{i}", f"t{i}", k=1.0, j=2.0) for i in range(50)]
    found = without_labels(rows, "k", 0.2, seed=1)
    assert sum(row["scores"]["k"] is not None for row in found) == 10
    assert all(row["scores"]["j"] == 2.0 for row in found)
    assert all(row["scores"]["k"] == 1.0 for row in rows)  # the rows that were given stay as they were


def measured(khead, single, n=100):
    found = Measured(
        labels=[torch.tensor([1.0, 0.0] * (n // 2))],
        documents=[str(i // 5) for i in range(n)],
        others=[str(i // 5) for i in range(n)],
    )
    for model, share in (("khead", khead), ("single", single)):
        right = torch.zeros(n)
        right[: round(share * n)] = 1
        found.right[model].append(right)
    return found


def test_rows_hold_against_the_majority():
    rows = {row.id: row for row in _objective_rows("set", "k", measured(0.8, 0.4))}
    assert rows["set.k.accuracy.majority"].value == 0.5
    assert rows["set.k.accuracy.khead"].value == pytest.approx(0.8)
    assert rows["set.k.accuracy.khead"].holds
    assert not rows["set.k.accuracy.single"].holds
    low, high = rows["set.k.accuracy.khead"].interval
    assert low < 0.8 < high


@pytest.mark.parametrize(("khead", "holds"), [(0.70, True), (0.64, False)])
def test_the_summary_allows_one_point_and_a_third_more_cost(khead, holds):
    by = {("set", "k"): measured(khead, 0.70), ("set", "j"): measured(0.70, 0.70)}
    seconds = {"set": {"khead": 10.0, "single": 16.0, "probe": 1.0, "pooled": 9.0}}
    rows = {row.id: row for row in _summary(by, seconds, {"set": RealSet("set", ("k", "j"), [])})}
    assert rows["khead.minus_single.mean"].value == pytest.approx(100 * (khead - 0.70) / 2, abs=1e-4)
    assert rows["khead.minus_single.mean"].holds is holds
    assert rows["khead.cost_ratio"].value == pytest.approx(1.25)  # 2 · 10 / 16
    assert rows["khead.cost_ratio"].holds


def test_intervals_over_documents_know_both_texts():
    rng = np.random.default_rng(0)
    documents = [str(i) for i in range(40) for _ in range(6)]
    others = [str(rng.integers(40)) for _ in documents]
    # Each text is easy or hard: comparisons that share one go together, whichever side it stands on.
    easy = {str(i): rng.normal() for i in range(40)}
    right = torch.tensor([float(easy[a] + easy[b] > 0) for a, b in zip(documents, others, strict=True)])
    value, low, high = share_of_documents(right, documents, others)
    _, narrow_low, narrow_high = share_of_documents(right, documents, documents)
    assert low < value < high
    assert high - low > 1.2 * (narrow_high - narrow_low)
    assert share_of_documents(torch.ones(240), documents, others) == (1.0, 1.0, 1.0)


def test_finished_jobs_are_not_run_again(tmp_path):
    from benchmarks.jobs import Job, Result, _kept, _place
    from frontier.atomic import write_text

    job = Job(comparisons, {"name": "a", "objectives": ("k", "j")}, 1.0)
    assert _kept(job, tmp_path) is None
    write_text(_place(job, tmp_path), json.dumps({"figures": {"x": 1.0}, "seconds": 2.0}))
    assert _kept(job, tmp_path) == Result(job, {"x": 1.0}, 2.0)
    assert _kept(Job(comparisons, {"name": "b", "objectives": ("k", "j")}, 1.0), tmp_path) is None
    assert _kept(job, None) is None


def test_inputs_that_share_an_output_are_one_document():
    names = _connected([("s1", "same"), ("s2", "same"), ("s2", "other"), ("s3", "other"), ("s4", "own")])
    assert len({names[0], names[1], names[2], names[3]}) == 1
    assert names[4] != names[0]


def test_missing_label_rows_compare_falls_over_seeds():
    accuracy = {
        ("set", "k", True, None): [80.0, 82.0],
        ("set", "k", True, "k"): [78.0, 79.0],
        ("set", "k", False, None): [80.0, 81.0],
        ("set", "k", False, "k"): [70.0, 72.0],
        ("set", "j", True, None): [75.0, 76.0],
        ("set", "j", True, "k"): [75.5, 76.5],
    }
    rows = {row.id: row for row in _rows_of("set", ("k", "j"), accuracy)}
    assert rows["missing.set.k.fall"].value == pytest.approx(2.5)
    assert rows["missing.set.k.fall"].peer_value == pytest.approx(9.5)
    assert rows["missing.set.k.fall"].holds
    assert rows["missing.set.k.moves.j"].value == pytest.approx(-0.5)
    assert rows["missing.set.k.moves.j"].holds


def test_every_real_set_has_comparisons_for_every_objective(shared_data):
    for name in SETS:
        real = load_set(shared_data, name)
        assert len(real.objectives) >= 2
        for split in real.splits():
            for objective in real.objectives:
                assert len(comparisons(real, split.test, objective).a) >= 30, (name, objective)
