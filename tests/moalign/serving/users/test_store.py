import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from frontier.errors import InputError
from moalign.serving.users.book import UserBook
from moalign.serving.users.database import Database, UsersUnavailable
from moalign.serving.users.store import Judgement, UserStore
from moalign.serving.users.tables import METADATA
from moalign.serving.users.taste import Learner


def judgement(value=1.0, texts=None):
    return Judgement("pair", {"helpful": value, "brief": -value}, 1.0, 100, texts)


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    found = UserStore(Database("sqlite://" if request.param == "memory" else str(tmp_path / "users.db")), most=5)
    yield found
    found.database.close()


def test_what_is_added_is_found_in_order(store):
    assert store.find("", "ann") is None
    assert store.history("", "ann") is None
    for value in (1.0, 2.0):
        store.add("", "ann", judgement(value))
    known, found = store.history("", "ann")
    assert [j.differences["helpful"] for j in found] == [1.0, 2.0]
    assert (known.created, known.updated, known.summary) == (100, 100, None)
    assert store.find("", "ann") == known


def test_users_of_two_callers_never_mix(store):
    store.add("shop", "ann", judgement())
    store.add("sh", "opann", judgement(2.0))
    assert store.find("", "ann") is None
    assert store.find("forum", "ann") is None
    assert len(store.history("shop", "ann")[1]) == 1
    assert store.forget("forum", "ann") is None
    assert store.find("shop", "ann") is not None


def test_the_latest_are_kept(store):
    for value in range(8):
        store.add("", "ann", judgement(float(value)))
    store.add("", "bob", judgement(50.0))
    assert [j.differences["helpful"] for j in store.history("", "ann")[1]] == [3.0, 4.0, 5.0, 6.0, 7.0]


def test_what_was_learned_counts_until_there_is_more(store):
    store.add("", "ann", judgement())
    version = store.find("", "ann").version
    store.learned("", "ann", version, {"x": 1})
    assert store.find("", "ann").summary == {"x": 1}
    store.add("", "ann", judgement())
    assert store.find("", "ann").summary is None
    store.learned("", "ann", version, {"x": 2})  # of the version before
    assert store.find("", "ann").summary is None


def test_what_was_learned_of_a_deleted_user_does_not_come_back(store):
    store.add("", "ann", judgement())
    version = store.find("", "ann").version
    assert store.forget("", "ann") == 1
    assert store.forget("", "ann") is None
    store.learned("", "ann", version, {"x": 1})
    assert store.find("", "ann") is None
    store.add("", "ann", judgement(2.0))
    store.learned("", "ann", version, {"x": 1})
    assert store.find("", "ann").summary is None
    assert [j.differences["helpful"] for j in store.history("", "ann")[1]] == [2.0]


@pytest.mark.parametrize(
    "name", ["", "x" * 257, "a\nb", "a\x00b", "\ud800", "a\u2028b", "a\u2029b", "\u0378", ".", ".."]
)
def test_names_that_are_none(store, name):
    for call in (store.find, store.history, store.forget):
        with pytest.raises(InputError, match="a user's name must"):
            call("", name)
    with pytest.raises(InputError, match="a user's name must"):
        store.add("", name, judgement())


def test_names_of_every_script_and_in_either_form(store):
    for name in ("علی\u200cرضا", "👨\u200d👩\u200d👧", "a b", "\ue000", "..."):
        store.add("", name, judgement())
        assert store.forget("", name) == 1
    store.add("", "Ren\u00e9", judgement())
    store.add("", "Rene\u0301", judgement())  # the same name from another keyboard
    assert len(store.history("", "Ren\u00e9")[1]) == 2


def left_of(folder, text):
    return sum(file.read_bytes().count(text) for file in folder.iterdir())


@pytest.mark.parametrize("later", ["write", "close"])
def test_a_reader_who_is_in_the_way_delays_wiping_but_does_not_prevent_it(tmp_path, later):
    path = tmp_path / "users.db"
    store = UserStore(Database(str(path)))
    store.add("", "ann", judgement(texts={"prompt": "a very secret prompt"}))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM moalign_users").fetchall()
    assert store.forget("", "ann") == 1
    assert left_of(tmp_path, b"a very secret prompt") > 0  # the reader still sees the moment before
    store.add("", "bob", judgement())  # still in the way, and nobody waits for long
    assert left_of(tmp_path, b"a very secret prompt") > 0
    reader.execute("COMMIT")
    if later == "write":
        store.add("", "bob", judgement())
    else:
        store.database.close()
    # The reader's open connection keeps SQLite from removing the log by itself.
    assert left_of(tmp_path, b"a very secret prompt") == 0
    reader.close()


def test_what_a_killed_process_left_is_wiped_by_the_next(tmp_path):
    path = tmp_path / "users.db"
    Database(str(path)).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA secure_delete=ON")
    other.execute("INSERT INTO moalign_meta VALUES ('x', 'a very secret prompt')")
    other.execute("DELETE FROM moalign_meta WHERE name = 'x'")
    assert left_of(tmp_path, b"a very secret prompt") > 0
    UserStore(Database(str(path))).add("", "bob", judgement())
    assert left_of(tmp_path, b"a very secret prompt") == 0
    other.close()


def test_neither_names_nor_deleted_texts_are_in_the_file(tmp_path):
    path = tmp_path / "users.db"
    store = UserStore(Database(str(path)))
    store.add("shop", "ann@example.org", judgement(texts={"prompt": "a very secret prompt"}))

    def everything():
        return b"".join(file.read_bytes() for file in sorted(tmp_path.iterdir()))

    assert b"a very secret prompt" in everything()
    assert b"ann@example.org" not in everything()
    store.forget("shop", "ann@example.org")
    assert b"a very secret prompt" not in everything()


def test_a_secret_apart_from_the_database_is_part_of_the_names(tmp_path):
    database = Database(str(tmp_path / "users.db"))
    UserStore(database, b"one").add("", "ann", judgement())
    assert UserStore(database, b"two").find("", "ann") is None
    assert UserStore(database, b"one").find("", "ann") is not None


def test_a_file_is_found_again(tmp_path):
    first = UserStore(Database(str(tmp_path / "users.db")))
    first.add("", "ann", judgement())
    first.database.close()
    again = UserStore(Database(f"sqlite:///{tmp_path / 'users.db'}"))
    assert len(again.history("", "ann")[1]) == 1


# ---- many writers


def test_threads_lose_nothing(store):
    store._most = 1000
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.add("", f"user{i % 3}", judgement(float(i))), range(60)))
    found = [j.differences["helpful"] for u in range(3) for j in store.history("", f"user{u}")[1]]
    assert sorted(found) == [float(i) for i in range(60)]


WRITER = """
import sys
from moalign.serving.users.database import Database
from moalign.serving.users.store import Judgement, UserStore
store = UserStore(Database(sys.argv[1]))
for i in range(25):
    store.add("", "ann", Judgement("pair", {"helpful": float(sys.argv[2]), "brief": float(i)}, 1.0, i))
"""


def test_processes_that_start_together_lose_nothing(tmp_path):
    path = str(tmp_path / "users.db")
    started = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)]) for n in range(2)]
    assert [process.wait(120) for process in started] == [0, 0]
    found = UserStore(Database(path)).history("", "ann")[1]
    for n in range(2):
        assert [j.differences["brief"] for j in found if j.differences["helpful"] == n] == [float(i) for i in range(25)]


def test_a_reader_sees_one_moment(tmp_path):
    """However writers run, version and judgements belong together."""
    store = UserStore(Database(str(tmp_path / "users.db")), most=10**6)
    store.add("", "ann", judgement())
    start = store.find("", "ann").version
    stop = threading.Event()

    def write():
        while not stop.is_set():
            store.add("", "ann", judgement())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            known, found = store.history("", "ann")
            assert known.version - start == len(found) - 1
    finally:
        stop.set()
        writer.join()


# ---- a database that fails


def fill_up(database):
    """No page more than it has: what SQLite says then is what it says of a full disk."""
    with database.reading() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
        connection.execute(text(f"PRAGMA max_page_count={pages}"))


def big():
    return judgement(texts={"prompt": "x" * 100_000})


def test_a_full_disk_refuses_writes_and_keeps_what_there_is():
    database = Database("sqlite://")
    book = UserBook(UserStore(database), Learner(("helpful", "brief")))
    before = book.record("", "ann", judgement())
    fill_up(database)
    with pytest.raises(UsersUnavailable, match="full"):
        book.record("", "ann", big())
    assert book.taste("", "ann") == before  # whole or not at all
    assert len(book.store.history("", "ann")[1]) == 1
    with database.reading() as connection:
        connection.execute(text("PRAGMA max_page_count=100000"))
    book.record("", "ann", big())
    assert len(book.store.history("", "ann")[1]) == 2


def test_a_read_only_database_refuses_writes_and_still_reads():
    database = Database("sqlite://")
    book = UserBook(UserStore(database), Learner(("helpful", "brief")))
    book.record("", "ann", judgement())
    with database.reading() as connection:
        connection.execute(text("PRAGMA query_only=ON"))
    for write in (lambda: book.record("", "ann", judgement()), lambda: book.forget("", "ann")):
        with pytest.raises(UsersUnavailable, match="readonly"):
            write()
    assert book.preference("", "ann") is not None


def test_a_locked_database_is_unavailable_after_a_while(tmp_path, monkeypatch):
    from moalign.serving.users import database

    monkeypatch.setattr(database, "LOCK_SECONDS", 0.1)
    store = UserStore(Database(str(tmp_path / "users.db")))
    other = sqlite3.connect(tmp_path / "users.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UsersUnavailable, match="locked"):
        store.add("", "ann", judgement())
    assert store.find("", "ann") is None  # readers do not wait
    other.execute("ROLLBACK")
    store.add("", "ann", judgement())


def test_a_file_that_is_destroyed_is_unavailable(tmp_path):
    path = tmp_path / "users.db"
    store = UserStore(Database(str(path)))
    store.add("", "ann", judgement())
    store.database.close()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(UsersUnavailable, match="not a database"):
        store.find("", "ann")


def test_completions_do_not_wait_for_a_database_that_fails(tmp_path, monkeypatch):
    book = UserBook(UserStore(Database("sqlite://")), Learner(("helpful", "brief")))
    book.record("", "ann", judgement())
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        raise UsersUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(book.store, "find", fail)
        assert book.preference("", "ann") is None
        assert book.preference("", "ann") is None
        assert len(calls) == 1  # it is left alone for a while
    book._rests_until = 0.0
    assert book.preference("", "ann") is not None


# ---- opening


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://localhost/x", "'mysql' is not supported, allowed: sqlite, postgresql"),
        ("://", "users: "),
        ("/nowhere/at/all/users.db", "cannot be opened: unable to open database file"),
        ("", "the name of the database is empty"),
        ("  ", "the name of the database is empty"),
    ],
)
def test_databases_that_cannot_be(url, message):
    with pytest.raises(InputError, match=message):
        Database(url)


def test_postgresql_needs_its_driver_and_no_password_is_shown():
    pytest.importorskip("sqlalchemy")
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError:
        expected = "needs the package 'psycopg'"
    else:
        expected = "cannot be opened"
    with pytest.raises(InputError, match=expected) as caught:
        Database("postgresql://me:hunter2@127.0.0.1:1/users")
    assert "hunter2" not in str(caught.value)


def test_the_tables_are_valid_for_postgresql():
    made = [str(CreateTable(table).compile(dialect=postgresql.dialect())) for table in METADATA.sorted_tables]
    assert any("BIGSERIAL" in table for table in made)
    assert any("ON DELETE CASCADE" in table for table in made)


def test_another_schema_is_refused(tmp_path):
    path = tmp_path / "users.db"
    Database(str(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE moalign_meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(InputError, match="schema version 99, this moalign reads 1"):
        Database(str(path))


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM moalign_meta WHERE name = 'salt'", "UPDATE moalign_meta SET value = 'x1' WHERE name = 'salt'"],
)
def test_a_database_without_its_salt_is_refused(tmp_path, change):
    path = tmp_path / "users.db"
    Database(str(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    with pytest.raises(InputError, match="has lost its salt"):
        Database(str(path))
