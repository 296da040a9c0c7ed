"""What a watch remembers: which images it has judged, and what is still to be done for them. A small SQLite file.

An image is judged once the row of it is on the disk; its line in results.jsonl and what is told of it follow from the
row, and are made up for after a kill.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self

from blemish.errors import InputError, StorageError, printable
from blemish.watching.looking import Stamp

FILE = "watch.sqlite"
VERSION = 1
# The newest image of each name, without sha256 if it was passed over; whether it is known what is to be passed over;
# names of outputs; what is still to be done.
TABLES = """
CREATE TABLE seen (name BLOB PRIMARY KEY, modified INTEGER, size INTEGER, number INTEGER, sha256 TEXT) WITHOUT ROWID;
CREATE TABLE begun (at TEXT);
CREATE TABLE outputs (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pending (id INTEGER PRIMARY KEY, path BLOB, line TEXT, write INTEGER NOT NULL, tell INTEGER NOT NULL);
PRAGMA user_version = 1;
"""
SEEN = "INSERT INTO seen VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO "
NEWER = "UPDATE SET modified=excluded.modified, size=excluded.size, number=excluded.number, sha256=excluded.sha256"


@dataclass(frozen=True, slots=True)
class Seen:
    """An image of a watched folder: its path below it as bytes, its stamp, and its sha256 if it was read."""

    name: bytes
    stamp: Stamp
    sha256: str | None = None

    @property
    def _row(self) -> tuple[bytes, int, int, int, str | None]:
        # SQLite has no whole numbers above 63 bits; what is lost of the number of a file only means another look.
        number = self.stamp.number & ((1 << 63) - 1)
        return self.name, self.stamp.modified, self.stamp.size, number, self.sha256


class State:
    """The state in a file, for any number of threads of one process; without a file it ends with the process.

    Every method raises StorageError if the file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        """Open a file, or make it; raises InputError for one of a newer version, StorageError for a damaged one."""
        self.place = printable(path) if path else "the state"
        self._lock = Lock()
        with self._said():
            # What has no name SQLite keeps in a file that nobody else sees, and that goes with the process.
            self._connection = sqlite3.connect(path or "", timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._said():
            self._connection.close()

    def _prepare(self) -> None:
        with self._said():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            fault = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0] if version else "ok"
            if fault != "ok":
                raise sqlite3.DatabaseError(fault)
        if version > VERSION:
            raise InputError(f"{self.place}: made by a newer version of blemish; update, or choose another folder")
        if not version:
            with self._writing() as connection:
                for statement in filter(str.strip, TABLES.split(";")):
                    connection.execute(statement)

    def is_settled(self, name: bytes, stamp: Stamp) -> bool:
        """Tell whether a file is as it was when it was judged or passed over."""
        row = Seen(name, stamp)._row
        return bool(self._one("SELECT modified, size, number FROM seen WHERE name = ?", name) == row[1:4])

    def has(self, name: bytes, sha256: str) -> bool:
        """Tell whether the newest image of this name that was judged has these bytes."""
        return bool(self._one("SELECT sha256 FROM seen WHERE name = ?", name) == (sha256,))

    def has_output(self, name: str) -> bool:
        """Tell whether an image has outputs of this name, in the lower case of `casefold`."""
        return self._one("SELECT 1 FROM outputs WHERE name = ?", name) is not None

    @property
    def is_begun(self) -> bool:
        """Whether `begin` has been called, for this state, by whichever process."""
        return self._one("SELECT 1 FROM begun") is not None

    def begin(self, known: Iterable[Seen]) -> None:
        """Note what need not be judged when all begins, all of it or nothing; of a name the first counts."""
        with self._writing() as connection:
            connection.executemany(SEEN + "NOTHING", (one._row for one in known))
            connection.execute("INSERT INTO begun VALUES (datetime('now'))")

    def restamp(self, seen: Seen) -> None:
        """Note a file with another stamp, whose bytes were judged."""
        with self._writing() as connection:
            connection.execute(SEEN + NEWER, seen._row)

    def note(
        self, seen: Seen, path: Path, line: str, *, output: str, write: bool, tell: bool, written: int | None = None
    ) -> int:
        """Note that an image is judged, and return the number of what is still to be done for it.

        line: its record; write: it is still to be written; tell: it is still to be told; output: the name of its
        outputs, as of `has_output`; written: the number of one that is not to be written any more, as by `done`.
        """
        with self._writing() as connection:
            if written is not None:
                _done(connection, written, "write")
            connection.execute(SEEN + NEWER, seen._row)
            connection.execute("INSERT OR IGNORE INTO outputs VALUES (?)", (output,))
            if not (write or tell):
                return 0
            values = os.fsencode(path), line, write, tell
            row = connection.execute("INSERT INTO pending VALUES (NULL, ?, ?, ?, ?)", values)
            return row.lastrowid or 0

    def unwritten(self) -> list[tuple[int, str]]:
        """Return number and line of what is still to be written, in order."""
        with self._said(), self._lock:
            return self._connection.execute("SELECT id, line FROM pending WHERE write ORDER BY id").fetchall()

    def untold(self) -> tuple[int, Path, str] | None:
        """Return number, path and line of the first image that is still to be told; None if there is none."""
        row = self._one("SELECT id, path, line FROM pending WHERE tell ORDER BY id LIMIT 1")
        return None if row is None else (row[0], Path(os.fsdecode(row[1])), row[2])

    def done(self, number: int, what: Literal["write", "tell"]) -> None:
        """Note that of an image nothing is to be written any more, or told: `write` or `tell`."""
        with self._writing() as connection:
            _done(connection, number, what)

    def _one(self, query: str, *values: object) -> Any:
        with self._said(), self._lock:
            return self._connection.execute(query, values).fetchone()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._said(), self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            reason = printable(str(error).splitlines()[0][:200] if str(error) else type(error).__name__)
            if isinstance(error, sqlite3.OperationalError):
                raise StorageError(f"{self.place}: cannot be used: {reason}") from error
            ways = "choose another folder, or move this file away, and all images are judged again"
            raise StorageError(f"{self.place}: damaged ({reason}); {ways}") from error


def _done(connection: sqlite3.Connection, number: int, what: Literal["write", "tell"]) -> None:
    connection.execute(f"UPDATE pending SET {what} = 0 WHERE id = ?", (number,))
    connection.execute("DELETE FROM pending WHERE id = ? AND NOT (write OR tell)", (number,))
