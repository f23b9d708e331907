import pytest

from benchmarks.frontier import exact, timing
from benchmarks.frontier.context import Context
from benchmarks.frontier.timing import Timing, in_turn


def test_a_quick_run_has_a_row_for_each_size_and_task(tmp_path):
    rows = exact.rows(Context(tmp_path, quick=True))
    assert [row.id for row in rows] == [f"{task}.100.{m}.ratio" for task in ("hv", "nd") for m in range(2, 7)]
    for row in rows:
        assert row.bar == "<= 1.2"
        assert row.value > 0
        assert row.peer.split(",")[0] in ("moocore", "pygmo")


def test_a_wrong_answer_is_not_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(exact, "hypervolume", lambda points, place: 1.0)
    with pytest.raises(AssertionError):
        exact.rows(Context(tmp_path, quick=True))


def test_best_takes_each_items_fastest_round():
    found = Timing({"a": [[1.0, 5.0], [2.0, 3.0]], "b": [[2.0, 2.0], [4.0, 4.0]]})
    assert found.best("a") == 1.0 + 3.0
    assert found.best("b") == 4.0
    assert found.quartiles("a", "b") == [5 / 8, 6 / 4]


def test_contenders_run_in_turn_and_a_hopeless_peer_once(monkeypatch):
    calls, clock = [], [0.0]
    monkeypatch.setattr(timing, "perf_counter", lambda: clock[0])

    def contender(name, seconds):
        def call(item):
            calls.append((name, item))
            clock[0] += seconds

        return call

    contenders = {"own": contender("own", 1.0), "peer": contender("peer", 2.0), "slow": contender("slow", 13.0)}
    found = in_turn(contenders, items=2, budget=50.0, own="own", rounds=3)
    assert (
        found.seconds["peer"] == [[2.0, 2.0]] * 9
    )  # 9 rounds of 6 seconds pass the budget, and the first was for warming up
    assert set(found.seconds) == {"own", "peer"}
    assert [name for name, _ in calls].count("slow") == 2
    assert found.fastest("own") == "peer"
    assert [name for name, _ in calls[6:10]] == ["own", "own", "peer", "peer"]
    # When one round takes longer than the budget, two have to do, and the first counts.
    assert in_turn(contenders, items=2, budget=5.0, own="own").rounds() == 2


def test_without_a_peer_that_ends_a_row_says_so(monkeypatch):
    monkeypatch.setattr(exact.importlib.util, "find_spec", lambda name: None)
    row = exact._row("hv", 200, 8, 0.01)
    assert (row.value, row.bar, row.holds) == (None, None, None)
    assert "left out: moocore takes too long and no other peer is installed" in row.what
    assert exact._peers("hv", 100, 8) == exact._peers("nd", 10_000, 6) == ["moocore"]


def test_the_interval_is_said_to_be_over_rounds():
    assert "(interval: quartiles over rounds)" in exact._row("nd", 100, 2, 0.01).what
