"""Server-sent events: each inspection once, and once more when it is corrected, whoever has put it there."""

import asyncio
import json

import pytest

from blemish.history.history import History
from blemish.history.records import Correction
from blemish.service import events as room
from blemish.service.events import LISTENERS, Events
from blemish.service.http.faults import RefusedError
from histories import judged, picture


@pytest.fixture
def history(tmp_path):
    history = History.open(tmp_path)
    yield history
    history.close()


async def heard(stream):
    """Return the next inspection of a stream."""
    while not (event := await asyncio.wait_for(anext(stream), 5)).startswith(b"data: "):
        pass
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    return json.loads(event[6:])


def test_what_comes_in_and_what_is_corrected(history, tmp_path):
    async def listening():
        history.add(judged(0), picture(0))
        events = Events(history)
        streams = [events.listen(), events.listen()]
        for stream in streams:
            assert (await anext(stream)).startswith(b":")
        await asyncio.sleep(2 * room.EVERY)
        other = History.open(tmp_path)  # as another process would
        ids = [other.add(judged(number, name=f"line\n{number}"), picture(number)).id for number in (1, 2)]
        for stream in streams:
            assert [(await heard(stream))["id"] for _ in ids] == ids
        other.correct(ids[0], Correction(verdict="NG", who="Ada"))
        found = [await heard(stream) for stream in streams]
        assert [(one["id"], one["standing"], one["name"]) for one in found] == [(ids[0], "NG", "line\\n1")] * 2
        other.close()
        events.close()
        for stream in streams:
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        await asyncio.sleep(2 * room.EVERY)
        return events

    events = asyncio.run(listening())
    assert events._asking is None  # nobody listens, so nobody asks


def test_many_at_once_and_a_correction_of_an_old_one(history):
    async def listening():
        old = history.add(judged(0), picture(0)).id
        for number in range(1, 80):
            history.add(judged(number), picture(number))
        events = Events(history)
        stream = events.listen()
        await anext(stream)
        await asyncio.sleep(2 * room.EVERY)
        ids = await asyncio.to_thread(lambda: [history.add(judged(number), picture(0)).id for number in range(80, 200)])
        assert [(await heard(stream))["id"] for _ in ids] == ids
        history.correct(old, Correction(verdict="NG", who="Ada"))
        found = await heard(stream)
        assert (found["id"], found["standing"]) == (old, "NG")
        events.close()

    asyncio.run(listening())


def test_who_falls_behind_is_let_go_and_too_many_are_refused(history, monkeypatch):
    monkeypatch.setattr(room, "HELD", 2)
    monkeypatch.setattr(room, "EVERY", 0.05)

    async def listening():
        events = Events(history)
        slow = events.listen()
        await anext(slow)
        await asyncio.sleep(0.2)
        for number in range(5):
            history.add(judged(number), picture(number))
        await asyncio.sleep(0.5)
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
        others = [events.listen() for _ in range(LISTENERS)]
        for one in others:
            await anext(one)
        with pytest.raises(RefusedError) as refused:
            events.listen()
        assert refused.value.status_code == 503
        for one in others:
            await one.aclose()
        await anext(events.listen())
        events.close()

    asyncio.run(listening())
