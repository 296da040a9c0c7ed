"""What is told of an NG: a command or an address, tried once, bounded in time, and nobody waits for it."""

import json
import os
import shlex
import signal
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blemish.errors import InputError
from blemish.watching import hook
from blemish.watching.hook import HookError, read_hook
from watched import lines, put, until, watching

RECORD = {"path": "parts/a b.png", "verdict": "NG", "score": 0.75}
WRITE = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(sys.argv[2:]) + chr(10))"


def python(code, *arguments):
    return shlex.join([sys.executable, "-c", code, *map(str, arguments)])


@contextmanager
def listening(answer):
    """A server on this machine; `answer` is given each request."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, self.headers["Content-Type"], json.loads(body)))
            answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ng?line=4", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(code):
    def answer(handler):
        handler.send_response(code)
        handler.send_header("Location", "/elsewhere")
        handler.end_headers()

    return answer


def test_a_command_is_run_without_a_shell(tmp_path):
    told = tmp_path / "told"
    path = Path("parts/$(touch x); a 'b'.png")
    read_hook(python(WRITE, told, "--line 4"))(path, RECORD)
    assert json.loads(told.read_text()) == ["--line 4", os.path.abspath(path), "NG", "0.750000"]


def test_a_command_that_fails():
    with pytest.raises(HookError, match="ended with 3"):
        read_hook(python("raise SystemExit(3)"))(Path("a.png"), RECORD)
    with pytest.raises(HookError, match="killed by signal 9"):
        read_hook(python("import os; os.kill(os.getpid(), 9)"))(Path("a.png"), RECORD)


def test_a_command_that_hangs_is_killed_with_what_it_has_started(tmp_path):
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); open(sys.argv[1], 'w').write(str(p.pid));"
    begun = time.monotonic()
    with pytest.raises(HookError, match=r"took more than 1 s and was killed"):
        read_hook(python(code + "p.wait()", tmp_path / "pid"), timeout=1)(Path("a.png"), RECORD)
    assert time.monotonic() - begun < 5
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text())


def test_an_address_gets_the_record():
    with listening(status(204)) as (address, heard):
        read_hook(address)(Path("parts/a b.png"), RECORD)
    assert heard == [("/ng?line=4", "application/json", {**RECORD, "path": os.path.abspath("parts/a b.png")})]


@pytest.mark.parametrize("code", [302, 404, 500])
def test_an_address_that_answers_otherwise(code):
    with listening(status(code)) as (address, heard):
        with pytest.raises(HookError, match=f"127.0.0.1:[0-9]+: answered {code}"):
            read_hook(address)(Path("a.png"), RECORD)
        assert len(heard) == 1


def test_an_address_that_does_not_answer():
    with listening(lambda handler: time.sleep(2)) as (address, _), pytest.raises(HookError, match=r"within 0\.3 s"):
        read_hook(address, timeout=0.3)(Path("a.png"), RECORD)
    with pytest.raises(HookError, match=r"^127\.0\.0\.1:1: .*refused"):
        read_hook("http://user:secret@127.0.0.1:1/")(Path("a.png"), RECORD)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ftp://host/x", "expected an address of http or https"),
        ("http:///x", "expected an address of http or https"),
        ("  ", "empty; expected a command or an address"),
        ("no-such-command-here --x", "no-such-command-here: no such command"),
        ("sh 'x", "is not understood: no closing quotation"),
    ],
)
def test_what_is_neither(text, line):
    with pytest.raises(InputError, match=line):
        read_hook(text)


def test_a_watch_tells_of_ng_alone_and_goes_on_when_that_fails_or_hangs(tmp_path, monkeypatch):
    """The first hangs, the second fails, the third is told of; meanwhile all are judged."""
    monkeypatch.setattr(hook.read_hook, "__kwdefaults__", {"timeout": 1.0})
    folder, out, told = tmp_path / "parts", tmp_path / "out", tmp_path / "told"
    code = (
        "import sys, time; open(sys.argv[1], 'a').write(sys.argv[2] + chr(10));"
        "name = sys.argv[2]; '1.png' in name and time.sleep(30); sys.exit('2.png' in name)"
    )
    with watching(folder, out, on_ng=python(code, told)) as watch:
        begun = time.monotonic()
        for number, value in enumerate([90, 200, 200, 90, 200]):
            put(folder / f"{number}.png", value)
            watch.has(number + 1)
        assert time.monotonic() - begun < 2.5
        until(lambda: told.exists() and len(told.read_text().split()) == 3)
        until(lambda: len(watch.warned) == 2)
    assert told.read_text().split() == [f"{folder}/{number}.png" for number in (1, 2, 4)]
    assert watch.warned[0].endswith(f"took more than 1 s and was killed ({folder}/1.png)")
    assert watch.warned[1].endswith(f"ended with 1 ({folder}/2.png)")
    assert len(lines(out)) == 5


def test_what_could_not_be_told_before_the_end_is_told_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(hook.read_hook, "__kwdefaults__", {"timeout": 1.0})
    folder, out, told = tmp_path / "parts", tmp_path / "out", tmp_path / "told"
    code = "import sys, time; open(sys.argv[1], 'a').write(sys.argv[2] + chr(10)); time.sleep(0.8)"
    with watching(folder, out, on_ng=python(code, told)) as watch:
        for number in range(3):
            put(folder / f"{number}.png", 200)
        watch.has(3)
    assert len(told.read_text().split()) < 3
    with watching(folder, out, on_ng=python(code, told)):
        until(lambda: len(told.read_text().split()) == 3)
    assert told.read_text().split() == sorted(f"{folder}/{number}.png" for number in range(3))


def test_the_group_of_a_command_is_its_own(tmp_path):
    """Ctrl-C in a terminal goes to a group, and is not meant for it."""
    code = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpgrp()))"
    read_hook(python(code, tmp_path / "group"))(Path("a.png"), RECORD)
    assert int((tmp_path / "group").read_text()) != os.getpgrp()
    assert signal.getsignal(signal.SIGINT) is not None
