import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from moalign.preference import Preference
from moalign.serving.access import Caller, Range
from moalign.serving.request import FieldError
from moalign.serving.users.allowed import known_preference, nearest_allowed
from moalign.serving.users.book import UserBook
from moalign.serving.users.database import Database
from moalign.serving.users.store import Judgement, UserStore
from moalign.serving.users.taste import Learner


def test_by_hand():
    weights = {"a": 0.7, "b": 0.3, "safe": 0.0}
    found = nearest_allowed(weights, {"safe": Range(min=0.2)})
    assert found == pytest.approx({"a": 0.6, "b": 0.2, "safe": 0.2})
    assert nearest_allowed(weights, {"a": Range(max=0.5)}) == pytest.approx({"a": 0.5, "b": 0.4, "safe": 0.1})
    assert nearest_allowed(weights, {}) == pytest.approx(weights)


def test_ranges_that_no_weights_satisfy_change_nothing():
    weights = {"a": 0.7, "b": 0.3}
    for ranges in (
        {"a": Range(min=2)},
        {"a": Range(min=0.6), "b": Range(min=0.6)},
        {"a": Range(max=0.1), "b": Range(max=0.1)},
    ):
        assert nearest_allowed(weights, ranges) == weights


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 0.3), st.floats(0.4, 1))
def test_the_projection_is_that_of_a_solver(values, low, high):
    total = sum(values)
    weights = np.full(3, 1 / 3) if total == 0 else np.array(values) / total
    ranges = {"a": Range(min=low), "b": Range(max=high)}
    found = np.array(list(nearest_allowed(dict(zip("abc", weights.tolist(), strict=True)), ranges).values()))
    assert found.sum() == pytest.approx(1, abs=1e-9)
    solved = minimize(
        lambda v: ((v - weights) ** 2).sum(), np.full(3, 1 / 3), bounds=[(low, 1), (0, high), (0, 1)],
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1}, options={"ftol": 1e-14},
    )  # fmt: skip
    assert ((found - weights) ** 2).sum() <= solved.fun + 1e-7


def test_a_direction_that_a_key_forbids_is_not_known():
    """Its answers are then made as for a user who is not known, and not refused for ever."""
    book = UserBook(UserStore(Database("sqlite://")), Learner(("helpful", "safe")), kind="direction")
    for caller in ("free", "bound"):
        for _ in range(8):
            book.record(caller, "ann", Judgement("pair", {"helpful": 1.0, "safe": -1.0}, 1.0, 0))
    assert known_preference(book, Caller("free", {"helpful": Range(min=0.5)}), "ann").kind == "direction"
    assert known_preference(book, Caller("bound", {"helpful": Range(max=0.5)}), "ann") is None


def test_weights_that_a_key_forbids_altogether_are_not_known():
    book = UserBook(UserStore(Database("sqlite://")), Learner(("helpful", "safe")))
    book.record("k", "ann", Judgement("pair", {"helpful": 1.0, "safe": -1.0}, 1.0, 0))
    assert known_preference(book, Caller("k", {"helpful": Range(max=0.1), "safe": Range(max=0.1)}), "ann") is None


def test_a_users_taste_stays_within_what_the_key_allows():
    book = UserBook(UserStore(Database("sqlite://")), Learner(("helpful", "safe")))
    for caller in ("free", "bound"):
        for _ in range(30):
            book.record(caller, "ann", Judgement("pair", {"helpful": 2.0, "safe": -2.0}, 1.0, 0))
    free, bound = Caller("free"), Caller("bound", {"safe": Range(min=0.2)})
    assert known_preference(book, free, "ann").values["safe"] < 0.2
    found = known_preference(book, bound, "ann")
    assert found == Preference(found.values)
    assert found.values["safe"] == pytest.approx(0.2)
    assert bound.allows(found)
    assert known_preference(book, free, "bob") is None
    with pytest.raises(FieldError, match="user: a user's name"):
        known_preference(book, free, "")
