"""How `blemish serve` answers under load: latency, goodput, memory, start; beside a plain LitServe server.

    python benchmarks/serve/run.py BUNDLE IMAGES [--seconds 60] [--lit PYTHON] [--soak MINUTES]

BUNDLE: an onnx bundle, IMAGES: a folder of PNG files for it, each sent with another comment, so that every one is a
new image that is kept. The generator runs on the same cores. Capacity: what a closed loop of two connections for each
worker is answered, a second. Then open loops at shares of it. --lit: the Python of an environment with LitServe
(`litserver.py`); --soak: minutes at 70 % of capacity instead of all that.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
from load import Request, Sent, closed, opened, single

LOADS = (0.5, 0.8, 1.0, 3.0, 10.0)  # of capacity
REFUSED = 503
ALONE = 200  # requests one after the other, for what the service adds


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--lit", type=Path)
    parser.add_argument("--soak", type=float)
    given = parser.parse_args()
    images = [path.read_bytes() for path in sorted(given.images.glob("*.png"))]
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as data, blemish(given.bundle, data, images) as server:
        server.workers = workers
        if given.soak:
            soak(server, 60 * given.soak)
            return
        alone(server)
        measure(server, given.seconds)
    if given.lit:
        with litserve(given.lit, given.bundle, workers, images) as server:
            server.workers = workers
            measure(server, given.seconds)


class Server:
    """A server at work, and the requests that it is sent."""

    def __init__(self, name: str, port: int, process: "subprocess.Popen[str]", request: Request) -> None:
        self.name, self.port, self.request = name, port, request
        self.process = psutil.Process(process.pid)
        self.workers, self.count = 1, 0

    def run(self, load: Callable[..., object], seconds: float, **how: object) -> list[Sent]:
        """Send a load, each request with a number that none before had."""
        sent = asyncio.run(load(self.port, self.request, seconds=seconds, first=self.count, **how))
        self.count += 10 * len(sent) + 1000
        return sent

    def one(self) -> Sent:
        """Send a request by itself."""
        self.count += 1
        return asyncio.run(single(self.port, self.request(self.count)))

    def resident(self) -> float:
        """Return the memory of all its processes, MB."""
        return sum(one.memory_info().rss for one in self._all()) / 1e6

    def descriptors(self) -> int:
        """Return how many files and connections its processes have open."""
        return sum(one.num_fds() for one in self._all())

    def _all(self) -> Iterator[psutil.Process]:
        for one in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.memory_info()
                yield one


@contextmanager
def blemish(bundle: Path, data: str, images: Sequence[bytes]) -> Iterator[Server]:
    """Start `blemish serve`, and say how long that takes up to the first verdict."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "blemish", "serve", str(bundle), "--port", "0", "--data", data]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            place = f"/v1/models/{bundle.resolve().name}/inspections"
            server = Server("blemish serve", port, process, requests(place, images))
            _first(server, start)
            yield server
        finally:
            process.terminate()


@contextmanager
def litserve(python: Path, bundle: Path, workers: int, images: Sequence[bytes]) -> Iterator[Server]:
    """Start LitServe, and say how long that takes up to the first score."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = time.perf_counter()
    command = [str(python), str(Path(__file__).with_name("litserver.py")), str(bundle), str(port), str(workers)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            server = Server("LitServe", port, process, requests("/predict", images, form=True))
            _first(server, start)
            yield server
        finally:
            for one in (*server.process.children(recursive=True), server.process):
                one.kill()


def _first(server: Server, start: float) -> None:
    while server.one().status // 100 != 2:
        time.sleep(0.01)
        if time.perf_counter() - start > 60:
            raise SystemExit(f"{server.name} does not answer")
    print(f"\n{server.name}: first answer {time.perf_counter() - start:.2f} s after its start", flush=True)


def requests(place: str, images: Sequence[bytes], *, form: bool = False) -> Request:
    """Return what makes the bytes of a request by its number."""

    def request(number: int) -> bytes:
        body, kind = _new(images[number % len(images)], number), "image/png"
        if form:
            head = '--part\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
            body, kind = head.encode() + body + b"\r\n--part--\r\n", "multipart/form-data; boundary=part"
        return (
            f"POST {place} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    return request


def _new(png: bytes, number: int) -> bytes:
    """Return a PNG with a comment before its end, which makes it another file of the same image."""
    text = b"tEXt" + b"Comment\0" + str(number).encode()
    return png[:-12] + (len(text) - 4).to_bytes(4) + text + zlib.crc32(text).to_bytes(4) + png[-12:]


def alone(server: Server) -> None:
    """Print what a request takes by itself beyond decoding, scoring and the network."""
    ping = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    network = [1e3 * one.took for one in asyncio.run(closed(server.port, lambda _: ping, connections=1, seconds=2))]
    found = server.run(closed, 0.06 * ALONE, connections=1)[20:]
    beyond = []
    for one in found:
        times = json.loads(one.body)["times"]
        beyond.append(1e3 * one.took - times["decode"] - times["score"])
    whole, added = [1e3 * one.took for one in found], statistics.median(beyond) - statistics.median(network)
    stored = _stage(server, "store")
    print(
        f"alone, {len(found)} requests, p50: {statistics.median(whole):.1f} ms in all, beyond decoding, scoring and a "
        f"request for nothing ({statistics.median(network):.2f} ms): {added:.2f} ms; remembering takes {stored:.2f} ms "
        "of it on average",
        flush=True,
    )


def _stage(server: Server, name: str) -> float:
    """Return what a stage has taken on average, ms, as /metrics says."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    total, count = (
        float(re.search(rf'^blemish_stage_seconds_{part}{{.*stage="{name}"}} (.*)$', text, re.M)[1])
        for part in ("sum", "count")
    )
    return 1e3 * total / count


def measure(server: Server, seconds: float) -> None:
    """Print capacity, and a row for each load."""
    server.run(closed, 5, connections=2 * server.workers)
    sent = server.run(closed, seconds / 2, connections=2 * server.workers)
    capacity = _good(sent) / (seconds / 2)
    print(f"capacity {capacity:.1f} images/s ({2 * server.workers} connections, closed loop)")
    print("| load | sent/s | answered/s | of capacity | p50 | p95 | p99 ms | 503 | failed | MB before, after |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for share in LOADS:
        before = server.resident()
        sent = server.run(opened, seconds, rate=share * capacity)
        took = [1e3 * one.took for one in sent if one.status // 100 == 2]
        lasted = max(seconds, *(one.due + one.took for one in sent))
        statuses = Counter(one.status for one in sent)
        failed = len(sent) - len(took) - statuses[REFUSED]
        quantiles = " | ".join(f"{value:.0f}" for value in np.percentile(took, (50, 95, 99)))
        good = len(took) / lasted
        print(
            f"| {100 * share:.0f} % | {len(sent) / seconds:.1f} | {good:.1f} | {100 * good / capacity:.0f} % | "
            f"{quantiles} | {statuses[REFUSED]} | {failed} | {before:.0f}, {server.resident():.0f} |",
            flush=True,
        )
        start = time.perf_counter()
        while (one := server.one()).status // 100 != 2 or one.took > 3 * server.workers / capacity:
            pass
        back = time.perf_counter() - start
        if back > 1:
            print(f"  as quick as before {back:.1f} s later")


def _good(sent: Sequence[Sent]) -> int:
    return sum(one.status // 100 == 2 for one in sent)


def soak(server: Server, seconds: float) -> None:
    """Print memory and descriptors over a long time at 70 % of capacity."""
    sent = server.run(closed, 20, connections=2 * server.workers)
    rate, seen, end = 0.7 * _good(sent) / 20, list[tuple[float, float, int]](), Event()
    start = time.perf_counter()

    def look() -> None:
        while not end.wait(10):
            seen.append((time.perf_counter() - start, server.resident(), server.descriptors()))

    looking = Thread(target=look)
    looking.start()
    sent = server.run(opened, seconds, rate=rate)
    end.set()
    looking.join()
    times, memory, files = np.array(seen).T
    late = times > times[-1] / 5  # what is loaded, cached and grown by then is there
    slope = 3600 * np.polyfit(times[late], memory[late], 1)[0]
    print(f"soak: {len(sent)} images in {seconds / 60:.0f} min, {len(sent) - _good(sent)} not answered")
    for part in range(6):
        here = (times >= part * times[-1] / 6) & (times <= (part + 1) * times[-1] / 6)
        print(
            f"  {times[here][-1] / 60:4.1f} min: {np.median(memory[here]):.0f} MB, {np.median(files[here]):.0f} files"
        )
    p50, p99 = np.percentile([1e3 * one.took for one in sent], (50, 99))
    print(f"slope of memory after the first fifth: {slope:.1f} MB/h; p50 {p50:.0f} ms, p99 {p99:.0f} ms")


if __name__ == "__main__":
    main()
