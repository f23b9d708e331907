import json

import numpy as np
import pytest

from frontier import FrontPoint, ParetoFront
from frontier.choose.explore import ExpectedImprovement, GapFilling, explore, explorer_from_json
from frontier.errors import InputError

NAMES = ("helpful", "brief")


def circle(weights):
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


class Counted:
    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def __call__(self, weights):
        if self.fail_at is not None and len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(weights)
        return circle(weights)


def run(evaluate, explorer=None, **settings):
    explorer = explorer or GapFilling(2, epsilon=0)
    return explore(evaluate, explorer, objectives=NAMES, progress=None, **{"budget": 9, "batch": 2} | settings)


def test_returns_the_front_that_was_measured():
    front = run(Counted(), budget=5)
    assert len(front.points) == 5
    assert front.points[0].preference == {"weights": {"helpful": 1.0, "brief": 0.0}}
    np.testing.assert_allclose(front.rewards, circle(front.weights))
    info = front.info["exploration"]
    assert (info["evaluations"], info["done"]) == (5, False)
    assert info["left_to_gain"] > 0


def test_stops_when_the_explorer_is_done():
    front = run(Counted(), GapFilling(2, epsilon=0.2), budget=1000)
    assert front.info["exploration"]["done"]
    assert len(front.points) < 20


@pytest.mark.parametrize(
    "make", [lambda: GapFilling(2, epsilon=0), lambda: ExpectedImprovement(2, candidates=20, epsilon=0)]
)
def test_a_killed_run_goes_on_and_evaluates_nothing_twice(tmp_path, make):
    whole = run(Counted(), make())
    first, second = Counted(fail_at=3), Counted()
    with pytest.raises(KeyboardInterrupt):
        run(first, make(), kept=tmp_path / "kept.jsonl")
    front = run(second, make(), kept=tmp_path / "kept.jsonl")
    assert front == whole
    assert sum(map(len, first.calls)) + sum(map(len, second.calls)) == 9
    again = run(Counted(fail_at=0), make(), kept=tmp_path / "kept.jsonl")  # all is there
    assert again == whole


def test_a_torn_last_line_is_measured_again(tmp_path):
    kept = tmp_path / "kept.jsonl"
    whole = run(Counted(), kept=kept)
    text = kept.read_text()
    kept.write_text(text[: len(text) - 20])
    evaluate = Counted()
    assert run(evaluate, kept=kept) == whole
    assert len(evaluate.calls) == 1
    assert kept.read_text() == text


def test_an_explorer_from_its_state_is_not_told_twice(tmp_path):
    explorer = GapFilling(2, epsilon=0)
    run(Counted(), explorer, kept=tmp_path / "kept.jsonl", budget=6)
    front = run(Counted(), explorer_from_json(explorer.to_json()), kept=tmp_path / "kept.jsonl", budget=8)
    assert len(front.points) == 8
    assert front == run(Counted(), budget=8)


def test_standard_errors_and_points_are_kept():
    front = run(lambda w: (circle(w), np.full_like(w, 0.01)), n_prompts=64)
    assert (front.standard_errors == 0.01).all()
    assert front.points[0].n_prompts == 64

    def points(weights):
        return [FrontPoint(tuple(r), (0.1, float("nan")), 8, kl=0.5, source="soup") for r in circle(weights)]

    front = run(points)
    assert front.points[3].kl == 0.5
    assert np.isnan(front.points[3].standard_error[1])


def test_one_unknown_error_leaves_the_others_known():
    def points(weights):
        return [FrontPoint(tuple(r), (0.1, 0.1 if i else float("nan")), 8) for i, r in enumerate(circle(weights))]

    explorer = GapFilling(2, epsilon=0)
    run(points, explorer, budget=2)
    np.testing.assert_array_equal(explorer.measured.errors, [[0, 0], [0.1, 0.1]])


def test_nothing_is_told_of_a_batch_with_a_row_of_another_length():
    explorer = GapFilling(2, epsilon=0)
    with pytest.raises(InputError, match="result 1 must have one reward for each of the 2 objectives, found 3"):
        run(lambda w: [FrontPoint((1, 0), (0, 0), 8), FrontPoint((0, 1, 2), (0, 0, 0), 8)], explorer)
    assert explorer.to_json()["told"] == []
    with pytest.raises(InputError, match="as many standard errors as rewards, found 1 and 2"):
        run(lambda w: (circle(w), [[0.1, 0.1]]), GapFilling(2, epsilon=0))


def test_the_error_of_weights_that_were_told_twice_without_errors_is_not_known():
    explorer = GapFilling(2, epsilon=0.5)
    explorer.tell([[1, 0], [0, 1], [1, 0], [0, 1]], [[1, 0], [0, 1], [1.2, 0], [0, 1]], unasked=True)
    front = run(Counted(), explorer, budget=4)
    assert np.isnan(front.standard_errors).all()
    np.testing.assert_allclose(front.rewards, [[1.1, 0], [0, 1]])
    known = GapFilling(2, epsilon=0.5)
    known.tell([[1, 0], [0, 1], [1, 0]], [[1, 0], [0, 1], [1.2, 0]], np.full((3, 2), 0.1), unasked=True)
    np.testing.assert_allclose(run(Counted(), known, budget=3).standard_errors[0], 0.1 / np.sqrt(2))


def test_what_waits_does_not_exceed_the_budget():
    explorer, evaluate = ExpectedImprovement(2, candidates=20), Counted()
    explorer.ask(5)
    assert len(run(evaluate, explorer, budget=2, batch=5).points) == 2
    assert [len(rows) for rows in evaluate.calls] == [2]


def test_equal_measurements_of_one_weight_are_each_told(tmp_path):
    def evaluate(weights):
        return circle(weights), np.full_like(weights, 0.05)

    def make():
        return ExpectedImprovement(2, candidates=2, start=2, repeats=3, epsilon=0)

    explorer = make()
    run(evaluate, explorer, budget=3, batch=1)
    whole = run(evaluate, make(), budget=9, batch=1, kept=tmp_path / "kept.jsonl")
    assert whole.info["exploration"]["evaluations"] > len(whole.points)
    restored, again = explorer_from_json(explorer.to_json()), Counted()
    assert run(again, restored, budget=9, batch=1, kept=tmp_path / "kept.jsonl") == whole
    assert again.calls == []  # all is in the file


@pytest.mark.parametrize("content", ['{"important": 1}', "x", '{"schema": "frontier.exploration", "kind": "support"'])
def test_a_file_of_something_else_is_not_overwritten(tmp_path, content):
    kept = tmp_path / "kept.jsonl"
    kept.write_text(content)
    with pytest.raises(InputError, match="something else than results of this exploration"):
        run(Counted(), kept=kept)
    assert kept.read_text() == content


def test_a_torn_first_line_is_written_again(tmp_path):
    kept = tmp_path / "kept.jsonl"
    whole = run(Counted(), kept=kept)
    text = kept.read_text()
    for length in (0, 20, text.index("\n")):
        kept.write_text(text[:length])
        assert run(Counted(), kept=kept) == whole
        assert kept.read_text() == text


def test_soups_keep_their_coefficients(tmp_path):
    explorer = ExpectedImprovement(3, 2, candidates=4, epsilon=0)
    front = run(lambda w: np.column_stack([w[:, 0], w[:, 1]]), explorer)
    assert sum(front.points[0].extra["coefficients"]) == pytest.approx(1)
    assert front.points[0].preference is None
    assert ParetoFront.load(front.save(tmp_path / "front.json")) == front


def test_refusals(tmp_path):
    kept = tmp_path / "kept.jsonl"
    with pytest.raises(InputError, match="2 objectives, found 1"):
        explore(circle, GapFilling(2), objectives=["helpful"], budget=3)
    with pytest.raises(InputError, match="one result for each of the 2 weights, found 1"):
        run(lambda w: circle(w)[:1])
    with pytest.raises(InputError, match="not finite"):
        run(lambda w: circle(w) * np.nan)
    with pytest.raises(InputError, match="budget and batch"):
        run(circle, budget=0)
    run(circle, kept=kept)
    with pytest.raises(InputError, match="line 1: the results are of another exploration"):
        run(circle, GapFilling(2, epsilon=0.5), kept=kept)
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join([lines[0], json.dumps({"weights": [[1, 0]]}), *lines[2:]]) + "\n")
    with pytest.raises(InputError, match="line 2: not a result"):
        run(circle, kept=kept)
    for points in ([], [{"rewards": [1, 0, 0], "standard_error": [0, 0, 0], "n_prompts": 1}]):
        kept.write_text("\n".join([lines[0], json.dumps({"weights": [[1, 0]], "points": points})]) + "\n")
        with pytest.raises(InputError, match="line 2: not a result"):
            run(circle, kept=kept)
