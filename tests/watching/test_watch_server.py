"""What a watch asks of a server when it starts."""

import os
import signal
from types import SimpleNamespace

import pytest

from blemish import client
from blemish.cli.app import main
from blemish.client import ServiceError
from blemish.history.records import Selection
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

    def run(server, source="line 4"):
        monkeypatch.setattr(client, "Client", server)
        given = (str(tmp_path), "--server", "http://127.0.0.1:1", "--model", "tile", "--source", source)
        return main(["watch", *given, "--poll", "1"])

    return run


def test_it_asks_for_what_its_own_model_has_judged(watch):
    server = Server()
    assert watch(server) == 0
    assert server.chosen == [{"model": "tile", "source": "line 4"}]


def test_a_source_of_bytes_that_are_no_text_is_called_as_the_history_has_it(watch):
    server = Server()
    assert watch(server, "line \udc80\n") == 0
    assert server.chosen == [{"model": "tile", "source": r"line \udc80\n"}]
    assert Selection(**server.chosen[0]).source == r"line \udc80\n"


def test_a_server_that_is_away_at_the_start_is_waited_for_and_said_once(watch, capsys):
    server = Server(*[ServiceError("no answer")] * 3, ServiceError("busy", status=503))
    server.faults.append(ServiceError("bad gateway", status=502))
    assert watch(server) == 0
    assert len(server.chosen) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "trying again" in line]
    assert said == ["no answer; trying again", "busy; trying again", "bad gateway; trying again"]


def test_what_a_server_refuses_at_the_start_ends_the_watch(watch, capsys):
    assert watch(Server(ServiceError("service: the token is wrong", status=401))) == 2
    assert "the token is wrong" in capsys.readouterr().err


def test_it_ends_while_the_server_is_away_at_the_start(watch, monkeypatch):
    class Away(Server):
        def models(self):
            os.kill(os.getpid(), signal.SIGTERM)
            raise ServiceError("no answer")

    assert watch(Away()) == 0
