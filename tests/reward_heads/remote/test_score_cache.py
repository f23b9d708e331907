import sqlite3
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads.remote import ScoreCache
from reward_heads.remote.score_cache import as_cache, cache_key


@pytest.mark.parametrize("place", ["file", "memory"])
def test_remembers(tmp_path, place):
    cache = ScoreCache(tmp_path / "deep" / "scores.sqlite" if place == "file" else ":memory:")
    cache.put({"a": [1.5, None], "b": {"x": "é"}})
    cache.put({"a": [2.0, None]})
    assert cache.get(["a", "b", "c"]) == {"a": [2.0, None], "b": {"x": "é"}}
    many = {f"key{i}": i for i in range(1234)}
    cache.put(many)
    assert cache.get(list(many)) == many
    assert cache.get([]) == {}


def test_another_process_reads_the_file(tmp_path):
    ScoreCache(tmp_path / "scores").put({"a": 0.1})
    assert ScoreCache(tmp_path / "scores").get(["a"]) == {"a": 0.1}


def test_all_or_nothing(tmp_path):
    cache = ScoreCache(tmp_path / "scores")
    with pytest.raises(ValueError, match="Out of range float"):
        cache.put({"a": 1.0, "b": float("nan")})
    assert cache.get(["a", "b"]) == {}


@pytest.mark.parametrize("place", ["file", "memory"])
def test_threads(tmp_path, place):
    cache = ScoreCache(tmp_path / "scores" if place == "file" else ":memory:")
    threads = [threading.Thread(target=lambda i=i: [cache.put({f"{i}-{j}": j}) for j in range(5)]) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache.get([f"{i}-{j}" for i in range(6) for j in range(5)])) == 30


def test_made_by_two_at_once(tmp_path, monkeypatch):
    failed, others = [], []

    def other():
        try:
            ScoreCache(tmp_path / "scores").put({"b": 2.0})
        except InputError as error:
            failed.append(error)

    class Slow(sqlite3.Connection):
        """Lets another in just after the table was made."""

        def execute(self, statement, *values):
            found = super().execute(statement, *values)
            if statement.startswith("CREATE") and not others:
                others.append(threading.Thread(target=other))
                others[0].start()
                others[0].join(timeout=0.5)
            return found

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **options: connect(*given, factory=Slow, **options))
    cache = ScoreCache(tmp_path / "scores")
    others[0].join()
    assert not failed
    assert cache.get(["b"]) == {"b": 2.0}


def test_refuses_other_files(tmp_path):
    (tmp_path / "text").write_text("not a database " * 100)
    with pytest.raises(InputError, match=r"text: cannot be used as a cache of scores: file is not a database"):
        ScoreCache(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as connection:
        connection.execute("CREATE TABLE people (name TEXT)")
    with pytest.raises(InputError, match="other: a database of something else"):
        ScoreCache(tmp_path / "other")
    with pytest.raises(InputError, match="cannot be"):
        ScoreCache(tmp_path / "text" / "below")


def test_refuses_a_broken_entry(tmp_path):
    cache = ScoreCache(tmp_path / "scores")
    with sqlite3.connect(tmp_path / "scores") as connection:
        connection.execute("INSERT INTO scores VALUES ('a', '[1.0')")
    with pytest.raises(InputError, match="scores: an entry is broken"):
        cache.get(["a"])


@settings(deadline=None)
@given(st.lists(st.text(), min_size=2, max_size=2), st.lists(st.text(), min_size=2, max_size=2))
def test_keys_are_equal_only_for_equal_parts(a, b):
    assert (cache_key(*a) == cache_key(*b)) == (a == b)


def test_keys_tell_parts_apart():
    assert cache_key("ab", "c") != cache_key("a", "bc") != cache_key(["a", "bc"])
    assert len(cache_key("\ud800")) == 64  # half a surrogate pair is a text too


def test_as_cache(tmp_path):
    cache = ScoreCache(":memory:")
    assert as_cache(None) is None
    assert as_cache(cache) is cache
    assert as_cache(tmp_path / "scores").path == str(tmp_path / "scores")
