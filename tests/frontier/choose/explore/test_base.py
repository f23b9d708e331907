import json

import numpy as np
import pytest

from frontier.choose.explore import (
    ExpectedImprovement,
    GapFilling,
    LinearSupport,
    NoisyImprovement,
    explorer_from_json,
)
from frontier.errors import InputError


def circle(weights):
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


MAKERS = {
    "gaps": lambda: GapFilling(2, epsilon=0),
    "gaps3": lambda: GapFilling(3, epsilon=0),
    "support": lambda: LinearSupport(2, epsilon=0),
    "support3": lambda: LinearSupport(3, epsilon=0),
    "improvement": lambda: ExpectedImprovement(2, candidates=20, epsilon=0),
    "improvement3": lambda: ExpectedImprovement(3, candidates=5, epsilon=0, seed=3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_json_at_every_step_asks_the_same(name):
    explorer = MAKERS[name]()
    for step in range(5):
        twin = explorer_from_json(json.dumps(explorer.to_json()))
        assert type(twin) is type(explorer)
        assert twin.to_json() == explorer.to_json()
        asked, again = explorer.ask(3), twin.ask(3)
        np.testing.assert_array_equal(asked, again)
        # Also while some wait: tell a part only.
        errors = np.full_like(circle(asked), 0.001)
        explorer.tell(asked[:2], circle(asked[:2]), errors[:2])
        twin = explorer_from_json(json.dumps(explorer.to_json()))
        assert twin.bound() == explorer.bound()
        np.testing.assert_array_equal(explorer.ask(1), twin.ask(1)), step
        waiting = explorer.pending
        explorer.tell(waiting, circle(waiting))


@pytest.mark.parametrize("name", MAKERS)
def test_never_asks_twice(name):
    explorer, seen = MAKERS[name](), set()
    while len(seen) < 20 and not explorer.done:
        for row in explorer.ask(4):
            assert tuple(row) not in seen
            assert row.min() >= 0
            assert row.sum() == pytest.approx(1, abs=1e-9)
            seen.add(tuple(row))
        explorer.tell(explorer.pending, circle(explorer.pending))
    assert len(seen) >= 15


def test_tells_in_another_order_and_in_parts():
    explorer = GapFilling(2)
    first, second = explorer.ask(2)
    explorer.tell([second], [[0, 1]])
    np.testing.assert_array_equal(explorer.pending, [first])
    explorer.tell([first], [[1, 0]])
    np.testing.assert_array_equal(explorer.measured.weights, [[0, 1], [1, 0]])


def test_repeated_measurements_are_weighted_by_precision():
    explorer = GapFilling(2)
    explorer.tell([[1, 0], [1, 0]], [[0, 4], [3, 4]], [[1.0, 1], [0.5, 1]], unasked=True)
    known = explorer.measured
    np.testing.assert_allclose(known.rewards, [[2.4, 4]])  # (1 * 0 + 4 * 3) / 5
    np.testing.assert_allclose(known.errors, [[1 / np.sqrt(5), 1 / np.sqrt(2)]])
    assert known.times.tolist() == [2]


@pytest.mark.parametrize(
    ("weights", "rewards", "errors", "message"),
    [
        ([[1, 0]], [[np.nan, 0]], None, "row 0 of the rewards is not finite"),
        ([[1, 0]], [[1, 0, 0]], None, "rewards must have 2 columns, found 3"),
        ([[1, 0, 0]], [[1, 0]], None, "weights must have 2 columns, found 3"),
        ([[1, 0], [0, 1]], [[1, 0]], None, "one row each, found 2 weights, 1 rewards"),
        ([[1, 0]], [[1, 0]], [[-1, 0]], "at least 0"),
        ([[0.5, 0.5]], [[1, 0]], None, "was not asked"),
        ([[1, 0], [1, 0]], [[1, 0], [1, 0]], None, "row 1 of the weights"),
        ([[0.7, 0.7]], [[1, 0]], None, "must sum to 1"),
    ],
)
def test_refuses_bad_results_and_takes_nothing_in(weights, rewards, errors, message):
    explorer = GapFilling(2)
    explorer.ask(2)
    before = explorer.to_json()
    with pytest.raises(InputError, match=message):
        explorer.tell(weights, rewards, errors)
    assert explorer.to_json() == before


def test_refuses_to_ask_when_done():
    explorer = LinearSupport(2)
    explorer.tell([[1, 0], [0, 1]], [[1, 1], [1, 1]], unasked=True)
    assert explorer.done
    with pytest.raises(InputError, match="nothing left to ask: 2 weights were measured"):
        explorer.ask()


@pytest.mark.parametrize(
    "make",
    [
        lambda: GapFilling(1),
        lambda: GapFilling(2, epsilon=-1),
        lambda: GapFilling(2, epsilon=float("nan")),
        lambda: GapFilling(2, 1),
        lambda: GapFilling(2, resolution=0),
        lambda: GapFilling(2, confidence=-1),
        lambda: LinearSupport(3, 2),
        lambda: ExpectedImprovement(2, candidates=[[1, 0], [1, 0]]),
        lambda: ExpectedImprovement(2, candidates=[[1, 0]]),
        lambda: ExpectedImprovement(2, seed=-1),
        lambda: ExpectedImprovement(2, start=1),
        lambda: GapFilling(2).ask(0),
        lambda: GapFilling(2.0),
        lambda: GapFilling(np.array([2, 3])),
        lambda: GapFilling(2, epsilon=None),
        lambda: GapFilling(2, epsilon="0.1"),
        lambda: GapFilling(2, epsilon=True),
        lambda: GapFilling(2, confidence=None),
        lambda: GapFilling(2, resolution="fine"),
        lambda: LinearSupport(2, confidence=None),
        lambda: ExpectedImprovement(2, start=4.0),
        lambda: ExpectedImprovement(2, start=True),
        lambda: ExpectedImprovement(2, start="4"),
        lambda: ExpectedImprovement(2, candidates=True),
        lambda: ExpectedImprovement(2, candidates=10.0),
        lambda: ExpectedImprovement(2, candidates="10"),
    ],
)
def test_refuses_bad_settings(make):
    with pytest.raises(InputError):
        make()


def test_numbers_of_numpy_are_numbers_in_the_state():
    counts = {"candidates": np.int32(10), "start": np.int64(4), "repeats": np.uint8(1), "seed": np.int64(3)}
    explorer = ExpectedImprovement(np.int64(2), epsilon=np.float32(0.5), **counts)
    assert len(explorer.candidates) == 11
    twin = explorer_from_json(json.dumps(explorer.to_json()))
    assert twin.to_json() == explorer.to_json()
    np.testing.assert_array_equal(twin.ask(4), explorer.ask(4))


@pytest.mark.parametrize(
    "make", [lambda: GapFilling(2), lambda: LinearSupport(2), lambda: ExpectedImprovement(2, candidates=9)]
)
def test_equal_rewards_beyond_rounding_leave_nothing_to_gain(make):
    explorer = make()
    while not explorer.done:
        asked = explorer.ask(3)
        explorer.tell(asked, np.full_like(asked, 1e18))
    assert explorer.bound().value == 0


def test_refuses_other_states():
    state = GapFilling(2).to_json()
    with pytest.raises(InputError, match="state of a 'gaps' explorer"):
        LinearSupport.from_json(state)
    with pytest.raises(InputError, match="did you mean 'gaps'"):
        explorer_from_json(state | {"kind": "gap"})
    with pytest.raises(InputError, match="newer"):
        explorer_from_json(state | {"schema_version": 2})
    with pytest.raises(InputError, match="not JSON"):
        explorer_from_json("{")
    with pytest.raises(InputError, match="schema must be"):
        explorer_from_json({})


def test_says_what_to_install_without_botorch(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "botorch", None)
    with pytest.raises(InputError, match=r"moalign\[explore\]"):
        NoisyImprovement(2)
