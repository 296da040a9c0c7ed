"""What the tests of the service share: a real bundle served, images, and one line for what is refused."""

import subprocess
import sys
import time
from contextlib import contextmanager
from io import BytesIO

import httpx
import numpy as np
import psutil
from PIL import Image

from blemish.history.history import History
from blemish.runtime.engines import available_threads
from blemish.service.app import make_app
from blemish.service.events import Events
from blemish.service.http.tokens import Tokens
from blemish.service.service import Service

HOSTS = ("testserver",)
LOOK, CHANGE = "l" * 20, "c" * 20  # tokens


def encoded(picture, kind="PNG", **options):
    """The bytes of a picture."""
    out = BytesIO()
    Image.fromarray(picture).save(out, kind, **options)
    return out.getvalue()


def noise(*, side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)


def refusal(answer, status):
    """Return the line of a refusal, which says nothing of the machine."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    line = answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"
    assert "access-control-allow-origin" not in answer.headers
    assert len(line.splitlines()) == 1
    for word in ("/tmp", ".py", "Traceback", "tensor"):
        assert word not in line
    return line


class Standing:
    """A service in this process."""

    def __init__(self, loading, folder, *, tokens=None, hosts=HOSTS, keep="all"):
        self.history = History.open(folder, keep=keep)
        self.service = Service(loading, self.history)
        self.app = make_app(self.service, Events(self.history), tokens=tokens or Tokens(), hosts=hosts)


class Server:
    """A server as a process of its own."""

    def __init__(self, process, url):
        self.process, self.url = process, url
        self.port = int(url.rpartition(":")[2])

    def post(self, image, *, model="brick", **headers):
        place = f"{self.url}/v1/models/{model}/inspections"
        return httpx.post(place, content=image, headers={"Content-Type": "image/png"} | headers, timeout=30)

    def workers(self):
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def figure(self, name):
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def until_ready(self, *, count=None):
        """Wait until all workers are ready, and return how long that took, s."""
        start = time.monotonic()
        while self.figure("blemish_workers") < (count or available_threads()):
            assert time.monotonic() - start < 20
            time.sleep(0.05)
        return time.monotonic() - start

    def memory(self):
        return psutil.Process(self.process.pid).memory_info().rss


@contextmanager
def served(*arguments):
    """Run `blemish serve` on a free port, and yield it once it takes images."""
    command = [sys.executable, "-W", "error", "-m", "blemish", "serve", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert "http://" in line, line
            yield Server(process, line.split()[-1])
        finally:
            process.kill()
