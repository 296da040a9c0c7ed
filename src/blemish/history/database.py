"""A database by its URL: SQLite in WAL mode or PostgreSQL, one way to read, one to write, one line for what fails."""

import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from blemish.errors import InputError, StorageError, printable

DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
RULE = (
    "expected sqlite:////FOLDER/FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE; "
    "in a password @ is %40, / is %2F, : is %3A"
)
ONE_MOMENT = "REPEATABLE READ"
BUSY = 30  # s that a writer waits for others
LONGEST = 30  # s for a statement of PostgreSQL: one that hangs holds no thread, and no lock, for ever
LOCK = 0x626C656D697368  # of PostgreSQL, "blemish": those who keep an image share it, who removes one has it alone
# A server that is gone is noticed, not waited for: s for a connection, ms for an answer of its network.
PATIENCE = {"connect_timeout": "5", "tcp_user_timeout": "10000"}


class Database:
    """A database at work, for any number of threads; other processes may use it at the same time."""

    def __init__(self, url: str | URL, *, patience: float | None = None) -> None:
        """Take a URL, connecting to nothing yet; raises InputError for one that is wrong or lacks its driver.

        patience: s that a writer waits for others, 30 at most with PostgreSQL.
        """
        parsed = _parsed(url)
        self.place = printable(_place(parsed))
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        try:
            self.engine = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed, patience)
        except ModuleNotFoundError:
            raise InputError(f"history: {self.place}: needs psycopg: pip install 'blemish[postgresql]'") from None
        # One moment for all that is read in a block, as SQLite has it anyway.
        self._reader = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level=ONE_MOMENT)
        self._patience = BUSY if patience is None else patience
        self._lock = Lock()

    @classmethod
    def file(cls, path: Path, *, patience: float | None = None) -> Self:
        """Take the SQLite database in a file, whatever its name; it is made when it is first used."""
        return cls(URL.create("sqlite", database=os.fspath(path)), patience=patience)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that reads, and sees one moment; raises StorageError if the database cannot be used."""
        with self._said(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, *, sharing: bool = False, alone: bool = False, long: bool = False) -> Iterator[Connection]:
        """Yield a connection whose changes are on the disk once the block has ended, all of them or none.

        SQLite has one writer at a time, who waits as long as was said. alone: nobody else writes who is alone or
        shares, as is always so with SQLite. long: PostgreSQL may take any time, and so may those who are waited for.
        Raises StorageError if the database cannot be used.
        """
        with (
            self._said(),
            self._turn() as left,
            self.engine.connect() as connection,
            connection.execution_options(blemish_writes=left).begin(),
        ):
            if not self.is_sqlite and long:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SET LOCAL lock_timeout = 0"))
            if not self.is_sqlite and (sharing or alone):
                kind = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
                connection.execute(text(f"SELECT {kind}({LOCK})"))
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[float]:
        """Wait for the other writers of this process, and yield the s that are left to wait for those of others."""
        until = time.monotonic() + self._patience
        if not self.is_sqlite:
            yield self._patience
        elif self._lock.acquire(timeout=self._patience):
            try:
                yield max(until - time.monotonic(), 0.001)
            finally:
                self._lock.release()
        else:
            raise StorageError(f"history: {self.place}: database is locked")

    def close(self) -> None:
        """Let all connections go."""
        self.engine.dispose()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StorageError(f"history: {self.place}: {_reason(error)}") from error


def _parsed(given: str | URL) -> URL:
    try:
        url = make_url(given)
        url = url.set(drivername=DRIVERS[url.drivername])
    except (ArgumentError, ValueError, KeyError):
        raise InputError(f"history: the URL is not understood, {RULE}") from None  # it may hold a password
    if url.drivername.startswith("sqlite"):
        strange = not url.database or "\0" in url.database or url.database.startswith((":memory:", "file:"))
        if strange or url.host or url.query:
            raise InputError(f"history: the URL names no file, {RULE}")
        return url
    if not (url.host or url.query.get("host")) or "@" in (url.host or "") or not url.database:
        raise InputError(f"history: the URL names no server or no database, {RULE}")
    try:
        url.render_as_string(hide_password=False).encode()
        (url.host or "").encode("idna")  # as Python does when it looks for the server
    except UnicodeError:
        raise InputError(f"history: the URL holds what no server or database is called, {RULE}") from None
    return url


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where `begin` says so, for tables as well
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that begins to write could find that another has written meanwhile, and fail: writers say it at once.
        writes = connection.get_execution_options().get("blemish_writes")
        if writes:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {math.ceil(1000 * writes)}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turn to WAL a file that is new; of several who do so at the same time SQLite lets none wait by itself."""
    until = time.monotonic() + BUSY
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _postgresql(url: URL, patience: float | None) -> Engine:
    limits = [f"-c statement_timeout={math.ceil(1000 * LONGEST)}"]
    if patience is not None:
        limits.append(f"-c lock_timeout={math.ceil(1000 * patience)}")
    options = " ".join([*limits, *url.normalized_query.get("options", ())])  # of two that say the same the last counts
    given = {key: value for key, value in PATIENCE.items() if key not in url.query} | {"options": options}
    url = url.update_query_dict(given)
    return create_engine(url, pool_pre_ping=True, hide_parameters=True)


def _reason(error: Exception) -> str:
    """Return the first line of what the database has said, without the statement that SQLAlchemy adds."""
    said = error.orig if isinstance(error, DBAPIError) else error
    lines = str(said).strip().splitlines() or [type(said).__name__]
    return printable(lines[0][:300])
