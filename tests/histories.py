"""What the tests of the history share: both databases, PostgreSQL as a server of their own, and things to put in."""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from blemish.history.history import History
from blemish.history.records import Judged
from blemish.verdict.regions import Region
from blemish.verdict.threshold import Thresholds

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
PASSWORD = "pass/wörd"
ENCODED = "pass%2Fw%C3%B6rd"
MAGIC = b"\x89PNG\r\n\x1a\n"


def programs():
    """Return the folder of the programs of PostgreSQL, the newest; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    here = shutil.which("initdb")
    return found[-1].parent if found else here and Path(here).parent


@contextmanager
def server():
    """Run a PostgreSQL server on a loopback port, in a folder that is removed; yields the URL of its databases."""
    bin, folder = programs(), Path(tempfile.mkdtemp(prefix="blemish-postgresql-"))
    (folder / "password").write_text(PASSWORD)
    # It refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(*line):
        subprocess.run([*user, *line], check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    data = folder / "data"
    call(bin / "initdb", "-D", data, "-U", "blemish", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
         "--auth=scram-sha-256", f"--pwfile={folder / 'password'}")  # fmt: skip
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder}"
    try:
        call(bin / "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
        yield f"postgresql://blemish:{ENCODED}@127.0.0.1:{port}"
    finally:
        subprocess.run([*user, bin / "pg_ctl", "stop", "-m", "immediate", "-D", data], check=False, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql():
    """The URL of a running server."""
    if not programs():
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with server() as url:
        yield url


@pytest.fixture
def new_database(postgresql):
    """The URL of a new database of that server."""
    name = f"d{os.urandom(8).hex()}"
    engine = create_engine(
        f"{postgresql}/postgres".replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{postgresql}/{name}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request):
    """None for the SQLite file in the data folder, or the URL of an empty PostgreSQL database."""
    return request.getfixturevalue("new_database") if request.param == "postgresql" else None


@pytest.fixture
def history(url, tmp_path):
    """An empty history."""
    with opened(tmp_path / "data", url=url) as history:
        yield history


@contextmanager
def opened(folder, **options):
    history = History.open(folder, **options)
    yield history
    history.close()


def judged(number=0, **fields):
    """Return an inspection, one a minute from noon on."""
    standard = {
        "name": f"part {int(number):04d}.png",
        "width": 640,
        "height": 480,
        "model": "brick",
        "fingerprint": "b" * 64,
        "thresholds": Thresholds(0.4, 0.5),
        "score": 0.25,
        "verdict": "OK",
        "at": NOON + timedelta(minutes=number),
    }
    return Judged(**standard | fields)


def picture(number=0, size=100):
    """Return bytes that begin as a PNG does, no two the same."""
    return MAGIC + f"{number:08d}".encode() + bytes(size - len(MAGIC) - 8)


def region(**fields):
    return Region(**{"area": 12, "share": 0.5, "box": (1, 2, 3, 4), "peak": 0.75, "mean": 0.5} | fields)
