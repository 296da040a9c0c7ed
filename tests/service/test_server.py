"""The server as a process of its own, over raw sockets: what it bounds, and how it ends."""

import json
import os
import re
import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from types import SimpleNamespace

import httpx
import psutil
import pytest

from blemish.service import app
from blemish.service.http.faults import RefusedError
from blemish.service.http.server import listen
from serving import encoded, noise, served

GOOD = encoded(noise())
INSPECT = "/v1/models/brick/inspections"


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    with served(bundle, "--data", tmp_path_factory.mktemp("data")) as server:
        yield server


def head(length=None, *lines, method="POST", path=INSPECT, kind="image/png"):
    """The head of a request, without the empty line that ends it."""
    given = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *lines]
    return "\r\n".join(given + ([] if length is None else [f"Content-Length: {length}"])).encode()


def whole(said):
    """Tell whether an answer has all the bytes that it announces: the connection may stay open for seconds then."""
    top, gap, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", top)
    return bool(gap and length and len(body) >= int(length[1]))


def talk(server, *parts, gap=0.0, end=False, wait=20.0):
    """Send parts, one every `gap` s, until an answer comes; return (status, line, s), status None if none comes."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        said = b""
        try:
            for part in parts:
                connection.settimeout(wait)
                connection.sendall(part)
                connection.settimeout(gap or 0.001)
                try:
                    said += connection.recv(65536)
                    if gap:
                        break
                except TimeoutError:
                    continue
            if end:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(wait)
            while not whole(said) and (more := connection.recv(65536)):
                said += more
        except OSError:
            pass
    took = time.monotonic() - start
    if not said:
        return None, "", took
    top, _, body = said.partition(b"\r\n\r\n")
    assert b"access-control" not in top.lower()
    text = body.decode()
    return int(top.split()[1]), json.loads(text)["error"] if text.startswith('{"error"') else text, took


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


@pytest.fixture(scope="module")
def slow(server):
    """What becomes of slow clients, all at the same time."""
    whole = head(100) + b"\r\n\r\n"
    cases = {
        "head": (bytewise(head(1) + b"\r\nX: " + b"a" * 100), {"gap": 1.0}),
        "body": ([whole, *bytewise(b"a" * 100)], {"gap": 1.0}),
        "nothing": ([], {}),
        "half a body": ([whole + b"abc"], {}),
        "second head": ([head(method="GET", path="/livez") + b"\r\n\r\nGET / HT", *bytewise(b"TP/1.1\r\n" * 5)], {}),
        "JSON": ([head(100, path="/v1/inspections/1/corrections", kind="application/json") + b"\r\n\r\n{"], {}),
    }
    with ThreadPoolExecutor(len(cases)) as threads:
        found = {name: threads.submit(talk, server, *parts, **how) for name, (parts, how) in cases.items()}
        # Meanwhile others are served.
        assert httpx.get(f"{server.url}/livez", timeout=2).status_code == 200
        return {name: one.result() for name, one in found.items()}


def test_an_answer_in_two_parts_does_not_wait_for_the_client():
    with (
        closing(listen("127.0.0.1", 0, guarded=False)) as listening,
        socket.create_connection(listening.getsockname()),
        closing(listening.accept()[0]) as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("case", ["head", "body", "nothing", "half a body", "JSON"])
def test_who_is_too_slow_is_told_so(slow, case):
    status, line, took = slow[case]
    assert status == 408
    assert "in time" in line
    assert 9 < took < 13.5


def test_a_second_head_is_timed_as_well(slow):
    status, text, took = slow["second head"]
    assert (status, took < 16) == (200, True)
    assert "live" in text


@pytest.mark.parametrize(
    ("case", "status"),
    [
        (head(0) + b"\r\nX: " + b"a" * 65536 + b"\r\n\r\n", 431),
        (head(0) + b"".join(b"\r\nX%d: a" % number for number in range(10000)) + b"\r\n\r\n", 431),
        (head(0) + b"".join(b"\r\nX%d: a" % number for number in range(200)) + b"\r\n\r\n", 431),
        (head(0) + b"\r\nX: " + b"a" * 1_000_000, 431),
        (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"POST /v1/models/" + b"a" * 10_000 + b"/inspections HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (head(5, "Transfer-Encoding: chunked") + b"\r\n\r\n0\r\n\r\n", 400),
        (head(5, "Content-Length: 6") + b"\r\n\r\nabcde", 400),
        (head(-1) + b"\r\n\r\n", 400),
        (head(None, "Transfer-Encoding: gzip, chunked") + b"\r\n\r\n0\r\n\r\n", 501),
        (head(None, "Transfer-Encoding: chunked") + b"\r\n\r\nzz\r\nabc\r\n", 400),
        (head(5, "Content-Encoding: gzip") + b"\r\n\r\nabcde", 415),
        (head(0, "Host: evil") + b"\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET  /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    ],
    ids=range(20),
)
def test_a_head_that_is_refused(server, case, status):
    found, line, took = talk(server, case)
    assert found in ((414, 431) if status == 414 else (status,))
    assert line
    assert len(line.splitlines()) == 1
    assert took < 8


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "http://localhost.evil.example"]
)
def test_pages_of_others_may_change_nothing(server, origin):
    for path in (INSPECT, "/v1/inspections/1/corrections", "/v1/models/brick/thresholds"):
        status, line, _ = talk(server, head(0, f"Origin: {origin}", path=path) + b"\r\n\r\n")
        assert (status, "Origin" in line) == (403, True)
    own = httpx.post(server.url + INSPECT, content=GOOD, headers={"Content-Type": "image/png", "Origin": server.url})
    assert own.status_code == 201


def test_a_large_body_is_refused_before_it_is_read(server):
    status, line, took = talk(server, head((16 << 20) + 1) + b"\r\n\r\n")
    assert (status, "16777216" in line) == (413, True)
    assert took < 5


def test_a_large_body_without_length_is_refused_at_the_byte(server):
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    begin = head(None, "Transfer-Encoding: chunked") + b"\r\n\r\n"
    assert talk(server, begin, *[chunk] * 16, b"1\r\na\r\n")[0] == 413
    assert talk(server, begin, *[chunk] * 16, b"0\r\n\r\n")[0] == 415  # all of it taken, and no image
    assert talk(server, begin, *[chunk] * 20)[0] == 413


def test_a_body_of_tiny_chunks_is_taken_in_bounded_memory(server):
    before = server.memory()
    chunks = b"6\r\nabcdef\r\n" * 25_000
    begin = head(None, "Transfer-Encoding: chunked") + b"\r\n\r\n"
    status, _, _ = talk(server, begin, *[chunks] * 20, b"0\r\n\r\n", wait=30)
    assert status in (408, 413, 415)
    assert server.memory() - before < 100 << 20


def test_a_body_that_ends_early_or_late(server):
    status, _, took = talk(server, head(100) + b"\r\n\r\nabc", end=True)
    assert status in (None, 400)
    assert took < 5
    begin = head(3, "Connection: close") + b"\r\n\r\nabc"
    status, line, _ = talk(server, begin + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (status, "not an image" in line) == (415, True)


def test_a_thousand_requests_in_one_go(server):
    one = head(method="GET", path="/livez") + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(20)
        connection.sendall(one * 1000)
        said = b""
        while said.count(b"HTTP/1.1 200 OK") < 1000:
            said += connection.recv(65536)
    assert said.count(b'{"live":true}') >= 999


def stopped(server):
    server.until_ready()
    for worker in (workers := server.workers()):
        worker.suspend()
    return workers


def until(condition, *, within=5.0):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within
        time.sleep(0.02)


def test_who_is_told_something_holds_no_place(server):
    """Thirty-two places there are; strangers to whom they are not given in a second are told so at once."""
    unknown = head(100_000, path="/v1/models/unknown/inspections") + b"\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(unknown)
            connection.settimeout(5)
            assert connection.recv(12) == b"HTTP/1.1 404"
        assert server.post(GOOD).status_code == 201


def test_an_address_with_a_line_s_end_takes_a_place_as_well():
    def counted(path):
        places, busy = app._Places(SimpleNamespace(loading=SimpleNamespace(now=SimpleNamespace(pool=Full)))), False
        try:
            with places.one({"method": "POST", "path": path}):
                pass
        except RefusedError as refusal:
            busy = refusal.status_code == 503
        return busy

    class Full:
        count, full = 1, True

    assert [counted(f"{INSPECT}{end}") for end in ("", "\n", "/1", "x")] == [True, True, False, False]


def test_the_queue_has_an_end_and_who_leaves_frees_a_place(server):
    most = 4 * len(hung := stopped(server))
    with ExitStack() as stack:

        def send():
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(head(len(GOOD)) + b"\r\n\r\n" + GOOD)

        for _ in hung:
            send()
        time.sleep(1)  # they are with the workers now, and wait no longer
        for _ in range(most):
            send()
        until(lambda: server.figure("blemish_queue") == most)
        refused = server.post(GOOD)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        # Nothing of an image has to be read for that.
        status, _, took = talk(server, head(len(GOOD)) + b"\r\n\r\n")
        assert (status, took < 5) == (503, True)
        status, _, took = talk(server, head(len(GOOD), "Expect: 100-continue") + b"\r\n\r\n")
        assert (status, took < 1) == (503, True)
        with httpx.Client(base_url=server.url) as client:
            for _ in range(2):  # over one connection
                answer = client.post(INSPECT, content=GOOD, headers={"Content-Type": "image/png"})
                assert (answer.status_code, "connection" in answer.headers) == (503, False)
    until(lambda: server.figure("blemish_queue") == 0)
    for worker in hung:
        worker.resume()
    assert server.post(GOOD).status_code == 201
    time.sleep(2)  # the others finish what nobody waits for


def test_a_hung_worker_costs_its_own_image_and_is_back(server):
    stopped(server)
    start = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: server.post(GOOD), range(2)))
    assert {answer.status_code for answer in answers} == {504}
    assert 9 < time.monotonic() - start < 13
    start = time.monotonic()
    while (answer := server.post(GOOD)).status_code != 201:
        assert answer.status_code in (503, 504)
    assert time.monotonic() - start < 5


def test_a_killed_worker_costs_at_most_its_own_image_and_is_back(server):
    server.until_ready()
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(server.post, GOOD) for _ in range(60)]
        time.sleep(0.1)
        server.workers()[0].kill()
        statuses = [job.result().status_code for job in jobs]
    assert statuses.count(201) >= 59
    assert set(statuses) <= {201, 500}
    assert server.until_ready() < 5


def test_sigterm_finishes_what_is_accepted(bundle, tmp_path):
    with served(bundle, "--data", tmp_path) as server:
        processes = stopped(server)
        with ThreadPoolExecutor(8) as threads, httpx.Client() as idle:
            idle.get(f"{server.url}/livez")  # a connection that is left open
            jobs = [threads.submit(server.post, GOOD) for _ in range(8)]
            until(lambda: server.figure("blemish_queue") == 8 - len(processes))
            start = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            for process in processes:
                process.resume()
            statuses = [job.result().status_code for job in jobs]
        assert server.process.wait(20) == 0
        assert time.monotonic() - start < 20
        assert statuses == [201] * 8
        assert not any(process.is_running() for process in processes)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/livez")


def test_a_history_that_takes_no_writes_is_said_and_stops_neither_reads_nor_the_end(bundle, tmp_path):
    with served(bundle, "--data", tmp_path) as server, ThreadPoolExecutor(40) as threads:
        assert server.post(GOOD).status_code == 201
        with closing(sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            start = time.monotonic()
            jobs = [threads.submit(server.post, GOOD) for _ in range(30)]
            time.sleep(1)
            assert httpx.get(f"{server.url}/readyz", timeout=2).status_code == 200
            answers = [job.result() for job in jobs]
            assert time.monotonic() - start < 10
            assert {answer.status_code for answer in answers} == {503}
            assert all("error" in answer.json() for answer in answers)
            last = [threads.submit(server.post, GOOD) for _ in range(4)]
            time.sleep(1)
            start = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert {job.result().status_code for job in last} == {503}
            assert server.process.wait(20) == 0
            assert time.monotonic() - start < 15
            other.execute("ROLLBACK")
            assert other.execute("SELECT count(*) FROM inspections").fetchone() == (1,)


def test_pages_that_listen_do_not_keep_the_server_from_ending(bundle, tmp_path):
    with ExitStack() as stack:
        server = stack.enter_context(served(bundle, "--data", tmp_path))
        answer = stack.enter_context(httpx.stream("GET", f"{server.url}/v1/events", timeout=10))
        lines = answer.iter_lines()
        assert next(lines) == ": welcome"
        time.sleep(1)
        found = server.post(GOOD).json()
        data = next(line for line in lines if line.startswith("data: "))
        assert json.loads(data[6:]) == found
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 0
        assert [line for line in lines if line.startswith("data")] == []


def test_no_process_is_left_when_the_server_is_killed(bundle, tmp_path):
    with served(bundle, "--data", tmp_path) as server:
        processes = server.workers()
        os.kill(server.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(processes, timeout=5)
        assert alive == []


def test_a_bundle_that_is_gone_or_broken_is_served_on(bundle, tmp_path):
    from bundles import copied

    copy = copied(bundle, tmp_path)
    with served(copy, "--data", tmp_path / "data") as server:
        (copy / "graph.onnx").write_bytes(b"broken")
        for worker in server.workers():
            worker.kill()
        time.sleep(0.5)
        server.until_ready()
        answer = server.post(GOOD, model="copy")
        assert answer.status_code == 201
