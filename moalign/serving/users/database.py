"""Open the users' database: SQLite in a file or in memory, or PostgreSQL by URL; every failure of it leaves as one kind of error."""

import contextlib
import logging
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

try:
    from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.pool import StaticPool
except ModuleNotFoundError as missing:
    from frontier.errors import InputError

    raise InputError(f"users need the package '{missing.name}': pip install 'moalign[serve]'") from missing

from frontier.errors import InputError
from moalign.serving.users.tables import META, METADATA, SCHEMA_VERSION

logger = logging.getLogger(__name__)

IN_MEMORY = "sqlite://"
# A writer waits this long for another one.
LOCK_SECONDS = 5
# And this long for readers who are in the way of wiping: it is tried again later.
WIPE_SECONDS = 0.1
SALT_BYTES = 32


class UsersUnavailable(RuntimeError):
    """The database cannot be read or written now: its disk is full or read-only, or it is gone."""


class Database:
    """A database of users, opened and of our schema.

    Args:
        url (`str`): a file (SQLite), `sqlite://` (in memory, gone when the server stops) or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        InputError: the URL is malformed or of another kind, its driver is not installed, it cannot be opened, or its schema is another version's.
    """

    def __init__(self, url: str) -> None:
        where = _parsed(url)
        self.shown = where.render_as_string(hide_password=True)
        # One connection in memory is all threads': one transaction at a time.
        self._alone = threading.RLock() if where.database in (None, "", ":memory:") else None
        self._engine = _engine(where, self._alone is not None)
        self._wiping = threading.Lock()
        # Whether SQLite's log may still hold what was deleted; a process that was killed may have left some.
        self._unwiped = True
        try:
            self.salt = self._prepare()
        except SQLAlchemyError as error:
            raise InputError(f"users: the database {self.shown} cannot be opened: {_reason(error)}") from error

    @property
    def dialect(self) -> str:
        """`"sqlite"` or `"postgresql"`."""
        return self._engine.dialect.name

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the data.

        Raises:
            UsersUnavailable: the database fails.
        """
        with self._transaction(write=False) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is kept whole or not at all.

        Raises:
            UsersUnavailable: the database fails.
        """
        with self._transaction(write=True) as connection:
            yield connection
        if self._unwiped:
            with self._wiping:
                self._checkpoint()

    def wipe(self) -> None:
        """Overwrite what was deleted in SQLite's log too, which otherwise keeps it for a while; where readers are in the way, after the next writes and at the latest when it is closed."""
        with self._wiping:
            self._unwiped = True
            self._checkpoint()

    def close(self) -> None:
        """Let go of the connections; what is in memory is gone."""
        with self._wiping:
            self._checkpoint()
        self._engine.dispose()

    def _checkpoint(self) -> None:
        """Empty SQLite's log, unless readers are in the way."""
        if self.dialect != "sqlite" or self._alone is not None:
            self._unwiped = False
        if not self._unwiped:
            return
        with contextlib.suppress(SQLAlchemyError), self._engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql(f"PRAGMA busy_timeout={round(1000 * WIPE_SECONDS)}")
            try:
                busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
                self._unwiped = bool(busy)
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={round(1000 * LOCK_SECONDS)}")

    @contextlib.contextmanager
    def _transaction(self, write: bool) -> Iterator[Connection]:
        with self._alone or contextlib.nullcontext():
            try:
                with self._engine.connect().execution_options(moalign_write=write) as connection, connection.begin():
                    yield connection
            except SQLAlchemyError as error:
                reason = _reason(error)
                logger.warning("the users' database failed: %s", reason)
                raise UsersUnavailable(f"the users' database failed: {reason}") from error

    def _prepare(self) -> bytes:
        """Make the tables where there are none, and check their version. Returns the salt."""
        with self._alone or contextlib.nullcontext():
            for attempt in range(2):
                try:
                    if not inspect(self._engine).has_table(META.name):
                        self._create()
                    break
                except SQLAlchemyError:
                    # Two servers that start together both find nothing, and one of them comes second.
                    if attempt or not inspect(self._engine).has_table(META.name):
                        raise
            with self._engine.connect() as connection:
                found = {row.name: row.value for row in connection.execute(select(META.c.name, META.c.value))}
        if found.get("schema_version") != str(SCHEMA_VERSION):
            raise InputError(
                f"users: the database {self.shown} has schema version {found.get('schema_version')}, this moalign reads {SCHEMA_VERSION}"
            )
        try:
            return bytes.fromhex(found["salt"])
        except (KeyError, ValueError) as error:
            raise InputError(f"users: the database {self.shown} has lost its salt, so no user can be found") from error

    def _create(self) -> None:
        with self._engine.connect().execution_options(moalign_write=True) as connection, connection.begin():
            if self.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(6071946)"))
            METADATA.create_all(connection)
            if connection.execute(select(META.c.name)).first() is None:
                rows = {"schema_version": str(SCHEMA_VERSION), "salt": secrets.token_hex(SALT_BYTES)}
                connection.execute(insert(META), [{"name": name, "value": value} for name, value in rows.items()])


def _parsed(url: str) -> URL:
    if not url.strip():
        raise InputError("users: the name of the database is empty; sqlite:// is one in memory")
    if "://" not in url:
        return URL.create("sqlite", database=url)
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError(
            "users: the URL cannot be read, allowed: a file, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        ) from error
    kind = found.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise InputError(f"users: a database of the kind '{kind}' is not supported, allowed: sqlite, postgresql")
    return found.set(drivername="postgresql+psycopg") if found.drivername == "postgresql" else found


def _engine(where: URL, in_memory: bool) -> Engine:
    # Parameters hold what users gave: they are for no log.
    options: dict[str, Any] = {"hide_parameters": True}
    if where.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": LOCK_SECONDS, "check_same_thread": False}
        if in_memory:
            options["poolclass"] = StaticPool
    else:
        wait = {"connect_timeout": LOCK_SECONDS, "options": f"-c statement_timeout={1000 * LOCK_SECONDS}"}
        options |= {"pool_pre_ping": True, "pool_timeout": LOCK_SECONDS, "connect_args": wait}
    try:
        engine = create_engine(where, **options)
    except ModuleNotFoundError as missing:
        raise InputError(
            f"users: this database needs the package '{missing.name}': pip install '{missing.name}'"
        ) from missing
    except (ArgumentError, NoSuchModuleError) as error:
        raise InputError(f"users: the URL cannot be used: {error}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    cursor = connection.cursor()
    with contextlib.suppress(sqlite3.OperationalError):  # of a read-only disk, which can still be read
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")  # what was deleted is overwritten
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # A writer takes its lock at once: one that begins by reading could not wait for another writer later.
    write = connection.get_execution_options().get("moalign_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _reason(error: SQLAlchemyError) -> str:
    """What the driver says, in one line, without the statement."""
    origin = getattr(error, "orig", None) or error
    if isinstance(error, IntegrityError):
        return "two writers collided"
    return (str(origin).strip().splitlines() or [type(origin).__name__])[0][:200]
