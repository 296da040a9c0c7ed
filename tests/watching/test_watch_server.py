"""What a watch asks of a server when it starts."""

import os
import signal
from types import SimpleNamespace

import pytest

from blemish import client
from blemish.cli.app import main
from blemish.watching import judging


class Server:
    """A client of a server with two models, which ends the watch once it has been asked what it knows."""

    def __init__(self, *faults):
        self.faults, self.chosen = list(faults), []

    def __call__(self, url, *, token):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def models(self):
        if self.faults:
            raise self.faults.pop(0)
        return [SimpleNamespace(name="brick"), SimpleNamespace(name="tile")]

    def inspections(self, **chosen):
        self.chosen.append(chosen)
        if self.faults:
            raise self.faults.pop(0)
        os.kill(os.getpid(), signal.SIGTERM)
        return []


@pytest.fixture
def watch(tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "DELAY", 0)

    def run(server):
        monkeypatch.setattr(client, "Client", server)
        given = (str(tmp_path), "--server", "http://127.0.0.1:1", "--model", "tile", "--source", "line 4")
        return main(["watch", *given, "--poll", "1"])

    return run


def test_it_asks_for_what_its_own_model_has_judged(watch):
    server = Server()
    assert watch(server) == 0
    assert server.chosen == [{"model": "tile", "source": "line 4"}]
