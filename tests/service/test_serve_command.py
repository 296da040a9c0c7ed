"""`blemish serve` and its client: what the command refuses before it listens, and a day with both tokens."""

import socket
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest

from blemish.cli.app import main
from blemish.client import Client, ServiceError
from blemish.service.copies import own_folder
from blemish.verdict.threshold import Thresholds
from histories import new_database, postgresql, url  # noqa: F401
from serving import encoded, noise, served

LOOK, CHANGE = "look-and-correct-0001", "change-thresholds-0001"


@pytest.fixture
def tokens(tmp_path):
    (tmp_path / "tokens").write_text(f"{LOOK}\n{CHANGE}\n")
    return tmp_path / "tokens"


def test_a_day_with_both_tokens_on_either_database(bundle, tmp_path, tokens, url):
    where = ("--data", tmp_path / "data", *(("--db", url) if url else ()))
    with served(bundle, *where, "--token", tokens, "--host", "0.0.0.0") as server:
        place = f"http://127.0.0.1:{server.port}"
        with Client(place) as stranger, pytest.raises(ServiceError, match="token") as refused:
            stranger.models()
        assert refused.value.status == 401
        (tmp_path / "part 1.png").write_bytes(encoded(noise()))
        with Client(place, token=LOOK) as client:
            found = client.inspect("brick", tmp_path / "part 1.png", source="test")
            assert (found.name, found.source, found.kept) == ("part 1.png", "test", True)
            assert client.inspection(found.id) == found
            scores = client.scores(found.id)
            assert np.load(BytesIO(scores)).shape == (found.height, found.width)
            assert client.overlay(found.id).startswith(b"\x89PNG")
            corrected = client.correct(found.id, "OK", who="Ada", why="dust")
            assert (corrected.standing, corrected.corrections[0].who) == ("OK", "Ada")
            others = [client.inspect("brick", encoded(noise(seed=seed)), name=f"{seed}").id for seed in (1, 2)]
            assert [one.id for one in client.inspections()] == [*others[::-1], found.id]
            assert [one.id for one in client.inspections(name="part")] == [found.id]
            with pytest.raises(ServiceError, match="may change") as refused:
                client.set_thresholds("brick", Thresholds(0.5), who="Ada")
            assert refused.value.status == 403
        with Client(place, token=CHANGE) as client:
            assert client.set_thresholds("brick", Thresholds(0.8, 0.9), who="Ada").thresholds == Thresholds(0.8, 0.9)
            assert client.models()[0].changes[0].who == "Ada"
        for hostile in ("evil.example", "0.0.0.0.evil.example"):
            assert server.post(b"", Host=hostile).status_code == 400
    # It was killed; another one knows all that was accepted, and by which thresholds to judge.
    with served(bundle, *where) as server, Client(server.url) as client:
        assert [one.id for one in client.inspections()] == [*others[::-1], found.id]
        again = client.inspection(found.id)
        assert (again.verdict, again.standing, again.kept) == (found.verdict, "OK", True)
        assert client.scores(found.id) == scores
        assert client.models()[0].thresholds == Thresholds(0.8, 0.9)
        assert client.inspect("brick", encoded(noise(seed=3))).id > others[-1]
    assert (tmp_path / "data" / "history.sqlite").exists() == (url is None)


def test_who_cannot_be_reached_is_said():
    with Client("http://127.0.0.1:1") as client, pytest.raises(ServiceError, match="no answer"):
        client.models()


def test_copies_that_a_killed_server_has_left_go_at_the_next_start(bundle, tmp_path):
    def copies():
        return {path.parent.name for path in (tmp_path / "serving").glob("*/brick")}

    with served(bundle, "--data", tmp_path):
        left = copies()
    assert len(left) == 1
    with served(bundle, "--data", tmp_path) as first:
        used = copies()
        assert (len(used), used & left) == (1, set())
        with own_folder(tmp_path) as own:  # that of another that runs stays
            (own / "brick").mkdir()
            assert copies() == used | {own.name}
        first.process.terminate()
        assert first.process.wait(20) == 0
    assert list((tmp_path / "serving").glob("*")) == []


BEGINNING = """
import os, signal
from blemish.service.http.server import listen, run

async def app(scope, receive, send):
    pass

def begun():
    os.kill(os.getpid(), signal.SIGTERM)

with listen("127.0.0.1", 0, guarded=False) as listening:
    run(app, listening, begun=begun, ending=lambda: print("ending"))
"""


def test_a_server_that_is_told_to_end_while_it_begins_ends():
    # In a process of its own: a signal that came at another moment would end the process of all tests.
    ended = subprocess.run([sys.executable, "-c", BEGINNING], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("ending\n", "", 0)


def refused(capsys, *arguments):
    capsys.readouterr()
    code = main(["serve", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    return code, err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_loopback_a_token_is_needed(capsys, bundle, tmp_path, host):
    code, line = refused(capsys, bundle, "--data", tmp_path / "data", "--host", host)
    assert (code, "--token" in line) == (2, True)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("text", ["", "short\n", f"{LOOK}\n{LOOK}", f"{LOOK}\n{CHANGE}\n{LOOK}x", "é" * 20])
def test_a_file_that_holds_no_tokens(capsys, bundle, tmp_path, text):
    (tmp_path / "tokens").write_text(text)
    code, line = refused(capsys, bundle, "--token", tmp_path / "tokens")
    assert (code, "expected one or two lines" in line) == (2, True)
    assert refused(capsys, bundle, "--token", tmp_path / "none")[0] == 2


def test_an_address_that_is_taken_or_unknown(capsys, bundle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, line = refused(capsys, bundle, "--port", taken.getsockname()[1])
    assert (code, "in use" in line) == (2, True)


@pytest.mark.parametrize("library", ["uvicorn", "fastapi", "sqlalchemy", "alembic"])
def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it(bundle, tmp_path, library):
    code = f"import sys; sys.modules[{library!r}] = None; from blemish.cli.app import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", bundle, "--port", "0", "--data", tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    line = f"error: {library} is not installed; pip install 'blemish[service]'\n"
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", line, 2)


def test_bundles_and_words_that_are_refused(capsys, bundle, tmp_path):
    free = "--port", 0, "--data", tmp_path / "data"
    assert refused(capsys, tmp_path / "none", *free)[0] == 2
    assert refused(capsys, tmp_path, *free)[0] == 3
    assert "too" in refused(capsys, bundle, bundle, *free)[1]
    for room in ("inf", "nan", "1e300"):
        assert main(["serve", str(bundle), "--keep-gb", room, *map(str, free)]) == 2
        assert "keep-gb" in capsys.readouterr().err
    code, line = refused(capsys, bundle, "--keep", "some", *free)
    assert (code, "keep" in line) == (2, True)
