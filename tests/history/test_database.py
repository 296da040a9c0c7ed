"""A database by its URL: what cannot be used is said in one line, without a password; many may bring it up at once."""

import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, text

from blemish.errors import InputError, StorageError
from blemish.history import migrating
from blemish.history.database import Database
from blemish.history.history import History
from blemish.history.migrating import VERSION_TABLE, bring_up
from blemish.history.tables import metadata
from histories import ENCODED, PASSWORD, judged, new_database, opened, picture, postgresql, url  # noqa: F401

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("history.sqlite", "is not understood"),
        ("", "is not understood"),
        (f"mysql://ada:{SECRET}@db/parts", "is not understood"),
        (f"postgresql+asyncpg://ada:{SECRET}@db/parts", "is not understood"),
        (f"postgresql://ada:{SECRET}@db:port/parts", "is not understood"),
        (f"postgresql://ada:{SECRET}@@db/parts", "names no server or no database"),
        (f"postgresql://ada:x@{SECRET}@db/parts", "names no server or no database"),
        (f"postgresql://ada:{SECRET}@db", "names no server or no database"),
        (f"postgresql:///parts?password={SECRET}", "names no server or no database"),
        (f"postgresql://ada:{SECRET}\udc80@db/parts", "holds what no server or database is called"),
        (f"postgresql://ada:{SECRET}@db\udc80/parts", "holds what no server or database is called"),
        (f"postgresql://ada:{SECRET}@db/parts\udc80", "holds what no server or database is called"),
        (f"postgresql://ada:{SECRET}@db..example/parts", "holds what no server or database is called"),
        (
            f"postgresql://ada:{SECRET}@db/parts?options=\udc80",
            "holds what no server or database is called",
        ),
        ("sqlite:////parts%00", "names no file"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:parts?mode=memory", "names no file"),
    ],
)
def test_a_wrong_url_is_one_line_that_says_what_is_expected(given, said):
    with pytest.raises(InputError) as refused:
        Database(given)
    assert str(refused.value).startswith(f"history: the URL {said}, expected sqlite:////FOLDER/FILE or postgresql://")
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def unusable(url, tmp_path):
    with pytest.raises(StorageError) as refused:
        History.open(tmp_path, url=url)
    said = str(refused.value)
    assert "\n" not in said
    return said


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    said = unusable(f"postgres://ada:{SECRET}@127.0.0.1:1/parts?password={SECRET}", tmp_path)
    assert said.startswith("history: postgresql://ada:***@127.0.0.1:1/parts: ")
    assert "refused" in said
    assert SECRET not in said


def test_a_wrong_password_or_database_is_one_line(new_database, tmp_path):
    wrong = new_database.replace(ENCODED, SECRET)
    place = wrong.replace(SECRET, "***")
    said = unusable(wrong, tmp_path)
    assert said.startswith(f"history: {place}: ")
    assert 'password authentication failed for user "blemish"' in said
    assert SECRET not in said
    said = unusable(f"{new_database}x", tmp_path)
    assert said.startswith(f"history: {place}x: ")
    assert "does not exist" in said
    assert PASSWORD not in said
    assert ENCODED not in said


def test_a_driver_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError) as refused:
        Database(f"postgresql://ada:{SECRET}@db/parts")
    assert str(refused.value) == (
        "history: postgresql://ada:***@db/parts: needs psycopg: pip install 'blemish[postgresql]'"
    )


def test_files_that_are_no_database_or_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "history.sqlite").write_bytes(b"no database at all" * 1000)
    assert unusable(None, tmp_path) == f"history: {tmp_path}/history.sqlite: file is not a database"
    assert (
        unusable("sqlite:////no/such/folder/x", tmp_path) == "history: /no/such/folder/x: unable to open database file"
    )
    (tmp_path / "file").touch()
    assert unusable(None, tmp_path / "file") == f"{tmp_path}/file/images: cannot be made: not a directory"


def test_a_folder_may_be_called_as_it_likes(tmp_path):
    folder = tmp_path / "a?b=%40#c d"
    with opened(folder) as history:
        history.add(judged(), picture())
    assert (folder / "history.sqlite").is_file()


def test_sqlite_keeps_what_it_has_said_and_lets_others_read(tmp_path):
    with opened(tmp_path) as history, history.database.writing() as connection:
        said = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert said == ["wal", 2]  # 2: full
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() in range(29_000, 30_001)
        assert history.page().inspections == []  # while another writes


def test_a_writer_that_waits_in_vain_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("blemish.history.database.BUSY", 0.1)
    with opened(tmp_path) as history, closing(sqlite3.connect(tmp_path / "history.sqlite")) as other:
        history.add(judged(), picture())
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match=r"history\.sqlite: database is locked$"):
            history.add(judged(), picture())
        other.rollback()
        assert history.add(judged(), picture()).id == 2


def test_a_writer_waits_as_long_as_is_said(tmp_path, url):
    with opened(tmp_path, url=url, patience=0.3) as history, opened(tmp_path, url=url) as other:
        history.add(judged(), picture())
        start = time.monotonic()
        with other.database.writing(alone=True), pytest.raises(StorageError, match="lock"):
            history.add(judged(), picture())
        assert 0.2 < time.monotonic() - start < 5
        with history.database.writing(alone=True), pytest.raises(StorageError, match="lock"):
            history.add(judged(), picture())
        assert history.page().inspections[0].id == 1
        history.add(judged(), picture())


def test_a_statement_that_hangs_ends_in_one_line_and_the_next_goes_on(new_database, tmp_path, monkeypatch):
    monkeypatch.setattr("blemish.history.database.LONGEST", 0.5)
    with opened(tmp_path, url=new_database) as history:
        history.add(judged(), picture())
        for way in (history.database.reading, history.database.writing):
            start = time.monotonic()
            with pytest.raises(StorageError) as refused, way() as connection:
                connection.execute(text("SELECT pg_sleep(20)"))
            assert time.monotonic() - start < 5
            assert str(refused.value) == (
                f"history: {history.database.place}: canceling statement due to statement timeout"
            )
        with psycopg.connect(new_database) as other:  # somebody who holds what is asked for
            other.execute("LOCK TABLE inspections")
            with pytest.raises(StorageError, match=r"statement timeout$"):
                history.page()
        assert history.page().inspections[0].id == 1


def test_a_migration_takes_the_time_that_it_needs_and_so_does_who_waits_for_it(new_database, tmp_path, monkeypatch):
    monkeypatch.setattr("blemish.history.database.LONGEST", 0.5)
    upgrade, begun = migrating._upgrade, Event()

    def slow(connection, script):
        begun.set()
        connection.execute(text("SELECT pg_sleep(1.5)"))
        upgrade(connection, script)

    monkeypatch.setattr(migrating, "_upgrade", slow)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(History.open, tmp_path, url=new_database, patience=0.5)
        assert begun.wait(10)
        second = threads.submit(History.open, tmp_path, url=new_database, patience=0.5)
        for history in (first.result(), second.result()):
            assert history.models() == []
            history.close()


def test_what_a_url_says_of_postgresql_stays(new_database):
    database = Database(f"{new_database}?options=-c%20statement_timeout%3D7s%20-c%20work_mem%3D5MB", patience=0.25)
    with database.reading() as connection:
        said = [connection.scalar(text(f"SHOW {name}")) for name in ("statement_timeout", "work_mem", "lock_timeout")]
    assert said == ["7s", "5MB", "250ms"]
    database.close()


def test_a_database_that_is_full_is_one_line_and_goes_on_once_there_is_room(tmp_path):
    with opened(tmp_path, keep="none") as history:
        history.add(judged(), picture())
        with history.database.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()

        def bounded(connection, _):
            connection.execute(f"PRAGMA max_page_count = {pages + 8}")

        history.close()
        event.listen(history.database.engine, "connect", bounded)
        taken = [1]

        def fill():
            for _ in range(1000):
                taken.append(history.add(judged(name="x" * 1000), picture()).id)

        with pytest.raises(StorageError) as refused:
            fill()
        assert str(refused.value) == f"history: {tmp_path}/history.sqlite: database or disk is full"
        assert history.counts().verdicts["OK"] == len(taken)
        history.close()
        event.remove(history.database.engine, "connect", bounded)
        assert history.add(judged(), picture()).id > len(taken)


def test_a_server_that_was_away_is_found_again(new_database, tmp_path):
    with opened(tmp_path, url=new_database) as history:
        history.add(judged(), picture())
        with psycopg.connect(new_database) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert history.add(judged(), picture()).id == 2


def structure(database):
    """Return all that a database has been told to make, as it says so itself."""
    with database.reading() as connection:
        if database.is_sqlite:
            query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        else:
            query = (
                "SELECT table_name || '.' || column_name, data_type || ' ' || is_nullable || ' ' || ordinal_position "
                "FROM information_schema.columns WHERE table_schema = 'public' "
                "UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
                "UNION ALL SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint "
                "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
            )
        rows = {name: " ".join(made.split()) for name, made in connection.execute(text(query))}
    return {name: made.replace("( ", "(") for name, made in rows.items() if VERSION_TABLE not in name}


def test_the_migrations_make_the_tables_that_the_code_knows(url, tmp_path):
    with opened(tmp_path, url=url) as history:
        with history.database.reading() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            assert compare_metadata(context, metadata) == []
        migrated = structure(history.database)
        with history.database.writing() as connection:
            metadata.drop_all(connection)
            metadata.create_all(connection)
        assert structure(history.database) == migrated
        assert len(migrated) > 10


def test_a_database_of_a_newer_version_is_refused_and_left_alone(url, tmp_path):
    with opened(tmp_path, url=url) as history:
        number = history.add(judged(), picture()).id
        with history.database.writing() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0999'"))
        before = structure(history.database)
        with pytest.raises(InputError) as refused:
            History.open(tmp_path, url=url)
        assert str(refused.value) == (
            f"history: {history.database.place}: made by a newer version of blemish (tables 0999, this is 0001); "
            "update blemish"
        )
        assert structure(history.database) == before
        assert history.one(number).name == "part 0000.png"


def test_a_migration_that_fails_leaves_nothing(url, tmp_path, monkeypatch):
    database = Database(url or f"sqlite:///{tmp_path}/x")
    monkeypatch.setattr("alembic.op.create_index", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bring_up(database)
    monkeypatch.undo()
    assert structure(database) == {}
    bring_up(database)
    assert len(structure(database)) > 10
    database.close()


OPEN = """
import sys
from pathlib import Path
from blemish.history.history import History
print("ready", flush=True)
sys.stdin.readline()
history = History.open(Path(sys.argv[1]), url=sys.argv[2] or None)
print(history.models(), flush=True)
"""


def test_several_processes_bring_up_one_database_at_the_same_time(url, tmp_path):
    line = [sys.executable, "-c", OPEN, tmp_path, url or ""]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(line, env=os.environ, **pipes) for _ in range(4)]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:  # all at once
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60) for process in started] == [("[]\n", "")] * 4


def test_several_threads_bring_up_one_new_file_again_and_again(tmp_path):
    for number in range(20):
        folder = tmp_path / str(number)
        with ThreadPoolExecutor(4) as threads:
            for history in threads.map(lambda _: History.open(folder), range(4)):  # noqa: B023
                assert history.models() == []
                history.close()


def test_the_migrations_lie_where_a_wheel_takes_them_from():
    folder = Path(sys.modules["blemish.history"].__file__).parent / "migrations"
    assert [path.name for path in sorted(folder.glob("*.py"))] == ["0001.py"]
