"""A server as the judge: answers that do not come, refusals, a server that is away, names that it writes otherwise."""

import os
import threading
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from blemish.client import ServiceError
from blemish.verdict.threshold import Thresholds
from blemish.watching import judging
from blemish.watching.judging import Served
from blemish.watching.looking import Stamp
from blemish.watching.scout import Arrived
from blemish.watching.state import Seen
from stubs import SPOT

FOLDER = Path("/parts")


class Server:
    """Remembers images; `faults` are raised one by one, before or after an image is accepted."""

    def __init__(self, *faults, accepts=False):
        self.faults, self.accepts, self.known, self.asked = list(faults), accepts, [], 0

    def inspect(self, model, image, *, name, source):
        if not self.faults or self.accepts:
            digest = sha256(image).hexdigest()
            called = judging.printable(name)
            found = SimpleNamespace(
                id=len(self.known), name=called, sha256=digest, score=0.75, verdict="NG", thresholds=Thresholds(0.5),
                regions=[SPOT], source=source, model=model,
            )  # fmt: skip
            self.known.append(found)
        if self.faults:
            raise self.faults.pop(0)
        return found

    def page(self, *, limit, model, name, source):
        self.asked += 1
        chosen = [one for one in self.known[::-1] if (one.source, one.model) == (source, model)]
        found = [one for one in chosen if name in one.name]
        return SimpleNamespace(inspections=found[:limit])


def arrived(name="1.png", data=b"bytes"):
    path = FOLDER / name
    seen = Seen(os.fsencode(name), Stamp(1, 5, 1), sha256(data).hexdigest())
    return Arrived(path, seen, data, since=0, read=0)


def judge(server, *images, model="brick", stop=None, warned=None):
    said = warned if warned is not None else []
    served = Served(server, model, folder=FOLDER, source="line 4", stop=stop or threading.Event(), warn=said.append)
    return list(served((one, "") for one in images))


@pytest.fixture(autouse=True)
def no_delay(monkeypatch):
    monkeypatch.setattr(judging, "DELAY", 0)


def test_a_record_of_a_server():
    server = Server()
    (record,) = judge(server, arrived())
    assert record == {
        "path": "/parts/1.png",
        "score": 0.75,
        "thresholds": {"review": 0.5, "ng": None},
        "verdict": "NG",
        "regions": [
            {"area": 12, "share": 12 / 1280, "box": [3, 5, 4, 3], "peak": 0.75, "mean": 0.75, "surface": False}
        ],
        "inspection": 0,
    }
    assert (server.asked, server.known[0].source, server.known[0].model) == (0, "line 4", "brick")


def test_an_image_whose_answer_was_lost_is_not_sent_again():
    server, warned = Server(ServiceError("no answer"), accepts=True), []
    (record,) = judge(server, arrived(), warned=warned)
    assert (record["inspection"], len(server.known), warned) == (0, 1, ["no answer; trying again"])


def test_a_server_that_is_away_is_waited_for_and_said_once():
    server, warned = Server(*[ServiceError("no answer")] * 3, ServiceError("busy", status=503)), []
    records = judge(server, arrived(), arrived("2.png"), warned=warned)
    assert [record["inspection"] for record in records] == [0, 1]
    assert warned == ["no answer; trying again", "busy; trying again"]


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (413, 1), (415, 1), (422, 1), (500, 3), (504, 3)])
def test_what_cannot_be_judged_is_given_up(status, tries):
    server = Server(*[ServiceError("service: a fault", status=status)] * tries)
    first, second = judge(server, arrived(), arrived("2.png"))
    assert first == {"path": "/parts/1.png", "error": "/parts/1.png: service: a fault"}
    assert (second["inspection"], server.faults) == (0, [])


def test_it_ends_while_the_server_is_away():
    stop = threading.Event()
    stop.set()
    assert judge(Server(ServiceError("no answer")), arrived(), stop=stop) == []


def test_the_same_bytes_after_others_are_sent_again():
    server = Server()
    judge(server, arrived(), arrived(data=b"others"))
    server.faults = [ServiceError("no answer")]
    (record,) = judge(server, arrived())
    assert (record["inspection"], len(server.known)) == (2, 3)


def test_a_name_that_a_server_writes_otherwise_is_asked_for_first():
    server = Server()
    for _ in range(2):
        (record,) = judge(server, arrived("new\nline.png"))
        assert record["inspection"] == 0
    assert (len(server.known), server.known[0].name) == (1, "new\\nline.png")


def test_what_another_model_has_judged_is_not_taken_for_its_own():
    server = Server()
    for number, model in enumerate(("brick", "tile")):
        (record,) = judge(server, arrived("new\nline.png"), model=model)
        assert record["inspection"] == number
    assert [one.model for one in server.known] == ["brick", "tile"]
